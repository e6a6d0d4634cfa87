"""Tells the daemon that somebody is at work on the host, until when: alarms about services are held meanwhile."""

import os
import tempfile
from datetime import datetime

from zcs_exporter.contract import MAINTENANCE_LIMIT, Clock

_SHOWN = "%Y-%m-%d %H:%M:%S %z"


class SilenceError(Exception):
    """It cannot be told; the message says what to do."""


def silence(path: str, seconds: float, clock: Clock) -> datetime:
    """Begin a maintenance, or change its end, and return that.

    Args:
        path: The file that the daemon reads the end from.
        seconds: From now.
        clock: The time.

    Raises:
        SilenceError: It would last too long, or the file cannot be written.
    """
    if seconds < 1:
        raise SilenceError("a maintenance lasts a second at least; --end ends one")
    if seconds > MAINTENANCE_LIMIT:
        raise SilenceError(f"a maintenance lasts at most {MAINTENANCE_LIMIT / 86400:.0f} days; begin another one then")
    end = datetime.fromtimestamp(int(clock.wall() + seconds)).astimezone()
    directory = os.path.dirname(path)
    try:
        if not os.path.isdir(directory):
            os.makedirs(directory)
            os.chmod(directory, 0o755)  # noqa: S103 - the daemon must get at the file below it
        # Of a name that nobody can have made a link of: root may write here what belongs to the daemon's user.
        descriptor, part = tempfile.mkstemp(dir=directory, prefix=".maintenance-")
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(f"{end.isoformat()}\n")
            os.fchmod(descriptor, 0o644)  # the daemon reads it, whoever wrote it with whatever mask
        os.replace(part, path)
    except OSError as exc:
        raise _error(path, exc) from exc
    return end


def end_silence(path: str, clock: Clock) -> str:
    """End a maintenance and return what became of it, in words.

    Raises:
        SilenceError: The file cannot be removed.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(100).strip()
        os.remove(path)
    except FileNotFoundError:
        return "there was no maintenance"
    except OSError as exc:
        raise _error(path, exc) from exc
    end = _time_in(text)
    if end is None:
        return f"there was no maintenance: {path} held no time and is removed"
    if end.timestamp() <= clock.wall():
        return f"the maintenance was over already, since {end.astimezone():{_SHOWN}}"
    return "the maintenance has ended"


def silence_now(path: str, clock: Clock) -> str:
    """Return whether there is a maintenance by this file, until when, since when and by whom, in words.

    Raises:
        SilenceError: The file cannot be read.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(100).strip()
            status = os.fstat(file.fileno())
    except FileNotFoundError:
        return "nobody holds alarms; write how long to hold them, such as 2h"
    except OSError as exc:
        raise _error(path, exc) from exc
    end = _time_in(text)
    if end is None:
        return f"nobody holds alarms: {path} holds no time; --end removes it"
    if end.timestamp() <= clock.wall():
        return f"nobody holds alarms; a maintenance was over at {end.astimezone():{_SHOWN}}"
    since = datetime.fromtimestamp(status.st_mtime).astimezone()
    return (
        f"alarms about services, probes and JVMs are to be held until {end.astimezone():{_SHOWN}}; "
        f"set at {since:{_SHOWN}} by {_user(status.st_uid)}; --end ends it"
    )


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _time_in(text: str) -> datetime | None:
    try:
        return datetime.fromtimestamp(float(text)) if text.isdecimal() else datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        return None


def _error(path: str, exc: OSError) -> SilenceError:
    return SilenceError(f"{path}: {exc.strerror}; run this as root or as the daemon's user")
