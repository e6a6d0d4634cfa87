"""What counters grew by lately: true of the time that it names, or not told."""

import asyncio
from dataclasses import replace

import pytest
from web_parts import reading

from zcs_exporter.contract import Histogram, Kind, Metric, Sample
from zcs_exporter.expose.trend import CAUGHT_UP, WINDOW, Trend, Trends
from zcs_exporter.snapshot import Snapshot

MAIL = Metric("zcs_mail_messages_total", Kind.COUNTER, "Mail.", ("event",))
WAITING = Metric("zcs_mail_flood_ratio_max", Kind.GAUGE, "Ratio.")
DELAY = Metric("zcs_mail_delay_seconds", Kind.HISTOGRAM, "Delay.", ("stage",), buckets=(1, 10))
LAG = Metric("zcs_exporter_log_lag_bytes", Kind.GAUGE, "Lag.", ("log",))


def snapshot(at: float, *samples: Sample, collector: str = "mailflow", lag: float = 0) -> Snapshot:
    read = replace(reading(collector, *samples), good_at=at)
    return Snapshot(1, at, {collector: read}, (LAG.sample(lag, log="zimbra.log"),))


def mail(at: float, lag: float = 0, **events: float) -> Snapshot:
    return snapshot(at, *(MAIL.sample(value, event=event) for event, value in events.items()), lag=lag)


def grown(trends: Trends, now: Snapshot) -> dict[str, float] | None:
    trend = trends.of(now).get("mailflow")
    if trend is None:
        return None
    return {labels["event"]: value for labels, value in trend.grown["zcs_mail_messages_total"]}


def test_growth_is_told_with_the_time_it_took() -> None:
    trends = Trends()
    trends.note(mail(100, received=7, bounced=1))
    trend = trends.of(mail(140, received=12, bounced=1))["mailflow"]
    assert trend.seconds == 40
    assert trend.grown == {"zcs_mail_messages_total": [({"event": "received"}, 5), ({"event": "bounced"}, 0)]}


def test_before_two_readings_there_is_no_growth_rather_than_none() -> None:
    trends = Trends()
    assert grown(trends, mail(100, received=7)) is None
    trends.note(mail(100, received=7))
    assert grown(trends, mail(100, received=7)) is None


def test_a_gauge_has_no_growth() -> None:
    trends = Trends()
    trends.note(snapshot(100, WAITING.sample(3)))
    assert trends.of(snapshot(140, WAITING.sample(9)))["mailflow"] == Trend(40)


def test_a_histogram_grows_by_its_buckets() -> None:
    trends, histogram = Trends(), Histogram(DELAY)
    histogram.observe(0.5, "queue")
    trends.note(snapshot(100, *histogram.samples()))
    histogram.observe(5, "queue")
    trend = trends.of(snapshot(140, *histogram.samples()))["mailflow"]
    buckets = {labels["le"]: value for labels, value in trend.grown["zcs_mail_delay_seconds_bucket"]}
    assert buckets == {"1": 0, "10": 1, "+Inf": 1}
    assert trend.grown["zcs_mail_delay_seconds_sum"] == [({"stage": "queue"}, 5)]


def test_it_reaches_back_five_minutes_and_no_further() -> None:
    trends = Trends()
    for second in range(0, 1800, 15):
        trends.note(mail(second, received=second))
    trend = trends.of(mail(1790, received=1790))["mailflow"]
    assert WINDOW <= trend.seconds <= WINDOW + 15
    assert trend.grown["zcs_mail_messages_total"] == [({"event": "received"}, trend.seconds)]


def test_readings_that_come_each_second_are_not_all_kept() -> None:
    trends = Trends()
    for second in range(100, 2000):
        trends.note(mail(second, received=second))
    assert len(trends._points["mailflow"]) <= WINDOW / 5 + 2


def test_a_series_that_began_meanwhile_grew_from_zero() -> None:
    trends = Trends()
    trends.note(mail(100, received=7))
    assert grown(trends, mail(140, received=7, expired=2)) == {"received": 0, "expired": 2}


@pytest.mark.parametrize("later", [mail(140, received=6), mail(140, bounced=1)], ids=["went back", "went away"])
def test_counters_that_went_back_or_away_tell_nothing_until_two_readings_agree(later: Snapshot) -> None:
    trends = Trends()
    trends.note(mail(100, received=7))
    assert grown(trends, later) is None
    trends.note(later)
    assert grown(trends, later) is None
    following = replace(later, readings={"mailflow": replace(later.readings["mailflow"], good_at=160)})
    assert grown(trends, following) == {sample.label_map()["event"]: 0 for sample in later.readings["mailflow"].samples}


def test_what_is_caught_up_with_is_no_news() -> None:
    trends = Trends()
    trends.note(mail(100, received=7))
    trends.note(mail(110, lag=CAUGHT_UP + 1, received=90_000))
    assert grown(trends, mail(120, received=190_000)) is None
    trends.note(mail(120, received=190_000))
    assert grown(trends, mail(130, received=190_001)) == {"received": 1}


def test_a_collector_without_samples_has_no_growth() -> None:
    trends = Trends()
    trends.note(mail(100, received=7))
    trends.note(snapshot(110))
    assert grown(trends, mail(120, received=9)) is None


def test_other_collectors_are_not_kept() -> None:
    trends = Trends()
    trends.note(snapshot(100, MAIL.sample(1, event="received"), collector="mysqld"))
    assert trends.of(snapshot(140, MAIL.sample(2, event="received"), collector="mysqld")) == {}


def test_nothing_is_looked_at_before_the_daemon_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    trends, asked, naps = Trends(), [], iter(range(4))

    async def nap(_seconds: float) -> None:
        if next(naps) == 3:
            raise asyncio.CancelledError

    def look() -> Snapshot:
        asked.append(True)
        return mail(100, received=1)

    answers = iter([False, False, True])
    monkeypatch.setattr("zcs_exporter.expose.trend.asyncio.sleep", nap)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(trends.watch(look, lambda: next(answers)))
    assert asked == [True]
