"""The large directories of a spool, of which the kernel tells what changed."""

import contextlib
from collections.abc import Iterator

from collectors.postfix.known import Folder
from zcs_exporter.hostio import Host
from zcs_exporter.inotify import Changes, DirectoryWatch


class Watches:
    """Who is watched under which number. A folder that cannot be watched is simply listed when its time changes."""

    def __init__(self, host: Host) -> None:
        """Prepare; the kernel is not asked for anything yet."""
        self._host = host
        self._kernel: DirectoryWatch | None = None
        self._folders: dict[int, Folder] = {}

    def __len__(self) -> int:
        return len(self._folders)

    def __iter__(self) -> Iterator[Folder]:
        return iter(list(self._folders.values()))

    def begin(self, folder: Folder) -> None:
        """Watch a folder from now on, if possible; what changed until now is seen by listing it afterwards."""
        number = None
        # No inotify here, no more watches for this user, or a file system without: all of them may pass.
        with contextlib.suppress(OSError):
            if self._kernel is None:
                self._kernel = self._host.watch_directories()
            number = self._kernel.add(self._host.path(folder.path))
        # Two paths to one directory: the kernel would tell of it once.
        if number is not None and self._folders.get(number, folder) is not folder:
            number = None
        if number != folder.watch:
            self.end(folder)
        if number is not None:
            self._folders[number] = folder
            folder.watch = number
            folder.make_index()
        folder.unwatchable = number is None

    def end(self, folder: Folder) -> None:
        """Watch a folder no more."""
        if folder.watch is not None and self._kernel is not None:
            self._kernel.remove(folder.watch)
            del self._folders[folder.watch]
            folder.watch = None
            folder.forget_index()

    def changes(self) -> Changes:
        """Return what happened in the watched folders since the last call."""
        try:
            return Changes() if self._kernel is None else self._kernel.changes()
        except OSError:
            return Changes(lost=True)
