"""The logs that ZCS's Java programs write: mailbox.log, sync.log, imapd.log and their like, of ZCS 8.0 to 10.1.

An entry is ``YYYY-MM-DD HH:MM:SS,mmm LEVEL [thread] [context] component - message``, and the lines after it
up to the next such line: a stack trace, or the rest of a long message. Everything that a client sent stands
inside the context, the message or those lines. A context is ``key=value;`` pairs in which values double their
semicolons, so it ends at the first ``] component - `` after a single one, or at once when it is empty.

Source: the appenders of ZCS's log4j.properties, pattern ``%d %-5p [%t] [%z] %c{1} - %m%n``.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from zcs_exporter.contract import LogBlock

# 2024-03-02 10:20:31,118 INFO  [ImapSSLServer-42] [ip=10.0.0.5;] imap - SELECT elapsed=3
_HEADER = rb"[12]\d{3}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (?:TRACE|DEBUG|INFO |WARN |ERROR|FATAL) \["
_START = re.compile(_HEADER)
_ENTRY = re.compile(rb"\n" + _HEADER)

# Lines by whose end a reader knows them; they may be entries that are quiet otherwise.
# ... [qtp1-5] [] SoapEngine - handler exception: authentication failed for [nobody@example.com], account not found
# ... [ImapServer-7] [] account - authentication failed for nobody (no such account)
# ... [qtp1-5] [] misc - Access from IP 203.0.113.9 suspended, for repeated failed login.
# ... [LmtpServer] [] TcpServer/7025 - Starting accept loop: 1 core threads, 20 max threads.
# ... [LmtpServer] [] TcpServer/7025 - Thread pool is 95% utilized.  19 out of 20 threads in use.
_ENDINGS = (
    rb"account not found",
    rb"such account\)",
    rb"failed login",
    rb"failed login\.",
    rb"max threads\.",
    rb"threads in use\.",
)
_LAST_CHARACTERS = b".)dn"
_LONGEST = 1 << 16  # a longer line is cut to this
_ENDED = re.compile(rb"\n(?:" + b"|".join(rb"(?<=" + ending + rb"\n)" for ending in _ENDINGS) + rb")")

# Finds the newline before each line that somebody must look at: every line but those that surely are an entry at INFO
# or below of a thread that tells nothing, and after one with such an end. The threads that tell are LmtpServer-1,
# where a message is refused, and main, Thread-1 and JettyShutdownThread, where mailboxd starts and stops. The newline
# alone before the lookaheads lets the search leap from line to line. The first of them settles most lines, by the last
# character before the newline and a few after it, faster than one with a choice; without limits, broken lines cost
# their square.
_QUIET = rb"2(?s:.{23}+)[IDT](?s:.{6}+)"
_LMTP = rb"L[^]]{0,99}+\] \[[^]]{0,512}+\] (?:[^l]|lmtp - D)"
_TOLD = re.compile(
    rb"\n(?!(?<![" + _LAST_CHARACTERS + rb"]\n)" + _QUIET + rb"[^JLmT])"
    rb"(?!" + b"".join(rb"(?<!" + ending + rb"\n)" for ending in _ENDINGS) + _QUIET + rb"(?:[^JLmT]|" + _LMTP + rb"))"
)
_LOUD = re.compile(rb"(?!" + _QUIET + rb"(?:[^JLmT]|" + _LMTP + rb"))")

# mailbox, SoapEngine, and TcpServer/7025, which has its port in its name
_NAME = rb"[A-Za-z_$][\w.$/-]{0,63}"
# 2024-03-02 10:25:11,402 FATAL [qtp1-733:https://h:443/service/soap/] [name=ann@example.com;mid=12;] system - text
# A line with nothing in it that could be read in two ways.
_PLAIN = re.compile(
    rb"([12]\d{3}-\d\d-\d\d \d\d:\d\d:\d\d),\d{3} (TRACE|DEBUG|INFO |WARN |ERROR|FATAL) "
    rb"\[([^]]*)\] \[((?:[^]]*;)?)\](?<!;;\]) (" + _NAME + rb") - "
)
_HEAD = re.compile(rb"([12]\d{3}-\d\d-\d\d \d\d:\d\d:\d\d),\d{3} (TRACE|DEBUG|INFO |WARN |ERROR|FATAL) \[")
_COMPONENT = re.compile(rb"\] (" + _NAME + rb") - ")
_SEMICOLON = ord(";")

# java.lang.OutOfMemoryError: Java heap space
_CLASS = rb"((?:[A-Za-z_$][\w$]{0,60}\.){1,12}[A-Z_$][\w$]{0,80})"
_THROWN = re.compile(rb"\n" + _CLASS + rb"(?::|\n|\Z)")
# Caused by: java.io.IOException: No space left on device
_CAUSE = b"\nCaused by: "
_CAUSED = re.compile(_CAUSE + _CLASS + rb"(?::|\n|\Z)")
_OUT_OF_MEMORY = re.compile(rb"\n(?:Caused by: )?java\.lang\.OutOfMemoryError(?:: ([^\n]{0,80})[^\n]*)?(?:\n|\Z)")
NO_SPACE = b"No space left on device"
_NO_SPACE = re.compile(rb"\n(?:Caused by: )?" + _CLASS + rb": [^\n]*" + NO_SPACE)

LEVELS = {b"WARN ": "warn", b"ERROR": "error", b"FATAL": "fatal"}
"""Levels that are counted; others are no key."""

_CATEGORIES = """
misc net index lucene search searchstat searchstats elasticsearch redolog lmtp smtp nio imap-client imap pop-client pop
milter mailbox calendar im intercept account autoprov gal concurrency ldap acl security soap test sqltrace dbconn perf
cache filter session backup system sync synctrace syncstate wbxml xsync extensions zimlet doc op dav io datasource rmgmt
webclient scheduler store fb purge mailop slogger mbxmgr tnef nginxlookup contact share activity ews oauth zmg smime
ephemeral contactbackup event eventlog ml SoapEngine DoSFilter
"""
COMPONENTS = frozenset(_CATEGORIES.split())
"""ZCS's own log categories by the last part of their name, and two classes; whatever else writes is ``other``."""

MEMORY_KINDS = ("heap", "gc_overhead", "metaspace", "threads", "other")
_MEMORY_KINDS = (
    (b"Java heap space", "heap"),
    (b"GC overhead limit exceeded", "gc_overhead"),
    (b"Metaspace", "metaspace"),
    (b"Compressed class space", "metaspace"),
    (b"PermGen space", "metaspace"),
    (b"unable to create new native thread", "threads"),
    (b"unable to create native thread", "threads"),
)

# Thread pool is 95% utilized.  237 out of 250 threads in use.
_THREAD_POOL = re.compile(rb"Thread pool is \d{1,3}% utilized\. {1,2}\d{1,6} out of \d{1,6} threads in use\.")
# version=10.0.8_GA_4518 release=20240205101010 builddate=20240205-1010 buildhost=build.example.com
_VERSION = re.compile(rb"version=(\S{1,100}) release=\S+ builddate=")


class Stretch(NamedTuple):
    """Part of a block: one entry and what follows it.

    Attributes:
        start: Where the entry's line starts in the block; None for lines that go on from the block before.
        line: The entry's line; empty for such lines.
        rest: The lines that follow, each after a newline.
        ended: Whether another entry comes after it in the block.
    """

    start: int | None
    line: bytes
    rest: bytes
    ended: bool


class MailboxLine(NamedTuple):
    """The first line of an entry, taken apart.

    Attributes:
        stamp: ``2024-03-02 10:20:31``, local time.
        level: Five characters, such as ``WARN ``.
        component: As written; ``other``, before an empty message, where no end of the context is found.
        imitated: Whether client text in it looks like the end of a context.
    """

    stamp: bytes
    level: bytes
    thread: bytes
    context: bytes
    component: str
    message: bytes
    imitated: bool


class Gist(NamedTuple):
    """What of a block somebody must look at.

    Attributes:
        stretches: The entries that tell something, and those that have lines after their first. Entries at WARN and
            above are always among them.
        ended: Where the lines start in the block by whose end a reader knows them: of a name that no account has, an
            address kept out, or the limit of a server's threads.
    """

    stretches: Sequence[Stretch]
    ended: Sequence[int]


def gist_of(block: LogBlock) -> Gist:
    """Return the gist of a block, found by the first of its readers."""
    found = block.found.get("mailbox_log")
    if not isinstance(found, Gist):
        found = block.found["mailbox_log"] = find_gist(block.data)
    return found


def find_gist(data: bytes) -> Gist:
    """Return the gist of whole lines."""
    stretches: list[Stretch] = []
    ended: list[int] = []
    last = len(data) - 1
    floor = 0  # where the entry starts that was found last to follow another
    line = 0 if _LOUD.match(data) else _next_told(data, 0, ended)
    while line <= last:
        start = _entry_of(data, floor, line)
        following = _ENTRY.search(data, line)
        stop = last if following is None else following.start()
        if start is None:
            stretches.append(Stretch(None, b"", b"\n" + data[:stop], following is not None))
        else:
            end = data.find(b"\n", start)
            stretches.append(Stretch(start, data[start:end], data[end:stop], following is not None))
            # An end before that was found already, and that of the last line before the next entry is found with that.
            if line <= end < stop and _has_end(data, end):
                ended.append(start)
        floor = stop + 1
        line = _next_told(data, stop, ended)
    return Gist(stretches, ended)


def _next_told(data: bytes, position: int, ended: list[int]) -> int:
    """Return where the next line starts that is loud itself, or the end; note the lines before that have an end."""
    while (found := _TOLD.search(data, position)) is not None:
        newline = found.start()
        position = newline + 1
        if not _has_end(data, newline):
            return position
        ended.append(data.rfind(b"\n", 0, newline) + 1)
        if _LOUD.match(data, position):
            return position
    return len(data)


def _has_end(data: bytes, newline: int) -> bool:
    return data[newline - 1] in _LAST_CHARACTERS and _ENDED.match(data, newline) is not None


def _entry_of(data: bytes, floor: int, line: int) -> int | None:
    """Return where the entry starts that a line belongs to; None if that is in an earlier block."""
    while _START.match(data, line) is None:
        if line <= floor:
            return None
        line = max(floor, data.rfind(b"\n", floor, line - 1) + 1)
    return line


def cut_lines(data: bytes) -> list[bytes]:
    """Return the lines of a block that are as long as lines can be: they may have been cut."""
    found = []
    at = 0
    while len(data) - at > _LONGEST:
        newline = data.rfind(b"\n", at, at + _LONGEST)
        if newline < 0:
            newline = data.index(b"\n", at + _LONGEST)
            found.append(data[at:newline])
        at = newline + 1
    return found


def last_entry(block: bytes) -> tuple[int, bytes] | None:
    """Return where the last entry starts and its stamp; None where no line begins one."""
    end = len(block) - 1
    while end > 0:
        start = block.rfind(b"\n", 0, end)
        head = _HEAD.match(block, start + 1)
        if head is not None:
            return start + 1, head[1]
        end = start
    return None


def parse_mailbox_line(line: bytes) -> MailboxLine | None:
    """Take the first line of an entry apart; None where it is not one."""
    plain = _PLAIN.match(line)
    if plain is not None:
        stamp, level, thread, context, component = plain.groups()
        return MailboxLine(stamp, level, thread, context, component.decode("ascii"), line[plain.end() :], False)
    head = _HEAD.match(line)
    if head is None:
        return None
    stamp, level = head.groups()
    thread_end = line.find(b"] [", head.end())
    if thread_end < 0:
        return MailboxLine(stamp, level, line[head.end() :], b"", "other", b"", False)
    start = thread_end + 3
    thread = line[head.end() : thread_end]
    imitated = False
    # One before the context's first character is the bracket that may end an empty one.
    for found in _COMPONENT.finditer(line, start):
        end = run = found.start()
        while run > start and line[run - 1] == _SEMICOLON:
            run -= 1
        if end == start or (end - run) % 2:
            component = found[1].decode("ascii")
            return MailboxLine(stamp, level, thread, line[start:end], component, line[found.end() :], imitated)
        imitated = True
    return MailboxLine(stamp, level, thread, line[start:], "other", b"", imitated)


def parse_context(context: bytes) -> dict[str, str]:
    """Return the pairs of a context, semicolons inside values as they were."""
    pairs: dict[str, str] = {}
    for part in context.replace(b";;", b"\0").split(b";"):
        key, equals, value = part.partition(b"=")
        if equals:
            pairs.setdefault(key.decode("utf-8", "replace"), value.replace(b"\0", b";").decode("utf-8", "replace"))
    return pairs


def account_of(context: bytes) -> bytes:
    """Return the account of a context, which names it first; empty where it names none."""
    return context[5 : context.find(b";")] if context.startswith(b"name=") else b""


def component_label(component: str) -> str:
    """Return the component as one of ``COMPONENTS`` or ``other``."""
    return component if component in COMPONENTS else "other"


def thrown_class(rest: bytes) -> str:
    """Return the class of the first exception in the lines after an entry's, empty if there is none."""
    found = _THROWN.search(rest)
    return "" if found is None else found[1].decode("ascii")


def last_cause(rest: bytes) -> str:
    """Return the class of the last ``Caused by:``, empty if there is none."""
    at = rest.rfind(_CAUSE)
    while at >= 0:
        found = _CAUSED.match(rest, at)
        if found is not None:
            return found[1].decode("ascii")
        at = rest.rfind(_CAUSE, 0, at)
    return ""


def memory_kind(rest: bytes) -> str | None:
    """Return which memory ran out by a trace, one of ``MEMORY_KINDS``; None if none did."""
    found = _OUT_OF_MEMORY.search(rest) if b"OutOfMemoryError" in rest else None
    if found is None:
        return None
    text = found[1] or b""
    return next((kind for start, kind in _MEMORY_KINDS if text.startswith(start)), "other")


def no_space(rest: bytes) -> bool:
    """Whether an exception of a trace says that a file system is full."""
    return NO_SPACE in rest and _NO_SPACE.search(rest) is not None


def thread_pool(message: bytes) -> bool:
    """Whether a message warns that a server runs short of threads."""
    return _THREAD_POOL.match(message) is not None


def started_version(message: bytes) -> str | None:
    """Return the version that a server writes when it starts; None for another message."""
    found = _VERSION.match(message)
    return None if found is None else found[1].decode("ascii", "replace")
