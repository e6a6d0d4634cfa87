"""Which names of a directory changed, as the kernel tells it: inotify(7).

Python has no call for it and the packages that do are more than is needed, so the three functions of the C library
that runs anyway are called through ctypes. Nothing here blocks but a directory whose file system hangs.
"""

import errno
import os
import struct
from dataclasses import dataclass, field

_CREATED, _DELETED, _MOVED_FROM, _MOVED_TO = 0x100, 0x200, 0x40, 0x80
_GONE = _DELETED | _MOVED_FROM
_OVERFLOW, _IGNORED = 0x4000, 0x8000
_ONLY_DIRECTORIES = 0x01000000
_EVENT = struct.Struct("iIII")
_BUFFER = 1 << 16


CAME, RETURNED, LEFT = range(3)
"""What became of a name: it is there and never left, it had left and is there again, or it is not there."""


@dataclass(slots=True)
class Changes:
    """What happened in watched directories.

    Attributes:
        names: For each watch, the names that something happened to, and what in the end: ``CAME``, ``RETURNED`` or
            ``LEFT``.
        ended: Watches whose directory is gone, or its file system.
        lost: The kernel had no room for all that happened: any directory may have changed.
    """

    names: dict[int, dict[str, int]] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    lost: bool = False


class DirectoryWatch:
    """Watches directories for entries that come and go; not for what becomes of an entry that stays.

    The kernel sees what is done through this host only: nothing of what others do to a network file system.
    """

    def __init__(self) -> None:
        """Begin, with no directory yet.

        Raises:
            OSError: The system has no inotify, or this user has used up its share.
        """
        try:
            import ctypes  # few hosts need it: loaded with the first directory that is worth a watch

            self._library = ctypes.CDLL(None, use_errno=True)
            self._begin, self._add, self._remove = (
                self._library[name] for name in ("inotify_init1", "inotify_add_watch", "inotify_rm_watch")
            )
        except (AttributeError, ImportError, MemoryError) as exc:
            raise OSError(errno.ENOSYS, f"no inotify: {exc}") from exc
        self._errno = ctypes.get_errno
        self._descriptor = self._answer(self._begin(os.O_NONBLOCK | os.O_CLOEXEC))

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def add(self, path: str) -> int:
        """Watch a directory, by its own path and not the host's, and return the watch's number.

        A directory that is watched already keeps its number, whatever path leads to it.

        Raises:
            OSError: There is no such directory, it may not be read, or no more may be watched (``ENOSPC``).
        """
        wanted = _CREATED | _GONE | _MOVED_TO | _ONLY_DIRECTORIES
        return self._answer(self._add(self._descriptor, os.fsencode(path), wanted))

    def remove(self, number: int) -> None:
        """End a watch; one that ended by itself is no error."""
        self._remove(self._descriptor, number)

    def changes(self) -> Changes:
        """Return what happened since the last call.

        Raises:
            OSError: The kernel does not say.
        """
        found = Changes()
        while True:
            try:
                data = os.read(self._descriptor, _BUFFER)
            except BlockingIOError:
                return found
            position = 0
            while position < len(data):
                number, mask, _, length = _EVENT.unpack_from(data, position)
                position += _EVENT.size + length
                if mask & _OVERFLOW:
                    found.lost = True
                elif mask & _IGNORED:
                    found.ended.add(number)
                elif length:
                    name = os.fsdecode(data[position - length : position].rstrip(b"\0"))
                    names = found.names.setdefault(number, {})
                    names[name] = LEFT if mask & _GONE else RETURNED if names.get(name) else CAME

    def _answer(self, value: int) -> int:
        if value < 0:
            number = self._errno()
            raise OSError(number, os.strerror(number))
        return value
