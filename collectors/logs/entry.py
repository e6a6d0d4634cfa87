"""What the ``logs`` collector knows of one log of a Java program, and of the entry whose lines may not all be here."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field

from collectors.logs.signatures import Signatures
from zcs_exporter.log_time import LogTime

_JVMS = {"mailbox.log": "mailboxd", "imapd.log": "imapd"}


@dataclass(slots=True)
class Entry:
    """An entry that may go on.

    Attributes:
        level: One of those that are counted; empty below.
        component: As a label.
        at: None where its stamp is no time.
        text: The masked message.
        cause: Class of the last ``Caused by:``, else of the first exception.
        told: Whether its lines told of memory, and of space, that ran out.
        fatal: Fields of the record that a FATAL entry still owes.
        offset: Where it stands in its file.
    """

    level: str = ""
    component: str = "other"
    at: int | None = None
    text: str = ""
    cause: str = ""
    told: list[str] = field(default_factory=list)
    fatal: dict[str, str] | None = None
    offset: int | None = None


class JavaLog:
    """One log.

    Attributes:
        jvm: Whose faults it tells; None for a log that mailboxd writes beside its own.
        open: The last entry, which the next block may go on with.
        signatures: Errors that are alike.
        events: Entries by component and level.
        repairing_until: Until when a damaged index may be told to be repaired.
        memory: When and of which kind its JVM ran out of memory, until it is seen to live.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.name = path.rpartition("/")[2]
        self.jvm = _JVMS.get(self.name)
        self.time = LogTime()
        self.open: Entry | None = None
        self.signatures = Signatures()
        self.events: dict[str, Counter[str]] = {}
        self.repairing_until = 0
        self.memory: tuple[int, str] | None = None
        self._fed = False
        self._counted: set[str] = set()

    def count(self, component: str, level: str) -> None:
        """Count an entry."""
        counts = self.events.get(component)
        if counts is None:
            counts = self.events[component] = Counter()
        counts[level] += 1
        self._counted.add(component)

    def mark(self) -> None:
        """Note that lines changed what is under way."""
        self._fed = True

    def changes(self) -> Iterator[tuple[str, str | None]]:
        """Yield the rows that changed since the last call."""
        if self._fed:
            entry = None if self.open is None else asdict(self.open)
            yield f"{self.name}/log", json.dumps([self.time.previous, entry, self.repairing_until, self.memory])
        for component in self._counted:
            yield f"{self.name}/events/{component}", json.dumps(self.events[component])
        for name, row in self.signatures.changes():
            yield f"{self.name}/signatures/{name}", row
        self._fed = False
        self._counted.clear()

    def restore(self, saved: Mapping[str, str]) -> None:
        """Take over what ``changes`` gave."""
        begin = f"{self.name}/"
        rows = {name.removeprefix(begin): row for name, row in saved.items() if name.startswith(begin)}
        if "log" in rows:
            self.time.previous, entry, self.repairing_until, memory = json.loads(rows["log"])
            self.open = None if entry is None else Entry(**entry)
            self.memory = None if memory is None else (memory[0], memory[1])
        for name, row in rows.items():
            kind, _, rest = name.partition("/")
            if kind == "events":
                self.events[rest] = Counter(json.loads(row))
        begin = "signatures/"
        self.signatures.restore({name.removeprefix(begin): row for name, row in rows.items() if name.startswith(begin)})
