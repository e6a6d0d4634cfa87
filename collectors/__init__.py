"""One package per thing watched; ``BUILTIN`` names their classes in the order of the page.

None is imported before it is asked for: a command that looks into old logs needs no client of a database.
"""

from collections.abc import Mapping

from zcs_exporter import __version__

DISTRIBUTION = f"zcs-exporter {__version__}"
"""Tells this package from a stranger's of the same name."""

BUILTIN: Mapping[str, tuple[str, str]] = {
    "zimbra": ("collectors.zimbra", "ZimbraCollector"),
    "services": ("collectors.services.collector", "ServicesCollector"),
    "filesystem": ("collectors.filesystem.collector", "FilesystemCollector"),
    "postfix": ("collectors.postfix.collector", "PostfixCollector"),
    "mailflow": ("collectors.mailflow.collector", "MailflowCollector"),
    "mysqld": ("collectors.mysqld.collector", "MysqldCollector"),
    "jvm": ("collectors.jvm.collector", "JvmCollector"),
    "mailboxd": ("collectors.mailboxd.collector", "MailboxdCollector"),
    "auth": ("collectors.auth.collector", "AuthCollector"),
    "logs": ("collectors.logs.collector", "LogsCollector"),
}
"""Module and class by the collector's name."""

LOG_FED: Mapping[str, tuple[str, ...]] = {
    "mailflow": ("zimbra.log",),
    "mailboxd": (
        "mailbox.log",
        "imap.csv", "imapd.csv", "imapd_stats.csv", "ldap.csv", "mailboxd.csv", "pop3.csv", "soap.csv", "sql.csv",
        "sync.csv",
    ),
    "auth": ("audit.log", "imapd-audit.log", "imapd.log", "mailbox.log", "nginx.log", "zimbra.log"),
    "logs": (
        "clamd.log", "ews.log", "freshclam.log", "gc.log", "imapd.log", "kern.log", "mailbox.log", "messages",
        "mysql_error.log", "nginx.log", "sync.log", "syslog", "zimbra-stats.log", "zimbra.log", "zmmailboxd.out",
    ),
}  # fmt: skip
"""Those that are fed with the lines of logs, and the base names of these."""
