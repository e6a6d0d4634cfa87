"""Postfix's queues: how many messages, how many bytes, how old, and whose.

Sizes and ages equal those of ``postqueue -j`` without asking it: a queue manager that is stopped or busy
does not matter, and the cost depends on what changed and not on the length of the queue. The sender of a
message is the login it was sent with where the queue file has it, else the envelope sender: ZCS's content
filter hands a message back without the login.

Source: directories and queue files below ZCS's queue_directory, ZCS's own main.cf.
Privileges: CAP_DAC_READ_SEARCH; the queues belong to user postfix and mode 0700.
Cost: one stat per directory, 1 us per entry of a small one that changed, 10 us per change in a large one, 15 us a file.
"""

import contextlib
import json
import re
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from collectors.postfix.spool import AGE_BANDS, QUEUES, QueueState, Spool
from zcs_exporter.blocking import BlockingCall
from zcs_exporter.contract import (
    Clock,
    CollectError,
    CollectorConfig,
    Duration,
    Evidence,
    EvidenceItem,
    EvidenceKind,
    Finding,
    Kind,
    Metric,
    NotOnThisHost,
    Reason,
    Sample,
    Shortfall,
    doing,
    os_error,
)
from zcs_exporter.hostio import Host

MESSAGES = Metric(
    "zcs_postfix_queue_messages",
    Kind.GAUGE,
    "Messages in the queue that are completely written.",
    labels=("queue",),
)
BYTES = Metric(
    "zcs_postfix_queue_bytes",
    Kind.GAUGE,
    "Sum of the message sizes as postqueue shows them; absent until each new file has been read.",
    labels=("queue",),
)
OLDEST = Metric(
    "zcs_postfix_queue_oldest_age_seconds",
    Kind.GAUGE,
    "Age of the message that arrived first; absent when the queue is empty.",
    labels=("queue",),
)
AGES = Metric(
    "zcs_postfix_queue_age_messages",
    Kind.GAUGE,
    "Messages by age, to the minute; each message is in one band, which is named by its upper end.",
    labels=("queue", "age"),
)
UNREADABLE = Metric(
    "zcs_postfix_queue_unreadable_total",
    Kind.COUNTER,
    "Queue files without a usable envelope; their file size and time stand in.",
    labels=("queue",),
)
LIMIT = Metric(
    "zcs_postfix_queue_limit",
    Kind.GAUGE,
    "Most messages that the queue may hold (qmgr_message_active_limit).",
    labels=("queue",),
)
INTAKE_OLDEST = Metric(
    "zcs_postfix_intake_oldest_age_seconds",
    Kind.GAUGE,
    "Age of the oldest message that Postfix has not taken on yet, 0 when none waits.",
    labels=("queue",),
)
HELD = Metric("zcs_postfix_held_messages", Kind.GAUGE, "Messages put on hold by an administrator or a rule.")
CORRUPT = Metric("zcs_postfix_corrupt_messages", Kind.GAUGE, "Messages set aside by Postfix as damaged.")
DEFERRED = Metric("zcs_postfix_deferred_messages", Kind.GAUGE, "Messages waiting for another delivery attempt.")
GROWTH = Metric(
    "zcs_postfix_deferred_growth_messages",
    Kind.GAUGE,
    "Change of the number of deferred messages over the growth window; absent until it was watched that long.",
)
NEW = Metric(
    "zcs_postfix_deferred_new_messages",
    Kind.GAUGE,
    "Messages deferred for the first time within the flood window.",
)
NEW_SENDER = Metric(
    "zcs_postfix_deferred_new_sender_messages",
    Kind.GAUGE,
    "The most of these that one sender caused.",
)
NEW_SENDER_RATIO = Metric(
    "zcs_postfix_deferred_new_sender_ratio",
    Kind.GAUGE,
    "That sender's share of them; absent when there are none.",
)
EXPIRY = Metric(
    "zcs_postfix_deferred_expiry_seconds",
    Kind.GAUGE,
    "Time until the oldest deferred message reaches maximal_queue_lifetime and bounces; absent when none is deferred.",
)

_ALONE = {"hold": HELD, "corrupt": CORRUPT, "deferred": DEFERRED}
_DEFAULT_ACTIVE_LIMIT = 20_000
_DEFAULT_LIFETIME = 5 * 86400.0
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_MAX_SENDERS_A_SLICE = 500

# queue_directory = /opt/zimbra/data/postfix/spool
_SETTING = re.compile(r"([A-Za-z0-9_.-]+)\s*=\s*(.*)", re.DOTALL)
# $queue_directory, ${queue_directory}, $(queue_directory)
_REFERENCE = re.compile(r"\$(?:(\w+)|\{(\w+)\}|\((\w+)\))")


class PostfixConfig(CollectorConfig):
    """Section ``postfix`` of the configuration.

    Attributes:
        growth_window: How long the deferred queue has to grow to be called growing.
        flood_window: Within which one sender's new deferred messages are added up.
    """

    growth_window: Duration = 1800.0
    flood_window: Duration = 900.0


def parse_main_cf(text: str) -> dict[str, str]:
    """Return the settings of a ``main.cf``; the last of several counts, as in Postfix.

    Lines that begin with a blank continue the one before, comments and empty lines in between notwithstanding.
    References to other settings of the file are expanded; others are left as they stand.

    Raises:
        CollectError: A line is neither a setting nor a continuation.
    """
    logical: list[tuple[int, str]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0].isspace() and logical:
            first, begun = logical[-1]
            logical[-1] = (first, f"{begun} {line.strip()}")
        else:
            logical.append((number, line.strip()))
    settings = {}
    for number, line in logical:
        match = _SETTING.fullmatch(line)
        if match is None:
            raise CollectError(Reason.PARSE, f"main.cf, line {number}: not of the form name = value")
        settings[match[1]] = match[2]
    return {name: _expanded(value, settings) for name, value in settings.items()}


def _expanded(value: str, settings: Mapping[str, str]) -> str:
    for _ in range(8):
        # A setting that refers to itself, or to many of its kind, stays as it stands.
        if "$" not in value or len(value) > 4096:
            break
        value = _REFERENCE.sub(lambda match: settings.get(match[1] or match[2] or match[3], match[0]), value)
    return value


def parse_postfix_time(text: str) -> float | None:
    """Return the seconds in a time such as ``5d`` or ``36h``; days without a unit; None if it is none of these."""
    match = re.fullmatch(r"(\d{1,9})([smhdw]?)", text)
    return float(match[1]) * _UNITS[match[2] or "d"] if match else None


@dataclass(frozen=True, slots=True)
class Settings:
    """What ``main.cf`` says about the queues.

    Attributes:
        spool: Its queue_directory; None where it does not set one.
        active_limit: None where it is set to something that is not a number.
        lifetime: Seconds until an undeliverable message bounces; None likewise.
    """

    spool: str | None = None
    active_limit: int | None = _DEFAULT_ACTIVE_LIMIT
    lifetime: float | None = _DEFAULT_LIFETIME


def queue_settings(main_cf: Mapping[str, str]) -> Settings:
    """Return the settings of the queues, with Postfix's defaults behind them."""
    spool = main_cf.get("queue_directory", "")
    limit = main_cf.get("qmgr_message_active_limit", str(_DEFAULT_ACTIVE_LIMIT))
    lifetime = main_cf.get("maximal_queue_lifetime", "5d")
    return Settings(
        spool=spool.rstrip("/") or None if spool.startswith("/") and "$" not in spool else None,
        active_limit=int(limit) if re.fullmatch(r"[0-9]{1,9}", limit) else None,
        lifetime=parse_postfix_time(lifetime),
    )


@dataclass(frozen=True, slots=True)
class _Look:
    settings: Settings
    spool: Spool
    queues: Mapping[str, QueueState]
    shortfalls: tuple[Shortfall, ...]


@dataclass(frozen=True, slots=True)
class _Told:
    """What is told of a queue as long as its state is the same, whatever the time."""

    state: QueueState
    evidence: Evidence
    samples: tuple[Sample, ...]


class PostfixCollector:
    """Reads the queues of ZCS's own Postfix."""

    name: ClassVar[str] = "postfix"
    interval: ClassVar[float] = 15.0
    config_class: ClassVar[type[CollectorConfig]] = PostfixConfig
    metrics: ClassVar[tuple[Metric, ...]] = (
        MESSAGES,
        BYTES,
        OLDEST,
        AGES,
        UNREADABLE,
        LIMIT,
        INTAKE_OLDEST,
        HELD,
        CORRUPT,
        DEFERRED,
        GROWTH,
        NEW,
        NEW_SENDER,
        NEW_SENDER_RATIO,
        EXPIRY,
    )

    def __init__(self, config: PostfixConfig, host: Host, clock: Clock) -> None:
        self._config = config
        self._host = host
        self._clock = clock
        self._call = BlockingCall("reading the Postfix spool")
        self._spool: Spool | None = None
        self._told: dict[str, _Told] = {}
        self._main_cf: tuple[tuple[str | int, ...], Settings] | None = None
        self.unfinished = False
        """Whether the last round ended before each file was read that could be."""
        self._growth = _Growth(config.growth_window)
        self._flood = _Flood(config.flood_window)

    async def collect(self) -> Sequence[Finding]:
        """Return the state of every queue."""
        self.unfinished = False  # whatever keeps this round from telling may keep the next
        look = await self._call(self._look)
        self.unfinished = look.spool.unfinished
        now = self._clock.wall()
        deferred = look.queues["deferred"]
        growth = self._growth.note(now, deferred.messages)
        self._flood.note(now, look.spool.take_newly_deferred())
        findings: list[Finding] = [*look.shortfalls]
        for queue in sorted(look.queues):
            told = self._told.get(queue)
            if told is None or told.state != look.queues[queue]:
                told = self._told[queue] = _told(queue, look.queues[queue])
            findings += told.samples
            findings += _age_samples(queue, told, now)
        evidence = self._told["deferred"].evidence
        if growth is not None:
            findings.append(GROWTH.sample(growth, evidence=evidence))
        findings += self._flood.samples()
        if look.settings.active_limit is not None:
            findings.append(LIMIT.sample(look.settings.active_limit, queue="active"))
        if look.settings.lifetime is not None and deferred.oldest is not None and not deferred.unread:
            left = look.settings.lifetime - max(0.0, now - deferred.oldest)
            findings.append(EXPIRY.sample(max(0.0, left), evidence=evidence))
        return findings

    def restore(self, saved: Mapping[str, str]) -> None:
        """Take over the history of the deferred queue; what cannot be read is forgotten."""
        for key, window in (("growth", self._growth), ("flood", self._flood)):
            with contextlib.suppress(ArithmeticError, AttributeError, RecursionError, TypeError, ValueError):
                window.restore(saved.get(key, "[]"))

    def changes(self) -> Mapping[str, str | None]:
        """Return the history of the deferred queue if it changed."""
        rows: dict[str, str | None] = {}
        for key, window in (("growth", self._growth), ("flood", self._flood)):
            if window.changed:
                window.changed = False
                rows[key] = window.saved()
        return rows

    def _look(self) -> _Look:
        settings, shortfalls = self._settings()
        path = settings.spool or self._host.zcs.path("data/postfix/spool")
        if not any(self._host.exists(f"{path}/{queue}") for queue in QUEUES):
            self._spool = None
            raise NotOnThisHost(f"no Postfix queues in {path}")
        if self._spool is None or self._spool.path != path:
            self._spool = Spool(self._host, path, self._clock, recent=self._config.flood_window)
        queues = self._spool.look()
        shortfalls += _unread(path, queues)
        if self._spool.trouble is not None:
            trouble = self._spool.trouble
            shortfalls.append(Shortfall(trouble.reason, str(trouble), trouble.remedy))
        if self._spool.crowded:
            message = "too many different senders or domains in the queues: those seen last are not named"
            shortfalls.append(Shortfall(Reason.UNAVAILABLE, message))
        return _Look(settings, self._spool, queues, tuple(shortfalls))

    def _settings(self) -> tuple[Settings, list[Shortfall]]:
        for path in map(self._host.zcs.path, ("common/conf/main.cf", "postfix/conf/main.cf")):
            try:
                status = self._host.stat(path)
                identity = (path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
                if self._main_cf is None or self._main_cf[0] != identity:
                    with doing(f"reading {path}"):
                        self._main_cf = (identity, queue_settings(parse_main_cf(self._host.read_text(path))))
                return self._main_cf[1], []
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (OSError, CollectError) as exc:
                error = os_error(exc, f"reading {path}") if isinstance(exc, OSError) else exc
                return Settings(None, None, None), [Shortfall(error.reason, str(error), error.remedy)]
        return Settings(), []


class _Growth:
    """The number of deferred messages a window ago."""

    def __init__(self, window: float) -> None:
        self._window = window
        self._history: deque[tuple[float, int]] = deque()
        self.changed = False

    def note(self, now: float, messages: int) -> float | None:
        """Add a reading and return the change over the window; None while there is no reading that old."""
        while self._history and self._history[-1][0] > now:
            self._history.pop()  # the clock was set back
        if not self._history or now - self._history[-1][0] >= self._window / 30:
            self._history.append((now, messages))
            self.changed = True
        while len(self._history) > 1 and self._history[1][0] <= now - self._window:
            self._history.popleft()
        at, before = self._history[0]
        # A reading from before a long pause says nothing about the window.
        if not self._window <= now - at <= self._window * 1.5:
            return None
        return float(messages - before)

    def saved(self) -> str:
        return json.dumps(list(self._history))

    def restore(self, text: str) -> None:
        self._history = deque((float(at), int(messages)) for at, messages in json.loads(text))


class _Flood:
    """Who caused the messages deferred within a window; time is kept in fifteenths of it."""

    def __init__(self, window: float) -> None:
        self._window = window
        self._slices: deque[tuple[float, Counter[str]]] = deque()
        self.changed = False

    def note(self, now: float, senders: Counter[str]) -> None:
        while self._slices and not now - self._window < self._slices[0][0] <= now:
            self._slices.popleft()
            self.changed = True
        if not senders:
            return
        if not self._slices or now - self._slices[-1][0] >= self._window / 15:
            self._slices.append((now, Counter()))
        kept = self._slices[-1][1]
        for sender, count in senders.most_common():
            known = sender in kept or len(kept) < _MAX_SENDERS_A_SLICE
            kept[sender if known else ""] += count
        self.changed = True

    def samples(self) -> list[Finding]:
        total: Counter[str] = Counter()
        for _, senders in self._slices:
            total.update(senders)
        messages = total.total()
        del total[""]
        top = total.most_common(10)
        evidence = tuple(EvidenceItem(EvidenceKind.ACCOUNT, sender, count) for sender, count in top)
        largest = top[0][1] if top else 0
        findings: list[Finding] = [
            NEW.sample(messages, evidence=evidence),
            NEW_SENDER.sample(largest, evidence=evidence),
        ]
        if messages:
            findings.append(NEW_SENDER_RATIO.sample(largest / messages, evidence=evidence))
        return findings

    def saved(self) -> str:
        return json.dumps([[at, dict(senders)] for at, senders in self._slices])

    def restore(self, text: str) -> None:
        self._slices = deque(
            (float(at), Counter({sender: int(count) for sender, count in senders.items()}))
            for at, senders in json.loads(text)
        )


def _told(queue: str, state: QueueState) -> _Told:
    evidence = _evidence(state)
    samples = [
        MESSAGES.sample(state.messages, queue=queue, evidence=evidence),
        UNREADABLE.sample(state.unreadable, queue=queue),
    ]
    if queue in _ALONE:
        samples.append(_ALONE[queue].sample(state.messages, evidence=evidence))
    if not state.unread:
        samples.append(BYTES.sample(state.bytes, queue=queue))
        bands = [*(label for label, _ in AGE_BANDS), "older"]
        samples += [AGES.sample(count, queue=queue, age=band) for band, count in zip(bands, state.ages, strict=True)]
    return _Told(state, evidence, tuple(samples))


def _age_samples(queue: str, told: _Told, now: float) -> list[Sample]:
    state = told.state
    if state.unread:
        return []
    samples = []
    # A clock that was set back must not show a negative age.
    age = None if state.oldest is None else max(0.0, now - state.oldest)
    if age is not None:
        samples.append(OLDEST.sample(age, queue=queue, evidence=told.evidence))
    if queue in ("incoming", "maildrop"):
        samples.append(INTAKE_OLDEST.sample(age or 0.0, queue=queue, evidence=told.evidence))
    return samples


def _evidence(state: QueueState) -> Evidence:
    """Return the leading senders, their domains and the destinations, ten in all."""
    top = state.top
    return (
        *(EvidenceItem(EvidenceKind.ACCOUNT, sender, count) for sender, count in top.senders[:4]),
        *(EvidenceItem(EvidenceKind.DOMAIN, f"to {domain}", count) for domain, count in top.destination_domains[:3]),
        *(EvidenceItem(EvidenceKind.DOMAIN, f"from {domain}", count) for domain, count in top.sender_domains[:3]),
    )


def _unread(path: str, queues: Mapping[str, QueueState]) -> list[Shortfall]:
    return [
        Shortfall(
            Reason.UNAVAILABLE,
            f"{path}/{queue}: {state.unread} of {state.messages} files are still to be read; "
            "sizes and ages follow, the count is complete",
        )
        for queue, state in queues.items()
        if state.unread
    ]
