"""The gauges of mailboxd, out of the newest row of a table and the limits that are known."""

from collections.abc import Iterator, Mapping, Sequence

from collectors.formats.zmstat import ZmstatRow, parse_number
from collectors.mailboxd.metrics import (
    DB_LIMIT,
    DB_USED,
    LMTP_USED,
    NAMED_THREADS,
    THREAD_PREFIXES,
    THREADS_LIMIT,
    THREADS_USED,
    Gauge,
)
from zcs_exporter.contract import Sample


def gauge_samples(row: ZmstatRow, gauges: Sequence[Gauge]) -> Iterator[Sample]:
    """Yield what the columns of one row say of now."""
    for gauge in gauges:
        value = row.number(gauge.column)
        if value is not None and value >= 0 and not (gauge.zero_is_unknown and value == 0):
            yield Sample(gauge.metric, gauge.labels, value * gauge.scale)


def thread_samples(row: ZmstatRow) -> Iterator[Sample]:
    """Yield threads by name; the columns of this site's own are part of ``other``, as ``other`` itself is."""
    other = 0.0
    for column, text in row.fields.items():
        count = parse_number(text)
        if column in ("timestamp", "total") or count is None:
            continue
        if column in THREAD_PREFIXES:
            yield NAMED_THREADS.sample(count, prefix=column)
        else:
            other += count
    yield NAMED_THREADS.sample(other, prefix="other")


def limit_samples(row: ZmstatRow | None, limits: Mapping[str, int], db_limit: int | None) -> Iterator[Sample]:
    """Yield the limits, and which share of each is in use where that is known.

    Args:
        row: The newest of mailboxd.csv, None while there is none.
        limits: Threads by protocol.
        db_limit: Database connections.
    """
    for protocol, limit in limits.items():
        yield THREADS_LIMIT.sample(limit, protocol=protocol)
    if db_limit is not None:
        yield DB_LIMIT.sample(db_limit)
    if row is None:
        return
    for protocol, limit in limits.items():
        busy = _busy_threads(row, protocol)
        if busy is not None:
            yield THREADS_USED.sample(busy / limit, protocol=protocol)
    used = row.number("db_pool_size")
    if used is not None and db_limit is not None:
        yield DB_USED.sample(used / db_limit)
    share = lmtp_share(row, limits)
    if share is not None:
        yield LMTP_USED.sample(share)


def _busy_threads(row: ZmstatRow, protocol: str) -> float | None:
    threads = row.number(f"{protocol.replace('pop3', 'pop')}_threads")
    if protocol != "http":
        return threads
    idle = row.number("http_idle_threads")
    return None if threads is None or idle is None else max(0.0, threads - idle)


def lmtp_share(row: ZmstatRow | None, limits: Mapping[str, int]) -> float | None:
    """Return the share of LMTP's threads that is there; None where that is not known."""
    threads = None if row is None else row.number("lmtp_threads")
    return None if threads is None or "lmtp" not in limits else threads / limits["lmtp"]
