"""Which names in a spool are those of messages."""

import contextlib
import re
import stat
from collections.abc import Collection

from zcs_exporter.hostio import Host

MAX_DEPTH = 16
"""Directories below each other in which messages are looked for."""

# 8764910C06B: five digits of microseconds, then the inode.
# 4jX8tS54KzzJmkW: seconds and four digits of microseconds to base 52, a z, the inode to base 51 (without z).
QUEUE_ID = re.compile(
    r"[0-9A-F]{6,64}|[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,32}z[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-y]{1,32}"
)
_SHORT_ID = b"0123456789ABCDEF"
_SHORT_LENGTHS = frozenset(range(6, 65))


def ids_among(names: Collection[str]) -> int:
    """Return how many of the names are queue ids."""
    # In a large directory they are short ids all of them, as a rule, which is seen in a tenth of the time.
    if _SHORT_LENGTHS.issuperset(map(len, names)):
        others = "".join(names).encode("utf-8", "replace").translate(None, _SHORT_ID)
        if not others:
            return len(names)
    return sum(1 for name in names if QUEUE_ID.fullmatch(name))


def ids_below(host: Host, path: str, depth: int = 0) -> int:
    """Return how many names of messages there are in a directory and those below: the least that can be asked.

    Raises:
        OSError: A directory cannot be read.
    """
    names = host.listdir(path)
    count = ids_among(names)
    for name in names:
        if len(name) == 1 and depth < MAX_DEPTH:
            below = f"{path}/{name}"
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # it has gone since
                if stat.S_ISDIR(host.lstat(below).st_mode):
                    count += ids_below(host, below, depth + 1)
    return count
