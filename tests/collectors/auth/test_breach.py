import asyncio
import time
from dataclasses import dataclass, field
from datetime import datetime

import pytest
from fakes import FakeHost, ManualClock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collectors.auth.breach import Numbers, Success, Told, least, numbers_now
from collectors.auth.collector import AuthCollector, AuthConfig
from collectors.auth.failures import Failures
from collectors.auth.habits import Habits
from collectors.auth.past_logins import PastLogins
from collectors.auth.twins import Twins
from zcs_exporter.contract import Event, Finding, Grade, LogBlock, LogSubscription, Record

AUDIT = "/opt/zimbra/log/audit.log"
HTTPS = "qtp1-5:https://mail.example.com:443/service/soap/AuthRequest"
THRESHOLDS = {
    "ip_account": 10.0,
    "account": 15.0,
    "ip": 20.0,
    "spray": 10.0,
    "distributed": 10.0,
    "slow_spray": 30.0,
    "slow_distributed": 20.0,
}
ALERTS = {
    "ZcsAuthIpAccountFailures": 10.0,
    "ZcsAuthAccountFailures": 15.0,
    "ZcsAuthIpFailures": 20.0,
    "ZcsAuthSpraying": 10.0,
    "ZcsAuthDistributed": 10.0,
    "ZcsAuthSlowSpraying": 30.0,
    "ZcsAuthSlowDistributed": 20.0,
}


@dataclass
class Daemon:
    """Feeds a collector, commits its rows and kills it."""

    host: FakeHost
    manual: ManualClock
    config: AuthConfig = field(default_factory=AuthConfig)
    rows: dict[str, str] = field(default_factory=dict)
    offset: int = 0

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.collector = AuthCollector(self.config, self.host, self.manual.clock)
        self.collector.restore(self.rows)
        self.collector.take_thresholds({alert: {"warning": value} for alert, value in ALERTS.items()})
        wishes = [wish for wish in self.collector.subscriptions() if isinstance(wish, LogSubscription)]
        self.feeds = {wish.path: wish.feed for wish in wishes}

    def feed(self, *lines: str, live: bool = True, log: str = AUDIT) -> None:
        data = "".join(line + "\n" for line in lines).encode()
        self.feeds[log](LogBlock(log, data, self.offset, live))
        self.offset += len(data)

    def commit(self) -> None:
        for key, row in self.collector.changes().items():
            if row is None:
                del self.rows[key]
            else:
                self.rows[key] = row

    def told(self) -> tuple[list[Record], list[Event]]:
        found: list[Finding] = list(asyncio.run(self.collector.collect()))
        records = [part for part in found if isinstance(part, Record) and part.kind == "login_after_attack"]
        events = [part for part in found if isinstance(part, Event) and part.name == "ZcsAuthLoginAfterAttack"]
        return records, events


@pytest.fixture
def daemon(host: FakeHost, manual: ManualClock) -> Daemon:
    for path in (AUDIT, "/opt/zimbra/log/mailbox.log"):
        host.write(path, "")
    host.write("/opt/zimbra/common/.keep", "")
    host.write("/proc/net/fib_trie", "     |-- 10.0.0.10\n        /32 host LOCAL\n")
    host.services("mailbox")
    return Daemon(host, manual)


def line(at: float, message: str, context: str, level: str = "WARN ", thread: str = HTTPS) -> str:
    stamp = datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S")
    return f"{stamp},901 {level} [{thread}] [{context}] security - {message}"


def failed(at: float, account: str = "ann@example.com", context: str = "oip=203.0.113.9;") -> str:
    error = f"error=authentication failed for [{account}], invalid password;"
    return line(at, f"cmd=Auth; account={account}; protocol=soap; {error}", context)


def success(
    at: float, account: str = "ann@example.com", context: str = "oip=203.0.113.9;ua=x;soapId=77;", **more: str
) -> str:
    return line(at, f"cmd=Auth; account={account}; protocol=soap;", context, "INFO ", **more)


def test_a_login_after_ten_failures_from_its_address_is_told(daemon: Daemon, manual: ManualClock) -> None:
    now = manual.now
    before = [failed(now) for _ in range(10)]
    daemon.feed(*before, success(now))
    records, events = daemon.told()
    [record] = records
    assert (record.at, record.grade, record.log) == (int(now), Grade.CRITICAL, AUDIT)
    assert record.offset == sum(len(text) + 1 for text in before)
    assert dict(record.fields) == {
        "account": "ann@example.com",
        "address": "203.0.113.9",
        "protocol": "soap",
        "check": "ip_account",
        "count": "10",
        "soapId": "77",
        "oip": "203.0.113.9",
    }
    [event] = events
    assert dict(event.labels) == {"logins": "1"}
    assert [item.value for item in event.evidence] == ["ann@example.com", "203.0.113.9"]
    assert daemon.told() == ([], [])


def test_nine_failures_are_no_attack(daemon: Daemon, manual: ManualClock) -> None:
    daemon.feed(*(failed(manual.now) for _ in range(9)), success(manual.now))
    assert daemon.told() == ([], [])


@pytest.mark.parametrize(
    ("accounts", "check"),
    [
        ([f"u{n % 2}@example.com" for n in range(20)], "ip"),
        ([f"u{n}@example.com" for n in range(10)], "spray"),
    ],
)
def test_whoever_logs_in_from_an_attacking_address_is_told(
    daemon: Daemon, manual: ManualClock, accounts: list[str], check: str
) -> None:
    # The first two have nothing of their own to be told by.
    daemon.feed(*(failed(manual.now, account) for account in accounts), success(manual.now, "zoe@example.com"))
    [record], _ = daemon.told()
    assert (record.fields["account"], record.fields["check"]) == ("zoe@example.com", check)


def test_a_slow_spray_that_succeeds_is_told(daemon: Daemon, manual: ManualClock) -> None:
    for number in range(30):
        daemon.feed(failed(manual.now, f"u{number}@example.com"))
        manual.advance(61)
    daemon.feed(success(manual.now, "zoe@example.com"))
    [record], _ = daemon.told()
    assert (record.fields["check"], record.fields["count"]) == ("slow_spray", "30")


def test_of_an_attacked_account_only_an_address_that_failed_with_it_is_told(
    daemon: Daemon, manual: ManualClock
) -> None:
    daemon.feed(*(failed(manual.now, context=f"oip=198.51.100.{n};") for n in range(10)))
    daemon.feed(success(manual.now, context="oip=203.0.113.77;"))
    assert daemon.told() == ([], [])
    daemon.feed(success(manual.now, context="oip=198.51.100.3;"))
    [record], _ = daemon.told()
    assert (record.fields["check"], record.fields["address"]) == ("distributed", "198.51.100.3")


def test_a_login_before_the_failures_is_none_after_them(daemon: Daemon, manual: ManualClock) -> None:
    now = manual.now
    daemon.feed(success(now - 2), *(failed(now - 1) for _ in range(30)))
    assert daemon.told() == ([], [])
    manual.advance(60)
    daemon.feed(success(manual.now, "zoe@example.com"))
    assert daemon.told() == ([], [])


def test_each_account_is_told_once_an_hour_from_one_address(daemon: Daemon, manual: ManualClock) -> None:
    told = []
    for _ in range(4):
        daemon.feed(*(failed(manual.now) for _ in range(10)), success(manual.now))
        told.append([len(found) for found in daemon.told()])
        daemon.commit()
        daemon.start()
        manual.advance(1200)
    assert told == [[1, 1], [0, 0], [0, 0], [1, 0]]


def test_what_waits_to_be_told_survives_a_restart(daemon: Daemon, manual: ManualClock) -> None:
    daemon.feed(*(failed(manual.now) for _ in range(10)), success(manual.now))
    daemon.commit()
    daemon.start()
    _, [event] = daemon.told()
    assert [item.value for item in event.evidence] == ["ann@example.com", "203.0.113.9"]


def test_of_two_lines_alike_the_right_one_is_told(daemon: Daemon, manual: ManualClock) -> None:
    now = manual.now
    lines = [success(now - 30), *(failed(now) for _ in range(10)), success(now)]
    daemon.feed(*lines)
    [record], _ = daemon.told()
    assert record.offset == sum(len(text) + 1 for text in lines[:-1])


def test_who_logged_in_from_there_before_raises_no_alarm(daemon: Daemon, manual: ManualClock) -> None:
    """A device with an old password beside one with the new one, or an office behind one address."""
    daemon.feed(success(manual.now))
    daemon.commit()
    manual.advance(86_400)
    daemon.start()
    daemon.feed(*(failed(manual.now) for _ in range(10)), success(manual.now))
    [record], events = daemon.told()
    assert record.grade is Grade.WARNING
    assert record.fields["text"] == "it logged in from there before"
    assert events == []


def test_a_proxy_that_is_not_trusted_makes_no_login_suspicious(daemon: Daemon, manual: ManualClock) -> None:
    proxy = "ip=10.9.9.9;"
    lines = [failed(manual.now, f"u{n % 20}@example.com", proxy) for n in range(60)]
    daemon.feed(*lines, success(manual.now, context=proxy))
    assert daemon.told() == ([], [])
    past = [text.replace(text[:19], "2024-01-02 03:04:05") for text in (*lines, success(manual.now, context=proxy))]
    daemon.feed(*past, live=False)
    manual.advance(3660)
    assert daemon.told() == ([], [])


@pytest.mark.parametrize("context", ["", "ip=127.0.0.1;", "ip=10.0.0.10;"])
def test_logins_of_this_host_itself_are_never_told(daemon: Daemon, manual: ManualClock, context: str) -> None:
    daemon.feed(*(failed(manual.now, context=context) for _ in range(30)), success(manual.now, context=context))
    assert daemon.told() == ([], [])


def test_saslauthds_question_is_no_login_of_its_own(daemon: Daemon, manual: ManualClock) -> None:
    sasl = "qtp1:https:https://mail.example.com:7073/service/admin/soap/"
    daemon.feed(*(failed(manual.now) for _ in range(30)), success(manual.now, thread=sasl))
    assert daemon.told() == ([], [])


def test_an_administrator_and_a_preauthenticated_login_are_told_too(daemon: Daemon, manual: ManualClock) -> None:
    admin = "qtp1:https://mail.example.com:7071/service/admin/soap/"
    now = manual.now
    daemon.feed(*(failed(now) for _ in range(20)), success(now, "boss@example.com", thread=admin))
    daemon.feed(line(now, "cmd=PreAuth; account=Zoe@example.com; admin=false;", "oip=203.0.113.9;", "INFO "))
    records, _ = daemon.told()
    assert [(record.fields["account"], record.fields["protocol"]) for record in records] == [
        ("boss@example.com", "admin"),
        ("zoe@example.com", "other"),
    ]


def test_a_user_agent_cannot_name_another_address(daemon: Daemon, manual: ManualClock) -> None:
    daemon.feed(*(failed(manual.now) for _ in range(20)))
    daemon.feed(success(manual.now, context="ip=10.0.0.10;oip=198.51.100.7;ua=x;;oip=203.0.113.9;;;"))
    daemon.feed(success(manual.now, context="ua=x;;oip=203.0.113.9;;;ip=198.51.100.7;"))
    assert daemon.told() == ([], [])
    daemon.feed(success(manual.now, context="ua=x;;oip=198.51.100.7;;;oip=203.0.113.9;"))
    assert len(daemon.told()[0]) == 1


def test_many_are_counted_and_not_told_one_by_one(daemon: Daemon, manual: ManualClock) -> None:
    daemon.feed(*(failed(manual.now) for _ in range(20)))
    daemon.feed(*(success(manual.now, f"u{n}@example.com") for n in range(300)))
    records, [event] = daemon.told()
    assert len(records) == 13
    assert records[-1].fields["count"] == "288"
    assert event.labels["logins"] == "300"
    assert len(event.evidence) == 10


def test_one_of_the_past_is_told_and_alarms_nobody(daemon: Daemon, manual: ManualClock) -> None:
    start = manual.now - 86_400
    lines = [failed(start + second) for second in range(20)]
    daemon.feed(*lines, live=False)
    daemon.feed(success(start + 25), success(start + 90, "zoe@example.com"), live=False)
    daemon.feed(
        *(failed(start + 1000 + second, "bob@example.com", "oip=198.51.100.7;") for second in range(9)), live=False
    )
    records, events = daemon.told()
    [record] = records
    assert (record.at, record.grade, record.fields["check"]) == (int(start + 25), Grade.CRITICAL, "ip_account")
    assert record.offset == sum(len(text) + 1 for text in lines)
    assert events == []
    # The last of it is judged when living lines come.
    daemon.feed(failed(start + 1009, "bob@example.com", "oip=198.51.100.7;"), live=False)
    daemon.feed(success(start + 1010, "bob@example.com", "oip=198.51.100.7;"), live=False)
    manual.advance(5)
    daemon.feed(success(manual.now, "zoe@example.com"))
    [record], events = daemon.told()
    assert (record.fields["account"], events) == ("bob@example.com", [])


def test_without_thresholds_there_is_no_attack(host: FakeHost, daemon: Daemon, manual: ManualClock) -> None:
    daemon.collector.take_thresholds({})
    daemon.feed(*(failed(manual.now) for _ in range(30)), success(manual.now))
    daemon.feed(*(failed(manual.now - 7200) for _ in range(30)), success(manual.now - 7200), live=False)
    manual.advance(3660)
    assert daemon.told() == ([], [])


# Logins of the past against looking at every failure again.


def reference(failures: list[tuple[int, str, str]], at: int, address: str, account: str, window: int) -> Numbers:
    inside = [(ip, name) for second, ip, name in failures if 0 <= at - second < window]
    return Numbers(
        inside.count((address, account)),
        sum(ip == address for ip, _ in inside),
        sum(name == account for _, name in inside),
        len({name for ip, name in inside if ip == address and name}),
        len({ip for ip, name in inside if name == account and ip}),
    )


ADDRESSES = st.sampled_from(["", "192.0.2.1", "192.0.2.2", "192.0.2.3"])
ACCOUNTS = st.sampled_from(["", "ann", "bob", "eve"])
STEPS = st.lists(st.tuples(st.integers(0, 45), st.booleans(), ADDRESSES, ACCOUNTS, st.integers(1, 9)), max_size=40)


@given(STEPS, st.integers(0, 30))
@settings(max_examples=500, deadline=None)
def test_past_logins_equal_looking_at_every_failure_again(
    steps: list[tuple[int, bool, str, str, int]], disorder: int
) -> None:
    thresholds = {"ip_account": 4.0, "ip": 8.0, "account": 6.0, "spray": 3.0, "distributed": 3.0}
    past = PastLogins(60, least(thresholds))
    failures: list[tuple[int, str, str]] = []
    logins: list[tuple[int, str, str]] = []
    surely: set[tuple[int, str, str]] = set()
    found: set[tuple[int, str, str]] = set()
    now = 1_700_000_000

    def judge(*, all_read: bool = False) -> None:
        for login, numbers, total in past.judged(all_read=all_read):
            assert total >= numbers.address
            if numbers.too_many(thresholds) is not None:
                found.add((login.at, *login.pair))

    def attacked(login: tuple[int, str, str]) -> bool:
        return reference(failures, *login, 60).too_many(thresholds) is not None

    for step, is_login, address, account, times in steps:
        now += step
        if is_login and address and account:
            logins.append((now, address, account))
            if attacked(logins[-1]):
                surely.add(logins[-1])
            if not past.quiet and past.wants(address, account):
                past.login(Success(now, address, account, "soap", b"", b"", AUDIT))
        else:
            second = now - disorder * (step % 2)
            failures += [(second, address, account)] * times
            past.add(second, [(address, account)] * times)
        judge()
    judge(all_read=True)
    # Failures that stand behind a login in the log, in its second or before it, may count or not.
    assert surely <= found <= set(filter(attacked, logins))


@given(st.lists(st.tuples(st.integers(0, 20), ADDRESSES, ACCOUNTS, st.integers(1, 3)), max_size=30))
@settings(max_examples=300, deadline=None)
def test_numbers_of_now_equal_looking_at_every_failure_again(steps: list[tuple[int, str, str, int]]) -> None:
    failures = Failures(60)
    seen: list[tuple[int, str, str]] = []
    now = 1_700_000_000
    for step, address, account, times in steps:
        now += step
        failures.expire(now)
        failures.add(now, now, {(address, account): times})
        seen += [(now, address, account)] * times
        for pair in ((ip, name) for ip in ("192.0.2.1", "192.0.2.2") for name in ("ann", "bob")):
            assert numbers_now(failures, *pair)[:5] == reference(seen, now, *pair, 60)[:5]


def test_a_failure_counts_for_exactly_the_length_of_the_window() -> None:
    past = PastLogins(60, 1)
    past.add(1000, [("192.0.2.1", "ann")])
    past.add(1001, [("192.0.2.1", "ann")])
    past.login(Success(1060, "192.0.2.1", "ann", "soap", b"", b"", AUDIT))
    assert list(past.judged()) == []
    past.add(1060 + 61, [])
    [(_, numbers, _)] = past.judged()
    assert numbers.pair == 1


def test_a_clock_set_back_begins_anew() -> None:
    past = PastLogins(60, 3)
    past.add(10_000, [("192.0.2.1", "ann")] * 5)
    list(past.judged(all_read=True))
    past.add(5000, [("192.0.2.1", "ann")] * 2)
    past.add(5001, [("192.0.2.1", "ann")] * 2)
    past.login(Success(5001, "192.0.2.1", "ann", "soap", b"", b"", AUDIT))
    past.add(5100, [])
    [(_, numbers, total)] = past.judged()
    assert (numbers.pair, total) == (4, 4)


def test_what_failed_and_is_over_leaves_it_quiet() -> None:
    past = PastLogins(60, 3)
    assert past.quiet
    past.add(1000, [("192.0.2.2", "bob")] * 3)
    assert past.wants("192.0.2.2", "eve")
    assert not past.quiet
    for second in (2000, 3000):
        past.add(second, [("192.0.2.3", "eve")])
        list(past.judged())
    assert not past.wants("192.0.2.2", "eve")
    assert past.quiet


def test_who_logged_in_before_the_latest_is_remembered_across_a_restart() -> None:
    habits, rows = Habits(8), dict[str, str]()
    for number in range(20):
        habits.learn(("192.0.2.1", str(number)))
        for key, row in habits.changes().items():
            if row is None:
                del rows[key]
            else:
                rows[key] = row
    again = Habits(8)
    again.restore(rows)
    for each in (habits, again):
        assert [number for number in range(20) if each.knows(("192.0.2.1", str(number)))] == [*range(8, 20)]
    assert len(rows) == 2


@given(st.lists(st.tuples(st.sampled_from(["learn", "commit", "kill"]), st.integers(0, 30)), max_size=60))
@settings(max_examples=300, deadline=None)
def test_habits_survive_and_forget_the_oldest_half(steps: list[tuple[str, int]]) -> None:
    habits, rows = Habits(8), dict[str, str]()
    learned: list[int] = []
    saved: list[int] = []
    for what, number in steps:
        if what == "learn":
            habits.learn(("192.0.2.1", str(number)))
            learned.append(number)
        elif what == "commit":
            for key, row in habits.changes().items():
                if row is None:
                    rows.pop(key, None)
                else:
                    rows[key] = row
            saved = list(learned)
        else:
            habits = Habits(8)
            habits.restore(rows)
            learned = list(saved)
        last = list(dict.fromkeys(reversed(learned)))
        assert all(habits.knows(("192.0.2.1", str(known))) for known in last[:8])
        assert sum(habits.knows(("192.0.2.1", str(any_))) for any_ in range(31)) <= 16
        assert not habits.knows(("192.0.2.2", "1"))


def test_who_was_told_is_kept_within_bounds() -> None:
    told = Told()
    for number in range(5000):
        told.add(("192.0.2.1", str(number)), 1000)
    assert len(told.save()) == 512
    assert not told.lately(("192.0.2.1", "0"), 1000)
    again = Told()
    again.restore(told.save())
    assert again.lately(("192.0.2.1", "4999"), 1000 + 3599)
    assert not again.lately(("192.0.2.1", "4999"), 1000 + 3600)


def test_in_a_repeated_hour_a_login_has_the_time_of_the_lines_before_it(
    daemon: Daemon, manual: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        first = int(datetime(2024, 10, 27, 2, 30, 5).timestamp())
        manual.now = first + 86_400
        before = [success(first - 600 * n, "zoe@example.com", "oip=192.0.2.9;") for n in range(12, 0, -1)]
        after = [success(first + 600 * n, "zoe@example.com", "oip=192.0.2.9;") for n in range(1, 9)]
        attack = [*(failed(first - 1) for _ in range(10)), success(first)]
        daemon.feed(*before, *attack, *after, live=False)
        manual.advance(3660)
        [record], _ = daemon.told()
        assert (record.at, record.fields["count"]) == (first, "10")
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_clock_set_back_does_not_keep_an_attack(daemon: Daemon, manual: ManualClock) -> None:
    daemon.feed(*(failed(manual.now) for _ in range(30)))
    manual.now -= 3600
    daemon.feed(success(manual.now))
    assert daemon.told() == ([], [])
    daemon.feed(*(failed(manual.now) for _ in range(10)), success(manual.now))
    assert len(daemon.told()[0]) == 1


def test_a_log_whose_clock_is_ahead_tells_what_is_now(daemon: Daemon, manual: ManualClock) -> None:
    ahead = manual.now + 7200
    daemon.feed(*(failed(ahead) for _ in range(10)), success(ahead))
    daemon.feed(*(failed(ahead, "bob@example.com") for _ in range(10)), success(ahead, "bob@example.com"), live=False)
    manual.advance(3660)
    accounts = [record.fields["account"] for record in daemon.told()[0]]
    assert accounts == ["ann@example.com", "bob@example.com"]


@given(st.lists(st.sampled_from(["fail", "login", "other", "commit", "kill"]), max_size=60), st.booleans())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_cut_and_killed_each_guessed_password_is_told(daemon: Daemon, steps: list[str], live: bool) -> None:
    """Those who read the log again from where they had committed tell what they had not."""
    manual = ManualClock()
    daemon.manual, daemon.rows = manual, {}
    daemon.start()
    start = int(manual.now) - (100 if live else 86_400)
    if live:
        manual.now = start
    lines: list[tuple[str, float]] = []
    fed = committed = 0
    told: list[tuple[int, str]] = []
    uncommitted: list[tuple[int, str]] = []
    failures: list[int] = []
    expected: dict[str, int] = {}
    for number, step in enumerate(steps):
        at = start + number
        if live:
            manual.now = at
        if step == "fail":
            lines += [(failed(at), at)] * 3
            failures += [at] * 3
        elif step == "login":
            lines.append((success(at), at))
            if sum(at - 60 < second for second in failures) >= 10:
                expected.setdefault("ann@example.com", at)
        elif step == "commit":
            daemon.feed(*(text for text, _ in lines[fed:]), live=live)
            fed = len(lines)
            uncommitted += [(int(record.at), record.fields["account"]) for record in daemon.told()[0]]
            daemon.commit()
            committed, told, uncommitted = fed, told + uncommitted, []
        elif step == "kill" and live:
            daemon.start()
            fed, uncommitted = committed, []
    daemon.feed(*(text for text, _ in lines[fed:]), live=live)
    if not live:
        manual.advance(3660)
    told += uncommitted + [(int(record.at), record.fields["account"]) for record in daemon.told()[0]]
    assert {account: at for at, account in told} == expected
    assert len(told) == len(expected)


def test_two_logs_tell_of_one_login_within_five_seconds() -> None:
    twins = Twins()
    assert not twins.again("audit", 1000, "192.0.2.1", "Ann")
    assert not twins.again("audit", 1000, "192.0.2.1", "ann")
    assert not twins.again("mailbox", 1006, "192.0.2.1", "ann")
    assert not twins.again("mailbox", 1000, "192.0.2.2", "ann")
    assert not twins.again("mailbox", None, "192.0.2.1", "ann")
    assert twins.again("mailbox", 1005, "192.0.2.1", "ann")
    assert twins.again("mailbox", 995, "192.0.2.1", "ANN")
    assert not twins.again("mailbox", 1000, "192.0.2.1", "ann")
    for number in range(2000):
        twins.again("audit", 1000, "192.0.2.1", str(number))
    assert not twins.again("mailbox", 1000, "192.0.2.1", "0")
    assert twins.again("mailbox", 1000, "192.0.2.1", "1999")
