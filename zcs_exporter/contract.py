"""What the author of a collector imports.

A collector is a class with ``name``, ``metrics`` and ``async collect()``. It is given its own frozen
configuration, a ``Host`` and a ``Clock``, and returns everything it knows now. Durations are float
seconds, sizes integer bytes, ratios 0 to 1, and times seconds since the epoch, everywhere.
"""

import errno
import re
import time
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

from zcs_exporter.durations import parse_duration
from zcs_exporter.schema import After, Before, Limits, Section
from zcs_exporter.text import one_line


class Kind(StrEnum):
    """The Prometheus type of a metric family."""

    GAUGE = "gauge"
    COUNTER = "counter"
    SUMMARY = "summary"
    HISTOGRAM = "histogram"
    UNTYPED = "untyped"


class EvidenceKind(StrEnum):
    """What an evidence entry names; the privacy switches decide by it who may see it."""

    ACCOUNT = "account"
    ADDRESS = "address"
    DOMAIN = "domain"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class EvidenceItem:
    """One name behind a number: who, where or what, and how often.

    Attributes:
        kind: Decides who may see it.
        value: At most 128 printable characters, whatever was passed in.
        count: How often; None where counting makes no sense.
    """

    kind: EvidenceKind
    value: str
    count: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", one_line(self.value))


Evidence = tuple[EvidenceItem, ...]
"""Top entries first, ten at most."""


def evidence_from_json(data: Sequence[Mapping[str, Any]]) -> Evidence:
    """Return the evidence that ``dataclasses.asdict`` made plain."""
    return tuple(EvidenceItem(EvidenceKind(item["kind"]), item["value"], item["count"]) for item in data)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family that a collector may publish.

    Attributes:
        name: Full name as exposed, counters with ``_total``.
        kind: Its Prometheus type.
        help: One sentence; the unit is in the name.
        labels: Label names in order. Their values are bounded: no address, account, domain or message text.
        max_series: More series than this are dropped and counted.
        prefix_only: ``name`` is a prefix whose rest is only known at run time, as for
            ``mysql_global_status_*``; samples come from ``named(suffix)``.
        buckets: Upper bounds of a histogram, rising, without infinity; its samples come from ``Histogram``.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    max_series: int = 200
    prefix_only: bool = False
    buckets: tuple[float, ...] = ()
    declared_as: "Metric | None" = field(default=None, compare=False, repr=False)
    _known: dict[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict, init=False, compare=False, repr=False)

    def sample(self, value: float, *, suffix: str = "", evidence: Evidence = (), **labels: str) -> "Sample":
        """Return a fully labelled sample.

        Args:
            value: Current value in the base unit.
            suffix: ``_count`` or ``_sum`` for a summary.
            evidence: Who is behind the value, for alerts on it.
            labels: Exactly the declared labels.

        Raises:
            TypeError: The label names are not the declared ones.
        """
        given = tuple(labels.values())
        if tuple(labels) != self.labels:
            try:
                given = tuple(labels[name] for name in self.labels)
            except KeyError as exc:
                raise TypeError(f"{self.name}: label {exc} is missing") from exc
            if len(labels) != len(self.labels):
                raise TypeError(f"{self.name}: labels {sorted(labels)} given, {list(self.labels)} declared")
        # Most series come again each round, and cleaning their labels takes longer than all the rest.
        values = self._known.get(given)
        if values is None:
            if len(self._known) >= 2 * self.max_series:
                self._known.clear()
            values = self._known[given] = tuple(map(one_line, given))
        return _make_sample(Sample, (self, values, float(value), suffix, evidence, ""))

    def named(self, rest: str, help_text: str | None = None, labels: tuple[str, ...] | None = None) -> "Metric":
        """Return the member of a ``prefix_only`` family called ``name + rest``."""
        if not self.prefix_only:
            raise TypeError(f"{self.name} is not a prefix")
        return Metric(
            self.name + rest,
            self.kind,
            self.help if help_text is None else help_text,
            self.labels if labels is None else labels,
            self.max_series,
            declared_as=self,
        )

    @property
    def declaration(self) -> "Metric":
        """The metric as the collector declares it in ``metrics``."""
        return self.declared_as or self


class Sample(NamedTuple):
    """One value of one series, made by ``Metric.sample``.

    Attributes:
        labels: Values in the order of ``metric.labels``.
        bound: Upper bound of a histogram's bucket, as the label ``le`` has it.
    """

    metric: Metric
    labels: tuple[str, ...]
    value: float
    suffix: str = ""
    evidence: Evidence = ()
    bound: str = ""

    def label_pairs(self) -> tuple[tuple[str, str], ...]:
        """Return the names and values of all labels, a bucket's ``le`` last."""
        pairs = tuple(zip(self.metric.labels, self.labels, strict=True))
        return (*pairs, ("le", self.bound)) if self.bound else pairs

    def label_map(self) -> dict[str, str]:
        """Return the labels as a new dictionary."""
        return dict(self.label_pairs())


_make_sample: Callable[[type[Sample], tuple[Any, ...]], Sample] = tuple.__new__
"""Half the time of calling ``Sample``; for the one place where nearly all are made."""


class Histogram:
    """Counts observations into the buckets of a metric of that kind, by label values; it survives a restart."""

    def __init__(self, metric: Metric) -> None:
        """Start empty."""
        self._metric = metric
        self._bounds = metric.buckets
        self._names = (
            *(f"{bound:.17g}" if float(bound).is_integer() else repr(bound) for bound in metric.buckets),
            "+Inf",
        )
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}

    def begin(self, *labels: str) -> None:
        """Publish a series that has no observation yet."""
        if labels not in self._counts:
            if len(labels) != len(self._metric.labels):
                raise TypeError(f"{self._metric.name}: labels {labels} given, {list(self._metric.labels)} declared")
            self._counts[labels] = [0] * len(self._names)
            self._sums[labels] = 0.0

    def observe(self, value: float, *labels: str, times: int = 1) -> None:
        """Count one observation, or several alike; ``labels`` in the order of the metric's."""
        self.begin(*labels)
        self._counts[labels][bisect_left(self._bounds, value)] += times
        self._sums[labels] += value * times

    def samples(self) -> "Iterator[Sample]":
        """Yield cumulative buckets, sum and count of every series."""
        for labels, counts in self._counts.items():
            total = 0
            for name, count in zip(self._names, counts, strict=True):
                total += count
                yield Sample(self._metric, labels, float(total), "_bucket", bound=name)
            yield Sample(self._metric, labels, self._sums[labels], "_sum")
            yield Sample(self._metric, labels, float(total), "_count")

    def save(self) -> list[list[Any]]:
        """Return the state as plain JSON data."""
        return [[list(labels), counts, self._sums[labels]] for labels, counts in self._counts.items()]

    def restore(self, saved: Sequence[Sequence[Any]]) -> None:
        """Take over what ``save`` gave; series of other buckets than today's begin afresh."""
        for labels, counts, total in saved:
            if len(counts) == len(self._names):
                self._counts[tuple(labels)] = list(counts)
                self._sums[tuple(labels)] = total


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened once, such as a service that stopped.

    Attributes:
        name: An event declared in ``alerts/*.yaml``.
        at: When, in seconds since the epoch.
        labels: Bounded values that fill the placeholders of the event's summary.
    """

    name: str
    at: float
    labels: Mapping[str, str] = field(default_factory=dict)
    evidence: Evidence = ()


class Grade(StrEnum):
    """How much a record matters."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


RECORD_FIELDS: Mapping[str, EvidenceKind] = {
    **dict.fromkeys(("account", "admin", "sender", "recipient"), EvidenceKind.ACCOUNT),
    "domain": EvidenceKind.DOMAIN,
    **dict.fromkeys(("address", "oip", "claimed"), EvidenceKind.ADDRESS),
    **dict.fromkeys(
        ("protocol", "reason", "check", "count", "cid", "soapId", "messageId", "queueId", "component", "exception",
         "command", "program", "object", "until", "text"),
        EvidenceKind.TEXT,
    ),
}  # fmt: skip
"""The names that a record may use, and what each of them gives away. ``text`` is for words of our own, never a line."""


@dataclass(frozen=True, slots=True)
class Record:
    """Something in the logs worth a structured event; unlike an ``Event`` it notifies nobody.

    It is told for lines that are over, too: yesterday's attack raises no alarm, and is found here.

    Attributes:
        kind: What happened, a word of a closed set such as ``login_failed``.
        at: When, in seconds since the epoch, by the line's own time.
        fields: Who, where and what, by the names in ``RECORD_FIELDS``; printable and short, whatever was passed in.
        log: Path of the log on the host; empty where no single line tells it.
        offset: Position of the line in its file; None where it is not known.
    """

    kind: str
    at: float
    grade: Grade = Grade.INFO
    fields: Mapping[str, str] = field(default_factory=dict)
    log: str = ""
    offset: int | None = None

    def __post_init__(self) -> None:
        if strange := self.fields.keys() - RECORD_FIELDS.keys():
            raise TypeError(f"{self.kind}: not a field of a record: {', '.join(sorted(strange))}")
        object.__setattr__(self, "fields", {name: one_line(value) for name, value in self.fields.items() if value})


class Reason(StrEnum):
    """Why something could not be looked at; the ``reason`` label of the error counter."""

    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"
    PERMISSION = "permission"
    PARSE = "parse"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Part of the answer is missing or second best, and the rest is still true.

    Attributes:
        message: What is lost, naming the place.
        remedy: What an administrator can do, empty where nothing helps.
    """

    reason: Reason
    message: str
    remedy: str = ""


Finding = Sample | Event | Record | Shortfall


class CollectError(Exception):
    """The data could not be obtained or understood.

    Attributes:
        reason: For the error counter.
        remedy: What an administrator can do, empty where nothing helps.
    """

    def __init__(self, reason: Reason, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.remedy = remedy


class NotOnThisHost(Exception):  # noqa: N818 - an outcome of its own, neither success nor error
    """What the collector watches does not exist on this host; the message says what was looked for."""


GRANT = (
    "run as a member of group zimbra with CAP_DAC_READ_SEARCH "
    "(systemd: SupplementaryGroups=zimbra, AmbientCapabilities=CAP_DAC_READ_SEARCH)"
)
"""The one grant that every permission error asks for."""


MAINTENANCE_FILE = "/run/zcs-exporter/maintenance"
"""Holds the end of a maintenance that an administrator began: ISO 8601, or seconds since the epoch."""

MAINTENANCE_LIMIT = 31 * 86400.0
"""Most seconds that it may lie ahead."""


def os_error(exc: OSError, doing: str) -> CollectError:
    """Return the ``CollectError`` for a failed system call, ``doing`` saying what was being done."""
    detail = exc.strerror or str(exc) or type(exc).__name__
    if exc.errno in (errno.EACCES, errno.EPERM):
        return CollectError(Reason.PERMISSION, f"{doing}: {detail}", GRANT)
    if isinstance(exc, TimeoutError):
        return CollectError(Reason.TIMEOUT, f"{doing}: {detail}")
    return CollectError(Reason.UNAVAILABLE, f"{doing}: {detail}")


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Turn an ``OSError`` inside into a ``CollectError`` that says what was being done."""
    try:
        yield
    except OSError as exc:
        raise os_error(exc, what) from exc


@dataclass(frozen=True, slots=True)
class Clock:
    """The clocks a component may look at; tests pass their own.

    Attributes:
        wall: Seconds since the epoch.
        monotonic: Seconds that never step.
    """

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic


_LONGEST = 366 * 86400


def _duration(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a duration; write it like 15s, 10m, 24h or 7d")  # noqa: TRY004 - told as a fault
    if isinstance(value, int):
        raise ValueError(f"{value} has no unit; write it like {value}s")  # noqa: TRY004 - told as a fault
    return parse_duration(value) if isinstance(value, str) else value


def _bounded(seconds: float) -> float:
    if not 0 <= seconds <= _LONGEST:  # nor is what is no number
        raise ValueError("must be a duration of at most 366d")
    return seconds


Duration = Annotated[float, Before(_duration), After(_bounded)]
"""Seconds, written ``15s``, ``10m``, ``24h`` or ``7d``."""


class CollectorConfig(Section):
    """The two options that every collector has.

    Attributes:
        enabled: ``auto`` leaves the collector out where its subject does not exist; ``true`` makes that a failure.
        interval: Seconds between two rounds; None for the collector's own.
    """

    enabled: bool | Literal["auto"] = "auto"
    interval: Annotated[Duration, Limits(least=1)] | None = None


class Collector(Protocol):
    """Something that can be asked, now and then, for the current values of its metrics.

    Attributes:
        name: As in the configuration file and in the ``collector`` label.
        metrics: All families it may publish; the runner refuses others.
        interval: Seconds between two rounds unless configured.
        config_class: Its section of the configuration file.
    """

    name: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]
    interval: ClassVar[float]
    config_class: ClassVar[type[CollectorConfig]]

    async def collect(self) -> Sequence[Finding]:
        """Return every current sample, and the events since the last call.

        Raises:
            CollectError: The data could not be obtained or understood. The last good samples
                stay published until they are older than four intervals.
            NotOnThisHost: The subject does not exist here.
        """
        ...


@runtime_checkable
class Durable(Protocol):
    """A collector with counters or history that must survive a restart.

    Both methods are called on the event loop, never while ``collect`` is between two awaits of
    the same change: touch durable state only outside threads.
    """

    def restore(self, saved: Mapping[str, str]) -> None:
        """Take over what an earlier process saved; called once, before anything else."""
        ...

    def changes(self) -> Mapping[str, str | None]:
        """Return the rows that changed since the last call, None for a row to delete.

        They are committed in one transaction with the log positions of the same moment.
        """
        ...


@dataclass(frozen=True, slots=True)
class LogBlock:
    """Whole lines of one log, in order.

    Attributes:
        path: The log's name on the host, whichever file the lines came from.
        data: Lines, each ended by one newline. A line over 64 KiB is cut to that, NUL bytes are kept,
            the text need not be valid UTF-8.
        offset: Position of the first byte in its file.
        live: False for lines written before the daemon could have seen them: they count, but
            nobody is alarmed for what is over.
        found: What one reader found in the lines that another one would look for too, by the name of the format.
    """

    path: str
    data: bytes
    offset: int
    live: bool = True
    found: dict[str, object] = field(default_factory=dict, init=False, compare=False, repr=False)


def line_starts(data: bytes, texts: Sequence[bytes]) -> list[int]:
    """Return where the lines of a block begin in which one of the texts stands, in order and each once."""
    starts: set[int] = set()
    for text in texts:
        position = data.find(text)
        while position >= 0:
            starts.add(data.rfind(b"\n", 0, position) + 1)
            end = data.find(b"\n", position)
            position = data.find(text, end) if end >= 0 else -1
    return sorted(starts)


@dataclass(frozen=True, slots=True)
class LogSubscription:
    """A collector's wish to see the lines of one log.

    Attributes:
        path: The log's name on the host.
        feed: Called on the event loop with each block; must be quick and must not raise.
        pace: Least seconds between two looks where nothing new was; for what is written once a minute.
    """

    path: str
    feed: Callable[[LogBlock], None]
    pace: float = 0.0


class SyslogLine(NamedTuple):
    """One line of a syslog file, from a program of this host.

    Attributes:
        at: When it was written, in seconds since the epoch; None if there is no such time.
        program: Such as ``postfix/smtps/smtpd``.
        pid: Empty where the program does not say.
        message: Everything after the prefix.
    """

    at: int | None
    program: bytes
    pid: bytes
    message: bytes


@dataclass(frozen=True, slots=True)
class SyslogBlock:
    """Lines of one syslog file that a collector wished for, in order.

    Attributes:
        path: The log's name on the host.
        lines: Those of the programs wished for; a few more than the wishes name may be among them.
        live: As in ``LogBlock``.
        source: The block they stood in.
        own: What lines of this host begin with, and the newline before.
    """

    path: str
    lines: Sequence[SyslogLine]
    live: bool
    source: LogBlock
    own: re.Pattern[bytes]

    def offset(self, line: SyslogLine) -> int | None:
        """Return where one of ``lines`` begins in its file; for the few that are recorded."""
        data = b"\n" + self.source.data
        pid = b"[" + line.pid + b"]" if line.pid else b""
        text = line.program + pid + b": " + line.message + b"\n"
        places = []
        position = data.find(text)
        while position >= 0:
            start = data.rfind(b"\n", 0, position)
            if self.own.fullmatch(data, start, position):
                places.append(self.source.offset + start)
            position = data.find(text, position + 1)
        if len(places) < 2:
            return places[0] if places else None
        alike = [each for each in self.lines if each[1:] == line[1:]]
        return next((place for place, each in zip(places, alike, strict=False) if each is line), None)


@dataclass(frozen=True, slots=True)
class SyslogSubscription:
    """A collector's wish to see what programs of this host write to a syslog file.

    All wishes of all collectors are one regular expression, run once over each block, so a line that
    nobody wishes costs next to nothing. Lines of other hosts, and of text that only looks like a prefix,
    never arrive.

    Attributes:
        path: The log's name on the host.
        wishes: By regular expression for the whole name of a program, one for the start of its messages; ``b""``
            for all of them. Neither may have groups that capture.
        feed: Called on the event loop with each block that has such lines; must be quick and must not raise.
        texts: In place of wishes: words that make a line of any program wished for, wherever in its message they
            stand. Each costs a fifth of a nanosecond for a byte of the log; its lines should be rare.
    """

    path: str
    wishes: Mapping[bytes, bytes]
    feed: Callable[[SyslogBlock], None]
    texts: tuple[bytes, ...] = ()


Subscription = LogSubscription | SyslogSubscription


@runtime_checkable
class LogFed(Protocol):
    """A collector that reads logs; ``collect`` runs within a second of new lines as well as on its interval."""

    def subscriptions(self) -> Sequence[Subscription]:
        """Return the logs to follow; asked once at start."""
        ...

    def counted(self) -> Sequence[Finding]:
        """Return what the lines fed so far come to: counters, events, and the records since the last call.

        It looks at nothing on the host, so old logs can be read anywhere; ``collect`` returns this
        beside what it sees on the host.
        """
        ...


@runtime_checkable
class Recording(Protocol):
    """A collector that tells records."""

    @property
    def record_kinds(self) -> Collection[str]:
        """Every kind that it may tell, so that each is counted from 0."""
        ...


@runtime_checkable
class Gradual(Protocol):
    """A collector with rounds that tell what is known so far rather than take long."""

    @property
    def unfinished(self) -> bool:
        """Whether the last round was such a one: the next is not to wait for the interval."""
        ...


@runtime_checkable
class Judging(Protocol):
    """A collector that must tell by itself what was an attack or a fault, since it is over: in records."""

    def take_thresholds(self, thresholds: Mapping[str, Mapping[str, float]]) -> None:
        """Take the effective thresholds: by alert name, then ``warning`` or ``critical``.

        Called before any line is fed, and again whenever they change.
        """
        ...
