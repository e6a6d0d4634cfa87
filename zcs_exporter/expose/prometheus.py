"""Renders a snapshot as Prometheus text 0.0.4 and OpenMetrics 1.0.

Written here because it is twenty times faster than ``prometheus_client.generate_latest`` (see
``docs/dependencies.md``); the tests parse every page with that library and compare.
"""

import gzip
from collections.abc import Collection, Mapping, Sequence
from enum import Enum

from zcs_exporter.contract import Kind, Metric, Sample
from zcs_exporter.snapshot import Series, Snapshot, series_and_values


class Format(Enum):
    """An exposition format; the value is its exact Content-Type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


GZIP_LEVEL = 1
"""Level 6 makes the page an eighth smaller for four times the work."""


def negotiate(accept: str) -> Format:
    """Return the format for an Accept header: OpenMetrics where it is named, else text."""
    return Format.OPENMETRICS if "application/openmetrics-text" in accept else Format.TEXT


_INTEGERS = 1e15
"""Up to here a whole number is written without a fraction or exponent."""


_INFINITE: Mapping[float, str] = {float("inf"): "+Inf", float("-inf"): "-Inf"}


class Exposition:
    """Renders each snapshot at most once per format and keeps the bytes.

    A collector's part is rendered anew only when its samples are new ones, and then only their values
    unless there are other series than before.
    """

    def __init__(self) -> None:
        self._parts: dict[tuple[Format, str], tuple[tuple[Sample, ...], _Shape, bytes]] = {}
        self._pages: dict[tuple[Format, bool], bytes] = {}
        self._of: Snapshot | None = None

    def page(self, snapshot: Snapshot, form: Format, *, compressed: bool = False) -> bytes:
        """Return the whole page."""
        if snapshot is not self._of:
            self._pages, self._of = {}, snapshot
        key = (form, compressed)
        if key not in self._pages:
            plain = self._pages.get((form, False)) or self.selection(snapshot, form, snapshot.readings)
            self._pages[form, False] = plain
            if compressed:
                self._pages[key] = gzip.compress(plain, GZIP_LEVEL, mtime=0)
        return self._pages[key]

    def selection(self, snapshot: Snapshot, form: Format, collectors: Collection[str]) -> bytes:
        """Return the page with these collectors only, and the daemon's own metrics."""
        chosen = [(name, reading.samples) for name, reading in snapshot.readings.items() if name in collectors]
        parts = [self._part(form, name, samples) for name, samples in (*chosen, ("", snapshot.own))]
        if form is Format.OPENMETRICS:
            parts.append(b"# EOF\n")
        return b"".join(parts)

    def _part(self, form: Format, name: str, samples: tuple[Sample, ...]) -> bytes:
        kept = self._parts.get((form, name))
        if kept is not None and kept[0] is samples:
            return kept[2]
        series, values = series_and_values(samples)
        shape = kept[1] if kept is not None and kept[1].series == series else _Shape(series, form)
        text = shape.render(values)
        self._parts[form, name] = (samples, shape, text)
        return text


def render(samples: Sequence[Sample], form: Format) -> bytes:
    """Return samples grouped by family, in order of first appearance."""
    series, values = series_and_values(samples)
    return _Shape(series, form).render(values)


class _Shape:
    """The text about certain series without their values.

    From one round to the next a collector's series rarely change, and filling in values takes a tenth of the time
    that names and labels do.

    Attributes:
        series: Those series, in the order in which values come.
    """

    def __init__(self, series: Series, form: Format) -> None:
        self.series = series
        metrics, labels, suffixes, bounds = series
        families: dict[str, list[int]] = {}
        for place, metric in enumerate(metrics):
            families.setdefault(metric.name, []).append(place)
        lines: list[str] = []
        for places in families.values():
            lines.append(_header(metrics[places[0]], form).replace("%", "%%"))
            lines += [
                f"{_series(metrics[each], labels[each], suffixes[each], bounds[each]).replace('%', '%%')} %s\n"
                for each in places
            ]
        self._template = "".join(lines)
        order = [place for places in families.values() for place in places]
        self._order = None if order == list(range(len(order))) else order

    def render(self, values: Sequence[float]) -> bytes:
        """Return the text with these values."""
        if self._order is not None:
            values = [values[place] for place in self._order]
        numbers: list[float | str] = [
            int(value) if value.is_integer() and -_INTEGERS < value < _INTEGERS else value for value in values
        ]
        if not _INFINITE.keys().isdisjoint(values):
            numbers = [_INFINITE.get(number, number) if isinstance(number, float) else number for number in numbers]
        return (self._template % tuple(numbers)).encode("utf-8", "replace")


def _header(metric: Metric, form: Format) -> str:
    name, kind = metric.name, metric.kind.value
    text = metric.help.replace("\\", "\\\\").replace("\n", "\\n")
    if form is Format.OPENMETRICS:
        text = text.replace('"', '\\"')
        kind = "unknown" if metric.kind is Kind.UNTYPED else kind
        name = name.removesuffix("_total") if metric.kind is Kind.COUNTER else name
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def _series(metric: Metric, labels: Sequence[str], suffix: str, bound: str) -> str:
    pairs = [f'{label}="{_escape(value)}"' for label, value in zip(metric.labels, labels, strict=True)]
    if bound:
        pairs.append(f'le="{bound}"')
    return f"{metric.name}{suffix}{{{','.join(pairs)}}}" if pairs else metric.name + suffix


def _escape(value: str) -> str:
    if '"' in value or "\\" in value or "\n" in value:
        return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return value
