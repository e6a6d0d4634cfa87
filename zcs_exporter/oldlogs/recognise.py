"""Tells which log a file belongs to: by its name without what rotation added, else by its first lines."""

import re
from collections.abc import Collection

from zcs_exporter.syslog_prefix import HOST, PID, PROGRAM, STAMP

_LINES = 200
_SHARE = 0.5

_NOT_ZIMBRA = frozenset(
    ("syslog", "messages", "maillog", "mail.log", "mail", "auth.log", "secure", "kern.log", "daemon.log", "user.log")
)
"""The distribution's own logs: some repeat lines of zimbra.log, which would count twice."""

_FORMS: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    # 2024-03-02 10:20:31,118 INFO  [ImapSSLServer-42] [ip=10.0.0.5;] security - cmd=Auth; account=ann@example.com; ...
    ("audit.log", re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]{4,5} +\[[^\n]*\] security - ")),
    # 2024-03-02 10:25:11,402 FATAL [qtp1068934215-733:https://...] [name=ann@example.com;] system - handler exception
    ("mailbox.log", re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]{4,5} +\[[^\n]*\] [A-Za-z]+ - ")),
    # 2024/03/02 10:20:40 [info] 2101#0: *8812 client 203.0.113.9:51022 connected to 0.0.0.0:993
    ("nginx.log", re.compile(rb"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[[a-z]{4,6}\] \d+#\d+: ")),
    # Mar  2 10:20:44 mail postfix/smtps/smtpd[4711]: ...   2024-03-02T10:20:33.901234+01:00 mail saslauthd[29157]: ...
    ("zimbra.log", re.compile(STAMP + rb" " + HOST + rb" " + PROGRAM + rb"(?:\[" + PID + rb"\])?: ")),
    # [2024-03-02T10:20:31.118+0100] GC(812) Pause Young (Normal) (G1 Evacuation Pause) 1843M->612M(4096M) 21.345ms
    # 2017-03-02T10:20:31.118+0100: 812.345: [GC (Allocation Failure) ...
    (
        "gc.log",
        re.compile(rb"\[?\d{4}-\d\d-\d\dT[\d:.]{8,12}[+-]\d{4}(?:\]|: [\d.]+: \[| ).*?(?:GC|Safepoint|safepoint)"),
    ),
)


def recognise(stem: str, head: bytes, known: Collection[str]) -> tuple[str | None, str]:
    """Return the log's base name and by what it was told, ``name`` or ``content``; None where nobody knows it.

    Args:
        stem: The file's name without what rotation added.
        head: Its first lines.
        known: The base names of the logs that somebody reads.
    """
    if stem in known:
        return stem, "name"
    if stem in _NOT_ZIMBRA:
        return None, ""
    lines = [line for line in head.split(b"\n", _LINES)[:_LINES] if line and not line.startswith((b"\t", b" "))]
    for log, form in _FORMS:
        if log in known and lines and sum(form.match(line) is not None for line in lines) >= _SHARE * len(lines):
            return log, "content"
    return None, ""
