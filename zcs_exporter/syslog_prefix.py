"""The beginning of a syslog line: when, which host, which program; in RFC 3164 and in ISO 8601 form."""

import re
from dataclasses import dataclass

from zcs_exporter.log_time import LogTime

_HOST = rb"([^\s\x00-\x1f]{1,255})"
_PROGRAM = rb"([A-Za-z0-9_./-]{1,64})(?:\[(\d{1,10})\])?: "
# Mar  2 10:20:44 mail postfix/smtps/smtpd[4711]: warning: ...
_RFC3164 = re.compile(rb"([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) " + _HOST + rb" " + _PROGRAM)
# 2024-03-02T10:20:33.901234+01:00 mail saslauthd[29157]: auth_zimbra: ...
_ISO = re.compile(
    rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d{1,9})?(Z|[+-]\d\d:\d\d) " + _HOST + rb" " + _PROGRAM,
)


@dataclass(frozen=True, slots=True)
class SyslogPrefix:
    """What stands before the message of a syslog line.

    Attributes:
        stamp: As written, without fractions of a second.
        offset: Distance from UTC as written, None in RFC 3164 form, which has neither zone nor year.
        host: In lower case.
        program: Such as ``postfix/smtps/smtpd``.
        pid: None where the program does not say.
        message: Position at which the message begins.
    """

    stamp: bytes
    offset: bytes | None
    host: bytes
    program: bytes
    pid: bytes | None
    message: int

    def time(self, clock: LogTime, now: float) -> int | None:
        """Return when the line was written, in seconds since the epoch; None if there is no such time."""
        if self.offset is None:
            return clock.yearless(self.stamp, now)
        return clock.offset(self.stamp, self.offset, now)


def parse_syslog_prefix(line: bytes) -> SyslogPrefix | None:
    """Return the prefix of a line; None where the line does not begin with one."""
    match = _RFC3164.match(line)
    if match is not None:
        stamp, host, program, pid = match.groups()
        return SyslogPrefix(stamp, None, host.lower(), program, pid, match.end())
    match = _ISO.match(line)
    if match is not None:
        stamp, offset, host, program, pid = match.groups()
        return SyslogPrefix(stamp, offset, host.lower(), program, pid, match.end())
    return None
