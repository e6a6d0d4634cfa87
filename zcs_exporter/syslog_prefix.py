"""The beginning of a syslog line: when, which host, which program; in RFC 3164 and in ISO 8601 form.

For one line at a time; ``syslog`` puts the same parts together for a whole block.
"""

import re
from dataclasses import dataclass

from zcs_exporter.log_time import LogTime

# Mar  2 10:20:44
# 2024-03-02T10:20:33.901234+01:00
STAMP = rb"(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d))"
HOST = rb"[^\s\x00-\x1f]{1,255}"
# postfix/smtps/smtpd
PROGRAM = rb"[A-Za-z0-9_./-]{1,64}"
PID = rb"\d{1,10}"

# Mar  2 10:20:44 mail postfix/smtps/smtpd[4711]: warning: ...
# 2024-03-02T10:20:33.901234+01:00 mail saslauthd[29157]: auth_zimbra: ...
_PREFIX = re.compile(rb"(" + STAMP + rb") (" + HOST + rb") (" + PROGRAM + rb")(?:\[(" + PID + rb")\])?: ")
_DAY_AND_TIME = 19  # 2024-03-02T10:20:33


@dataclass(frozen=True, slots=True)
class SyslogPrefix:
    """What stands before the message of a syslog line.

    Attributes:
        stamp: As written.
        host: In lower case.
        program: Such as ``postfix/smtps/smtpd``.
        pid: None where the program does not say.
        message: Position at which the message begins.
    """

    stamp: bytes
    host: bytes
    program: bytes
    pid: bytes | None
    message: int


def parse_syslog_prefix(line: bytes) -> SyslogPrefix | None:
    """Return the prefix of a line; None where the line does not begin with one."""
    match = _PREFIX.match(line)
    if match is None:
        return None
    stamp, host, program, pid = match.groups()
    return SyslogPrefix(stamp, host.lower(), program, pid, match.end())


def stamp_time(stamp: bytes, clock: LogTime, now: float) -> int | None:
    """Return when a line with this stamp was written, in seconds since the epoch; None if there is no such time."""
    if stamp[3:4] == b" ":
        return clock.yearless(stamp, now)
    zone = b"Z" if stamp.endswith(b"Z") else stamp[-6:]
    return clock.offset(stamp[:_DAY_AND_TIME], zone, now)
