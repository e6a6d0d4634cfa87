"""The directory that stands for the made-up host's root."""

import os
import shutil


class Tree:
    """Files below one directory, named by their paths on the host; written as a host's programs write them.

    Attributes:
        base: The directory.
    """

    def __init__(self, base: str) -> None:
        self.base = base

    def path(self, path: str) -> str:
        """Return where the host's absolute ``path`` really is."""
        return self.base + path

    def write(self, path: str, content: str | bytes, mode: int = 0o644) -> None:
        """Write a whole file by renaming, so that no reader sees half of it."""
        target = self.path(path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        fresh = target + ".new"
        with open(fresh, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content.encode() if isinstance(content, str) else content)
        os.replace(fresh, target)

    def append(self, path: str, line: str) -> None:
        """Add a line to a log."""
        with open(self.path(path), "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def change(self, path: str, content: bytes) -> None:
        """Overwrite a file in place, as through a shared mapping."""
        descriptor = os.open(self.path(path), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(descriptor, content, 0)
        finally:
            os.close(descriptor)

    def make(self, path: str, mode: int = 0o755) -> None:
        """Make a directory and those above it."""
        os.makedirs(self.path(path), exist_ok=True)
        os.chmod(self.path(path), mode)

    def remove(self, path: str) -> None:
        """Remove a directory with all that is in it, at once for whoever lists the one above."""
        directory, name = os.path.split(self.path(path))
        gone = os.path.join(directory, f".gone-{name}")
        os.rename(self.path(path), gone)
        shutil.rmtree(gone)
