"""Follows one message or request through all logs of the host.

First the lines with the id itself are looked for, then those with the ids that these lines give to the same message,
until there are no new ones. An address leads to the messages it appears in, and no further. Queue ids and
amavis ids are used again for other messages: those found on the way count only near the time of the lines that name
them, a queue id from its first line to the one that removes it.
"""

import math
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from zcs_exporter.oldlogs.files import OldLog
from zcs_exporter.oldlogs.recognise import recognise
from zcs_exporter.oldlogs.stamps import Stamps
from zcs_exporter.oldlogs.trace_ids import Id, IdKind, ends_life, hands_over, ids_in, own_queue_id, whole
from zcs_exporter.syslog_prefix import parse_syslog_prefix

MOST_LINES = 10_000
"""Lines kept of one search; of more, the newest."""

MOST_IDS = 200
"""Ids followed; of more, those found in the newest lines."""

_ROUNDS = 6
_MESSAGE_LIVES = 7 * 86400.0
_TASK_LIVES = 900.0
_NEAR = 600.0  # clocks of two hosts differ, and logs are written late
_FEW = 16  # ids that are found faster each by itself than all by looking at every word
_QUEUED = (rb"\]: ", rb"queued as ", rb"queued_as: ", rb"Queue-ID: ", rb"orig_queue_id=", rb"notification: ")
# Each begins with plain bytes, which makes it several times as fast.
_WORDS = {
    IdKind.QUEUE: tuple(re.compile(before + rb"([0-9A-Za-z]{6,20})\b") for before in _QUEUED),
    IdKind.AMAVIS: (re.compile(rb"\]: \((\d{1,10}(?:-\d{1,6}){1,3})\) "),),
    IdKind.MESSAGE: (re.compile(rb"<([^<>\s]{1,320})>"),),
}
_SYSLOG = "zimbra.log"
_MAILBOXD = "mailbox.log"


@dataclass(frozen=True, slots=True, order=True)
class TracedLine:
    """One line of the story.

    Attributes:
        at: When it was written, in seconds since the epoch; the time of the line before where it does not say.
        file: Number of its file.
        offset: Where it begins in the content of its file.
        line: As it stands there, without its newline.
        stamp: Length of the stamp at its beginning.
    """

    at: float
    file: int
    offset: int
    line: bytes = field(compare=False)
    stamp: int = field(compare=False)


@dataclass(slots=True)
class Story:
    """What was found.

    Attributes:
        ids: Every id followed, in the order found; the one asked for is the first.
        lines: Oldest first.
        lives: How many messages had the queue id that was asked for.
        cut_lines: More lines were found than are kept.
        cut_ids: More ids were found than were followed.
        partial: It was interrupted.
    """

    ids: list[Id]
    lines: list[TracedLine] = field(default_factory=list)
    lives: int = 1
    cut_lines: bool = False
    cut_ids: bool = False
    partial: bool = False


class Trace:
    """One search through the files of a host.

    Attributes:
        files: The files searched.
    """

    def __init__(
        self,
        wanted: Id,
        files: Sequence[OldLog],
        since: float,
        begin: Callable[[int], None],
        keep_on: Callable[[Callable[[], int]], bool],
        until: float = math.inf,
    ) -> None:
        """Prepare a search.

        Args:
            wanted: What was asked for.
            files: All logs, in any order.
            since: Older lines are left out, in seconds since the epoch.
            begin: Called with the bytes to be read in a round.
            keep_on: Asked between two blocks, with a function that tells the bytes read of them.
            until: Later lines are left out.
        """
        self.files = sorted(files, key=lambda file: file.begins or file.reference)
        self._wanted = wanted
        self._since = since
        self._until = until
        self._begin = begin
        self._keep_on = keep_on
        self._logs = [recognise(file.stem, file.head, (_SYSLOG, _MAILBOXD))[0] or file.stem for file in self.files]
        self._story = Story([wanted])
        self._known = {wanted}
        self._lines: dict[tuple[int, int], TracedLine] = {}

    def run(self) -> Story:
        """Search until nothing new is found."""
        story = self._story
        found = self._search_first()
        anchors = self._take(found)
        if self._wanted.kind is IdKind.QUEUE:
            story.lives = len(_lives(self._wanted.value, found))
        for _ in range(_ROUNDS):
            if not anchors or story.partial:
                break
            anchors = self._take_near(self._search(anchors), anchors)
        story.lines = sorted(self._lines.values())
        if len(story.lines) > MOST_LINES:
            story.lines, story.cut_lines = story.lines[-MOST_LINES:], True
        return story

    def _take(self, lines: Sequence[TracedLine]) -> dict[Id, list[TracedLine]]:
        """Keep lines, and return the new ids in them with the lines that name them, newest first."""
        story = self._story
        anchors: dict[Id, list[TracedLine]] = {}
        for line in sorted(lines, reverse=True):
            self._lines[line.file, line.offset] = line
            for each in ids_in(line.line) - self._known:
                anchors.setdefault(each, []).append(line)
        room = MOST_IDS - len(story.ids)
        story.cut_ids |= len(anchors) > room
        newest = dict(list(anchors.items())[:room])
        self._known |= newest.keys()
        story.ids += sorted(newest, key=lambda each: (newest[each][-1].at, each.kind, each.value))
        return newest

    def _take_near(
        self, found: Mapping[Id, Sequence[TracedLine]], anchors: Mapping[Id, Sequence[TracedLine]]
    ) -> dict[Id, list[TracedLine]]:
        """Keep those lines that are of the message for which their id was named."""
        kept: list[TracedLine] = []
        for each, lines in found.items():
            kept += _of_message(each.value, lines, anchors[each]) if each.kind is IdKind.QUEUE else lines
        return self._take(kept)

    def _search_first(self) -> list[TracedLine]:
        """Return the lines with what was asked for, wherever it stands in them."""
        needle = self._wanted.needle
        # Brackets bound the other two.
        bare = self._wanted.kind not in (IdKind.MESSAGE, IdKind.AMAVIS)
        pattern = whole(needle) if bare else re.compile(re.escape(needle))
        folded = self._wanted.kind is IdKind.ADDRESS
        found: deque[TracedLine] = deque(maxlen=MOST_LINES)
        for number, stamps, offset, data in self._blocks(range(len(self.files))):
            searched = data.lower() if folded else data
            for start in _starts(searched, needle, pattern):
                line = _line(number, stamps, offset, data, start)
                if self._since <= line.at <= self._until:
                    self._story.cut_lines |= len(found) == MOST_LINES
                    found.append(line)
        return list(found)

    def _search(self, anchors: Mapping[Id, Sequence[TracedLine]]) -> dict[Id, list[TracedLine]]:
        """Return the lines that give one of the ids to a message, by id."""
        found: deque[tuple[Id, TracedLine]] = deque(maxlen=MOST_LINES)
        everywhere = list(anchors)
        messages = [each for each in anchors if each.kind is IdKind.MESSAGE]
        patterns = {each: re.compile(re.escape(each.needle)) for each in anchors}
        for number, stamps, offset, data in self._blocks(self._files_near(anchors)):
            wanted = messages if self._logs[number] == _MAILBOXD else everywhere  # it knows no others
            starts = {start for each in _present(data, wanted) for start in _starts(data, each.needle, patterns[each])}
            for start in sorted(starts):
                line = _line(number, stamps, offset, data, start)
                if self._since <= line.at <= self._until:
                    for each in self._taken(line, anchors):
                        self._story.cut_lines |= len(found) == MOST_LINES
                        found.append((each, line))
        by_id: dict[Id, list[TracedLine]] = {}
        for each, line in found:
            by_id.setdefault(each, []).append(line)
        return by_id

    def _taken(self, line: TracedLine, anchors: Mapping[Id, Sequence[TracedLine]]) -> Iterator[Id]:
        """Yield the ids for which a line may be of the same message."""
        ids = ids_in(line.line)
        for each in ids & anchors.keys():
            lives = _TASK_LIVES if each.kind is IdKind.AMAVIS else _MESSAGE_LIVES
            newest, oldest = anchors[each][0], anchors[each][-1]
            if not oldest.at - lives <= line.at <= newest.at + lives:
                continue
            # The children of amavis count their tasks from 1 again and again.
            others = [other for other in ids if other.kind is not IdKind.AMAVIS]
            if each.kind is IdKind.AMAVIS and others and self._known.isdisjoint(others):
                continue
            yield each

    def _files_near(self, anchors: Mapping[Id, Sequence[TracedLine]]) -> list[int]:
        """Return the numbers of the files in which messages of that time may stand."""
        first = min(lines[-1].at for lines in anchors.values()) - _MESSAGE_LIVES
        last = max(lines[0].at for lines in anchors.values()) + _MESSAGE_LIVES
        return [
            number
            for number, file in enumerate(self.files)
            if self._logs[number] in (_SYSLOG, _MAILBOXD)
            and (file.begins or 0) <= last
            and file.reference + 86400 >= first
        ]

    def _blocks(self, numbers: Sequence[int]) -> Iterator[tuple[int, Stamps, int, bytes]]:
        files = [self.files[number] for number in numbers]
        for file in files:
            file.read = 0
        self._begin(sum(file.size for file in files))
        for number in numbers:
            file = self.files[number]
            stamps = Stamps(file.reference)
            for offset, data in file.blocks():
                yield number, stamps, offset, data
                if not self._keep_on(lambda: sum(file.read for file in files)):
                    self._story.partial = True
                    return


def _present(data: bytes, wanted: Sequence[Id]) -> Sequence[Id]:
    """Return those of many ids that may stand in a block; all of a few."""
    if len(wanted) <= _FEW:
        return wanted
    found: set[bytes] = set()
    for kind in {each.kind for each in wanted}:
        for pattern in _WORDS[kind]:
            found.update(pattern.findall(data))
    return [each for each in wanted if each.value in found]


def _starts(data: bytes, needle: bytes, pattern: re.Pattern[bytes]) -> Iterator[int]:
    """Yield where lines begin in which ``needle`` stands as ``pattern`` demands."""
    position = data.find(needle)
    while position >= 0:
        if pattern.match(data, position):
            yield data.rfind(b"\n", 0, position) + 1
            position = data.find(b"\n", position)
            if position < 0:
                return
        position = data.find(needle, position + 1)


def _line(number: int, stamps: Stamps, offset: int, data: bytes, start: int) -> TracedLine:
    at = stamps.at(data, start)
    if at is None:
        before = stamps.last(data[max(0, start - (1 << 16)) : start]) if start else None
        at = before if before is not None else int(stamps.reference)
    end = data.index(b"\n", start)
    return TracedLine(float(at), number, offset + start, data[start:end], stamps.stamp_end(data, start) - start)


def _of_message(value: bytes, lines: Sequence[TracedLine], named_by: Sequence[TracedLine]) -> list[TracedLine]:
    """Return those lines with a queue id that are of the message for which others name it."""
    near = [life for life in _lives(value, lines) if any(_meets(life, line) for line in named_by)]
    # One that the naming host itself has is meant, else one of the host it was handed to.
    hosts = {_host(line) for line in named_by}
    lives = [life for life in near if _host(life[0]) in hosts] or near
    hosts = {_host(life[0]) for life in lives}
    kept = [line for life in lives for line in life]
    for line in lines:
        told_here = _host(line) in hosts or hands_over(line.line)
        if own_queue_id(line.line) != value and told_here and any(_meets(life, line) for life in lives):
            kept.append(line)
    return kept


def _meets(life: Sequence[TracedLine], line: TracedLine) -> bool:
    return life[0].at - _NEAR <= line.at <= life[-1].at + _NEAR


def _lives(value: bytes, lines: Sequence[TracedLine]) -> list[list[TracedLine]]:
    """Return the lines about the messages that had a queue id, apart for each message and host."""
    hosts: dict[bytes, list[TracedLine]] = {}
    for line in sorted(lines):
        if own_queue_id(line.line) == value:
            hosts.setdefault(_host(line), []).append(line)
    lives: list[list[TracedLine]] = []
    for found in hosts.values():
        ended = True
        for line in found:
            # What follows at once is of the same message: two programs may write out of order.
            if ended and (line is found[0] or line.at - lives[-1][-1].at > 1):
                lives.append([])
            lives[-1].append(line)
            ended = ends_life(line.line, value)
    return lives


def _host(line: TracedLine) -> bytes:
    """Return who wrote a line of syslog; nothing for other lines."""
    prefix = parse_syslog_prefix(line.line)
    return b"" if prefix is None else prefix.host
