"""One module per thing watched; ``BUILTIN`` lists their classes in the order of the page."""

from collectors.auth.collector import AuthCollector
from collectors.filesystem.collector import FilesystemCollector
from collectors.jvm.collector import JvmCollector
from collectors.logs.collector import LogsCollector
from collectors.mailboxd.collector import MailboxdCollector
from collectors.mailflow.collector import MailflowCollector
from collectors.mysqld.collector import MysqldCollector
from collectors.postfix.collector import PostfixCollector
from collectors.services.collector import ServicesCollector
from collectors.zimbra import ZimbraCollector
from zcs_exporter import __version__
from zcs_exporter.contract import Collector

DISTRIBUTION = f"zcs-exporter {__version__}"
"""Tells this package from a stranger's of the same name."""

BUILTIN: tuple[type[Collector], ...] = (
    ZimbraCollector,
    ServicesCollector,
    FilesystemCollector,
    PostfixCollector,
    MailflowCollector,
    MysqldCollector,
    JvmCollector,
    MailboxdCollector,
    AuthCollector,
    LogsCollector,
)
