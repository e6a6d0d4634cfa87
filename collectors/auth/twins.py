"""Logins that two logs tell: up to 8.8.15 an administrator of an unknown name fails in audit.log and in mailbox.log."""

_SECONDS = 5  # between the two
_MAX_NAMES = 1024
_MAX_TIMES = 256

_Key = tuple[str, str, str]


class Twins:
    """What one log told and the other not yet; a restart in between counts one login twice."""

    def __init__(self) -> None:
        """Start empty."""
        self._times: dict[_Key, list[int]] = {}

    def again(self, log: str, at: int | None, address: str, account: str) -> bool:
        """Take what ``log`` tells, ``audit`` or ``mailbox``; return whether the other one told it before."""
        if at is None:
            return False
        account = account.lower()
        other = "mailbox" if log == "audit" else "audit"
        waiting = self._times.get((other, address, account), [])
        near = next((index for index, time in enumerate(waiting) if abs(time - at) <= _SECONDS), None)
        if near is not None:
            del waiting[near]
            return True
        times = self._times.pop((log, address, account), [])
        times.append(at)
        self._times[log, address, account] = times[-_MAX_TIMES:]
        if len(self._times) > _MAX_NAMES:
            del self._times[next(iter(self._times))]
        return False
