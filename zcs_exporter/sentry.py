"""Tells when quiet files change: one look at all of them together, where a look at each would wake a thread each."""

import asyncio
import logging
from collections.abc import Iterable

from zcs_exporter.blocking import BlockingCall
from zcs_exporter.contract import CollectError
from zcs_exporter.hostio import Host

log = logging.getLogger(__name__)

INTERVAL = 1.0
"""Seconds between two looks."""

SELDOM = 15.0
"""Seconds after which all files are read anew even if nothing about them seems to have changed: all at once."""

_PATIENCE = 1.0

_Signature = tuple[int, ...]


class Sentry:
    """Watches over some files of a host by their size, time and inode."""

    def __init__(self, host: Host, paths: Iterable[str]) -> None:
        """Prepare to watch ``paths``, whether they exist or not."""
        self._host = host
        self._seen: dict[str, _Signature] = dict.fromkeys(paths, ())
        self._changed = {path: asyncio.Event() for path in self._seen}
        self._call = BlockingCall("looking at the logs")
        self._hung = False

    async def run(self) -> None:
        """Look for ever."""
        looks = 0
        while True:
            await asyncio.sleep(INTERVAL)
            await self.look()
            looks += 1
            if looks * INTERVAL >= SELDOM:
                looks = 0
                self._wake_all()

    async def look(self) -> None:
        """Look at all files once."""
        try:
            seen = await self._call.within(_PATIENCE, self._signatures)
        except Exception as exc:
            # One of them hangs: each is looked at on its own again, so that the others do not wait for it. Nor may
            # anything else end this look: nobody would read a quiet log again.
            if not self._hung and not isinstance(exc, CollectError | TimeoutError):
                log.exception("looking at the logs: bug, please report it")
            self._hung = True
            self._wake_all()
            return
        self._hung = False
        if seen == self._seen:
            return
        for path, signature in seen.items():
            if signature != self._seen[path]:
                self._changed[path].set()
        self._seen = seen

    def _wake_all(self) -> None:
        for event in self._changed.values():
            event.set()

    def forget(self, path: str) -> None:
        """Count only changes from now on; what is read afterwards may be one of them."""
        self._changed[path].clear()

    async def until_changed(self, path: str) -> None:
        """Wait until a file has changed since ``forget``, at most for ``SELDOM``; ``INTERVAL`` while a file hangs."""
        if self._hung:
            await asyncio.sleep(INTERVAL)
        else:
            await self._changed[path].wait()

    def _signatures(self) -> dict[str, _Signature]:
        return {path: self._signature(path) for path in self._changed}

    def _signature(self, path: str) -> _Signature:
        try:
            status = self._host.stat(path)
        except OSError as exc:
            return (exc.errno or 0,)
        # The change of the inode's time shows what mtime does not: other rights, or an mtime that was set back.
        return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
