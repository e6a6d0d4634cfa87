"""One module per thing watched; ``BUILTIN`` lists their classes in the order of the page."""

from collectors.auth import AuthCollector
from collectors.filesystem import FilesystemCollector
from collectors.jvm import JvmCollector
from collectors.logs import LogsCollector
from collectors.mailboxd import MailboxdCollector
from collectors.mailflow import MailflowCollector
from collectors.mysqld import MysqldCollector
from collectors.postfix import PostfixCollector
from collectors.services import ServicesCollector
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
