"""The story of a message or request, for a person at a terminal and for a program."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from zcs_exporter.oldlogs.fates import Fate, fates_of
from zcs_exporter.oldlogs.files import OldLog
from zcs_exporter.oldlogs.stamps import shown_time
from zcs_exporter.oldlogs.trace import MOST_IDS, MOST_LINES, Story, TracedLine
from zcs_exporter.oldlogs.trace_ids import Id, IdKind
from zcs_exporter.text import one_line

FORMAT = 1
"""Version of the JSON form; it rises only when something in it is taken away or changes its meaning."""

LONGEST = 2000
"""Characters of a line that are shown."""

_SHOWN_IDS = 20
_SHOWN_FATES = 20


def as_json(story: Story, files: Sequence[OldLog], problems: Mapping[str, str]) -> dict[str, Any]:
    """Return everything as plain data.

    ``format`` is ``FORMAT``; ``partial`` tells of an interruption. ``ids`` have ``kind id``, the one asked for first;
    ``lines`` have ``time`` in seconds since the epoch, ``log``, ``file``, ``offset`` in the content of the file, and
    ``line``, at most 2,000 printable characters. ``messages`` is how many messages had the queue id asked for.
    ``cut`` names what was too much, ``problems`` the files that could not be read, and why. ``recipients`` is what
    became of the message, as its ``recipient status text time times``; empty unless one message was asked for.
    """
    return {
        "format": FORMAT,
        "partial": story.partial,
        "ids": [{"kind": each.kind.value, "id": _text(each.value)} for each in story.ids],
        "messages": story.lives,
        "lines": [
            {
                "time": line.at,
                "log": files[line.file].stem,
                "file": files[line.file].path,
                "offset": line.offset,
                "line": _text(line.line),
            }
            for line in story.lines
        ],
        "cut": ["lines"] * story.cut_lines + ["ids"] * story.cut_ids,
        "problems": [{"file": path, "problem": problem} for path, problem in problems.items()],
        "recipients": [
            {
                "recipient": _text(fate.recipient) or None,
                "status": _text(fate.status),
                "text": _text(fate.text),
                "time": fate.at,
                "times": fate.times,
            }
            for fate in _fates(story)
        ],
    }


def as_text(story: Story, files: Sequence[OldLog], passed_over: str = "") -> Iterator[str]:
    """Yield what was found for a terminal; the lines' own stamps give way to one form for all.

    Args:
        story: What was found.
        files: Those that were searched.
        passed_over: Which others were not, such as ``2 empty``.
    """
    wanted, *others = story.ids
    if wanted.kind is IdKind.ADDRESS and _as_message(wanted) in others:
        wanted = _as_message(wanted)
        others.remove(wanted)
    yield f"{_text(wanted.value)}: {wanted.kind.value}"
    for each in others[:_SHOWN_IDS]:
        yield f"  {each.kind.value:10}  {_text(each.value)}"
    if len(others) > _SHOWN_IDS:
        yield f"  and {len(others) - _SHOWN_IDS} more"
    names = {number: os.path.basename(files[number].path) for number in {line.file for line in story.lines}}
    width = max((len(name) for name in names.values()), default=0)
    day = ""
    for line in story.lines:
        moment = shown_time(line.at)
        if moment[:10] != day:
            day = moment[:10]
            yield ""
            yield day
        yield f"{moment[11:]}  {one_line(names[line.file], 255):{width}}  {_shown(line)}"
    yield from _became(_fates(story))
    yield ""
    yield _summary(story, len(files), len(names), passed_over)
    if story.lives > 1:
        yield f"{story.lives} messages had this queue id; --since DATE narrows it down"
    if story.cut_lines:
        yield f"CUT: there are more lines; the newest {MOST_LINES:,} of a search are kept"
    if story.cut_ids:
        yield f"CUT: there are more ids; {MOST_IDS} are followed, those of the newest lines"
    if story.partial:
        yield "PARTIAL: interrupted; not all logs were searched"


def _fates(story: Story) -> list[Fate]:
    wanted = story.ids[0]
    if wanted.kind is IdKind.TEXT or (wanted.kind is IdKind.ADDRESS and _as_message(wanted) not in story.ids):
        return []  # these are of many messages
    return fates_of(story.lines)


def _as_message(wanted: Id) -> Id:
    return Id(IdKind.MESSAGE, wanted.value)


def _became(fates: Sequence[Fate]) -> Iterator[str]:
    if fates:
        yield ""
        yield "WHAT BECAME OF IT"
    for fate in fates[-_SHOWN_FATES:]:
        again = f" x{fate.times:,}, last" if fate.times > 1 else ""
        who = _text(fate.recipient) or "whoever had not got it"
        yield f"  {who}: {_text(fate.status)}{again} {shown_time(fate.at)}: {_text(fate.text)}"
    if len(fates) > _SHOWN_FATES:
        yield f"  and {len(fates) - _SHOWN_FATES} recipients before these; --format json has all"


def _summary(story: Story, searched: int, with_lines: int, passed_over: str) -> str:
    if not searched:
        why = f" ({passed_over})" if passed_over else ": no log of ZCS is here, name those to search"
        return f"nothing searched{why}"
    if not story.lines:
        return f"nothing found in {searched} file{'s' * (searched != 1)}{f' ({passed_over})' if passed_over else ''}"
    count = len(story.lines)
    return f"{count:,} line{'s' * (count != 1)} in {with_lines} of {searched} file{'s' * (searched != 1)}"


def _shown(line: TracedLine) -> str:
    return _text(line.line[line.stamp :].lstrip(b" "))


def _text(line: bytes) -> str:
    return one_line(line.decode("utf-8", "replace"), LONGEST)
