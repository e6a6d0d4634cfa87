import errno
import json
import os
import random
import re
import time
from collections import Counter
from pathlib import Path

import pytest
from fakes import FakeHost
from hypothesis import example, given, settings
from hypothesis import strategies as st
from queue_writer import put, queue_file, record

from collectors.formats.queue_file import Envelope, _parse_common, parse_queue_file, parse_records
from collectors.postfix.index import Index
from collectors.postfix.known import Names
from collectors.postfix.spool import QUEUES, QueueState, Spool
from zcs_exporter.contract import GRANT, Clock, CollectError, Reason
from zcs_exporter.hostio import OpenDirectory
from zcs_exporter.inotify import Changes, DirectoryWatch

FIXTURES = Path(__file__).parents[2] / "fixtures" / "postfix"
SPOOL = "/opt/zimbra/data/postfix/spool"
ENDS = (5, 15, 60, 240, 720, 1440, 4320)


class MoodyWatch(DirectoryWatch):
    """The kernel, which now and then has no watch left or loses what happened."""

    def __init__(self, moods: list[str]) -> None:
        super().__init__()
        self.moods = moods

    def add(self, path: str) -> int:
        if "refuses" in self.moods[:1]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        return super().add(path)

    def changes(self) -> Changes:
        told = super().changes()
        return Changes(lost=True) if self.moods and self.moods.pop(0) == "loses" else told


class SpyDirectory(OpenDirectory):
    """A directory of a ``SpyHost``."""

    def __init__(self, host: "SpyHost", path: str) -> None:
        super().__init__(host.path(path))
        self.host = host
        self.path = path

    def head(self, name: str, length: int) -> tuple[os.stat_result, bytes]:
        path = f"{self.path}/{name}"
        self.host.opened.append(path)
        if path in self.host.refused:
            raise OSError(self.host.refused[path], os.strerror(self.host.refused[path]), path)
        return super().head(name, length)

    def lstat(self, name: str) -> os.stat_result:
        self.host.asked += 1
        return super().lstat(name)


class SpyHost(FakeHost):
    """Counts what is opened and listed, and refuses files it was told to refuse."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.moods: list[str] = []
        self.opened: list[str] = []
        self.listed: list[str] = []
        self.asked = 0
        self.refused: dict[str, int] = {}

    def open_directory(self, path: str) -> OpenDirectory:
        return SpyDirectory(self, path)

    def scandir(self, path: str):
        self.listed.append(path)
        return super().scandir(path)

    def watch_directories(self) -> DirectoryWatch:
        return MoodyWatch(self.moods)


class Bench:
    """A spool below a temporary directory and its reader."""

    def __init__(self, root: Path, **options: int) -> None:
        self.host = SpyHost(root)
        self.base = f"{root}{SPOOL}"
        for queue in QUEUES:
            os.makedirs(f"{self.base}/{queue}", exist_ok=True)
        self.wall = time.time()
        self.ticks = 0.0
        self.tick = 0.0
        options = {"recheck_files": 0, **options}
        self.spool = Spool(self.host, SPOOL, Clock(lambda: self.wall, self.monotonic), **options)

    def monotonic(self) -> float:
        self.ticks += self.tick
        return self.ticks

    def put(self, place: str, content: bytes | None = None, mode: int = 0o700) -> str:
        path = f"{self.base}/{place}"
        put(path, queue_file() if content is None else content, mode)
        return path

    def look(self) -> dict[str, QueueState]:
        self.host.opened.clear()
        self.host.listed.clear()
        self.host.asked = 0
        self.wall = time.time()
        return self.spool.look()

    def settle(self) -> None:
        """Let every directory stamp be an hour old, so that the guard is over."""
        hour_ago = time.time() - 3600
        for directory, _, _ in os.walk(self.base):
            os.utime(directory, (hour_ago, hour_ago))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def naive_walk(base: str, now: float) -> dict[str, tuple[int, int, int | None, list[int], dict[str, int]]]:
    """Read every file of a spool, with nothing remembered and none of the reader's code."""
    answer = {}
    for queue in QUEUES:
        count, size, arrivals, senders = 0, 0, [], Counter()
        for directory, _, names in os.walk(f"{base}/{queue}"):
            for name in names:
                path = os.path.join(directory, name)
                status = os.lstat(path)
                if not re.fullmatch(r"[0-9A-F]{6,}", name) or status.st_mode & 0o700 != 0o700:
                    continue
                content = Path(path).read_bytes()
                sizes = re.match(rb"C_ *(\d+) ", content)
                stamp = re.search(rb"T.(\d+) 548829", content, re.DOTALL)
                sender = re.search(rb"A.rewrite_context=localS.([^A]*)A.log_client", content, re.DOTALL)
                whole = sender is not None
                count += 1
                size += int(sizes[1]) if sizes and whole else status.st_size
                arrivals.append(int(stamp[1]) if stamp and whole else int(status.st_mtime))
                if sender:
                    senders[sender[1].decode() or "<>"] += 1
        ages = [0] * 8
        for arrival in arrivals:
            minutes = int(now) // 60 - arrival // 60
            ages[sum(minutes >= end for end in ENDS)] += 1
        answer[queue] = (count, size, min(arrivals, default=None), ages, dict(senders))
    return answer


def seen(states: dict[str, QueueState]) -> dict[str, tuple[int, int, int | None, list[int], dict[str, int]]]:
    assert all(state.unread == 0 for state in states.values())
    return {
        queue: (state.messages, state.bytes, state.oldest, list(state.ages), dict(state.top.senders))
        for queue, state in states.items()
    }


# The format


def test_size_and_arrival_of_real_queue_files_equal_those_of_postqueue(bench: Bench) -> None:
    told = [json.loads(line) for line in (FIXTURES / "postfix-3.7.11-postqueue.jsonl").read_text().splitlines()]
    for message in told:
        queue, name = message["queue_name"], message["queue_id"]
        content = (FIXTURES / f"postfix-3.7.11-{queue}-{name}").read_bytes()
        bench.put(f"{queue}/{name[0]}/{name}" if queue == "deferred" else f"{queue}/{name}", content)

    states = bench.look()

    for queue in ("deferred", "hold", "maildrop"):
        mine = [message for message in told if message["queue_name"] == queue]
        assert states[queue].messages == len(mine)
        assert states[queue].bytes == sum(message["message_size"] for message in mine)
        assert states[queue].oldest == min(message["arrival_time"] for message in mine)
    assert states["deferred"].top.senders == (("<>", 1), ("alice@example.com", 1))
    assert states["deferred"].top.destination_domains == (("example.net", 1), ("example.org", 1))
    assert states["hold"].top.sender_domains == (("example.com", 1),)


HEAD = record("C", b"            378 1") + record("T", b"1700000000 5")
TAIL = record("S", b"a@example.com") + record("R", b"b@example.net") + record("M", b"")


# What showq of Postfix 3.7.11 made of the same files: (size, arrival), None where it took the file's own.
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (HEAD + TAIL, (378, 1700000000)),
        (HEAD + record("T", b"1700000111 5") + record("C", b"400 1") + TAIL, (378, 1700000000)),
        (record("T", b"garbage") + record("C", b"378 5") + TAIL, (378, None)),
        (record("C", b"  37x 1 2") + record("T", b"1700000000") + TAIL, (None, 1700000000)),
        (record("C", b"  -37 1 2") + record("T", b"-5") + TAIL, (None, None)),
        (record("C", b"\t37 5 6") + record("T", b"\t1700000000") + TAIL, (None, 1700000000)),
        (record("C", b"") + record("T", b"") + TAIL, (0, None)),
        (record("C", b"37 5\0") + record("T", b"1700000000\0") + TAIL, (37, 1700000000)),
        (record("C", b"37") + record("T", b"  1700000000x9") + TAIL, (37, 1700000000)),
        (record("C", b"37 5 6") + record("T", b"0 0") + record("T", b"1700000000") + TAIL, (37, 1700000000)),
        (record("C", b"0 5 6") + record("T", b"+1700000000") + TAIL, (0, 1700000000)),
        (record("S", b"a@example.com") + HEAD + record("R", b"b@example.net"), (None, None)),
        (record("C", b"9" * 20) + record("T", b"1700000000") + TAIL, (None, 1700000000)),
        (HEAD + record("A", b"x" * 300) + TAIL, (378, 1700000000)),
        (HEAD + record("S", b"a@example.com") + b"T\xff\xff\xff\xff\xff", (378, 1700000000)),
    ],
)
def test_size_and_arrival_follow_the_rules_of_showq(content: bytes, expected: tuple[int | None, int | None]) -> None:
    envelope = parse_queue_file(content)

    assert (envelope.size, envelope.arrival) == expected


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"junkjunkjunk",
        HEAD,
        HEAD + b"T\xff\xff\xff\xff\xff\xff" + TAIL,
        HEAD + b"S\x80",
        HEAD + b"S\x7fa@example.com",
        HEAD + b"S\x0ea@example.com",
        HEAD + record("M", b"") + record("N", b"text") + TAIL,
    ],
)
def test_a_file_without_a_sender_before_the_message_is_an_error(content: bytes) -> None:
    with pytest.raises(CollectError, match="no sender record") as caught:
        parse_queue_file(content)
    assert caught.value.reason is Reason.PARSE


def test_a_sender_that_a_milter_moved_behind_the_message_is_unknown_but_the_file_is_sound() -> None:
    moved = (
        HEAD + record("p", b"           1061") + record("R", b"b@example.net") + record("p", b"0") + record("M", b"")
    )

    assert parse_queue_file(moved) == Envelope(378, 1700000000, None, "")
    with pytest.raises(CollectError):
        parse_queue_file(HEAD + record("p", b"              0") + record("M", b""))


def test_the_sender_is_the_login_where_there_is_one() -> None:
    envelope = parse_queue_file(queue_file(sender="Spoofed@example.org", login="Alice@Example.com"))

    assert envelope.sender == "alice@example.com"
    assert parse_queue_file(queue_file(sender="Bob@Example.org")).sender == "bob@example.org"
    assert parse_queue_file(queue_file(sender="")).sender == ""


def test_a_hostile_address_is_cut_and_made_printable() -> None:
    envelope = parse_queue_file(queue_file(sender="a\n\x1b[31m" + "x" * 5000, recipients=("b@\u202eevil.test",)))

    assert envelope.sender is not None
    assert envelope.sender.startswith("a??[31mxxx")
    assert len(envelope.sender) <= 128
    assert envelope.domain == "?evil.test"


@settings(max_examples=2_000, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_give_an_envelope_or_an_error(data: bytes) -> None:
    parse_or_error(data)


@settings(max_examples=2_000, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("CTASROMpFX"), st.binary(max_size=200)), max_size=8))
def test_any_records_give_an_envelope_or_an_error(records: list[tuple[str, bytes]]) -> None:
    parse_or_error(b"".join(record(kind, data) for kind, data in records))


FIELDS = st.sampled_from("AAAASRROMpTC")
TEXTS = (
    st.sampled_from((b"", b"a@example.com", b"Bob@Example.ORG\0", b"rfc822;a@b", b"sasl_username=eve", b"A\x05xR\x01A"))
    | st.binary(max_size=20)
    | st.binary(min_size=120, max_size=140)
)


COMMON_SIZES = b"%15d %15d %15d %15d %15d %15d" % (378, 650, 1, 0, 378, 0)
COMMON_STAMP = b"1795306322 548829"


@settings(max_examples=1_500, deadline=None)
@given(
    st.just(COMMON_SIZES) | st.text("0123456789 ", max_size=100).map(str.encode),
    st.just(COMMON_STAMP)
    | st.tuples(st.integers(0, 10**11), st.integers(0, 10**6)).map(lambda time: b"%d %d" % time)
    | st.text("0123456789 A\0", max_size=20).map(str.encode),
    st.lists(st.tuples(st.just("A") | FIELDS, TEXTS), max_size=4),
    st.lists(st.tuples(FIELDS, TEXTS), max_size=4),
    st.integers(0, 60),
    st.lists(st.tuples(st.integers(97, 300), st.integers(0, 255)), max_size=2),
)
@example(COMMON_SIZES, COMMON_STAMP, [], [], len(record("M", b"")) + 3, [])  # cut within the recipient
@example(COMMON_SIZES, COMMON_STAMP, [("A", b"x" * 200 + TAIL)], [], 0, [])  # a length of two bytes
def test_the_short_way_through_a_common_file_ends_where_the_long_one_does(
    sizes: bytes,
    stamp: bytes,
    before: list[tuple[str, bytes]],
    after: list[tuple[str, bytes]],
    cut: int,
    damage: list[tuple[int, int]],
) -> None:
    head = bytearray(record("C", sizes) + record("T", stamp) + record("A", b"rewrite_context=local"))
    head += b"".join(record(kind, data) for kind, data in before) + record("S", b"c@example.com")
    head += b"".join(record(kind, data) for kind, data in after) + TAIL
    for place, byte in damage:
        if place < len(head):
            head[place] = byte
    for data in (bytes(head), bytes(head[: len(head) - cut])):
        try:
            long = parse_records(data)
        except CollectError:
            with pytest.raises(CollectError):
                parse_queue_file(data)
        else:
            assert parse_queue_file(data) == long


def test_the_files_of_a_real_postfix_go_the_short_way() -> None:
    content = (FIXTURES / "postfix-3.7.11-deferred-4D3F72200B0").read_bytes()

    assert _parse_common(content) == Envelope(511, 1795306986, "alice@example.com", "example.net")


def parse_or_error(data: bytes) -> None:
    try:
        envelope = parse_queue_file(data)
    except CollectError:
        return
    assert envelope.size is None or 0 <= envelope.size < 10**18
    assert envelope.arrival is None or 0 < envelope.arrival < 10**18
    assert envelope.sender is None or len(envelope.sender) <= 200


# What counts


def test_an_empty_queue_is_a_known_zero_even_without_its_directory(bench: Bench) -> None:
    os.rmdir(f"{bench.base}/corrupt")

    states = bench.look()

    assert set(states) == set(QUEUES)
    assert states["corrupt"].messages == states["hold"].messages == 0
    assert states["corrupt"].oldest is None


@pytest.mark.parametrize("name", ["8764910C06B", "ABCDEF", "4gYJ2R3zjJz1Wb", "4jX8tS54KzzJmkW"])
def test_short_and_long_queue_ids_are_messages(bench: Bench, name: str) -> None:
    bench.put(f"active/{name}")

    assert bench.look()["active"].messages == 1


@pytest.mark.parametrize("name", ["ABCDE", "8764910c06b", "8764910C06B.tmp", "README", "8764910C06B#FIX"])
def test_other_names_are_not(bench: Bench, name: str) -> None:
    bench.put(f"active/{name}")

    assert bench.look()["active"].messages == 0


def test_a_fifo_a_directory_and_a_link_under_a_queue_id_are_not_messages(bench: Bench) -> None:
    os.mkfifo(f"{bench.base}/active/AAAA000001")
    os.mkdir(f"{bench.base}/active/AAAA000002")
    os.symlink("/etc/passwd", f"{bench.base}/active/AAAA000003")

    assert bench.look()["active"].messages == 0
    assert bench.host.opened == []


def test_directories_are_walked_at_any_depth_and_links_between_them_are_not_followed(bench: Bench) -> None:
    bench.put("deferred/8/7/6/8764910C06B")
    bench.put("deferred/8/8764910C06C")
    bench.put("deferred/8764910C06D")
    os.symlink("..", f"{bench.base}/deferred/8/8")

    assert bench.look()["deferred"].messages == 3


def test_a_file_being_written_counts_from_the_round_after_its_mode_says_it_is_complete(bench: Bench) -> None:
    path = bench.put("incoming/8764910C06B", queue_file(size=100), mode=0o600)
    bench.put("maildrop/8764910C06C", queue_file(size=None), mode=0o600)

    bench.look()
    bench.settle()
    bench.look()
    before = bench.look()
    os.chmod(path, 0o700)  # which leaves the directory's time as it was
    after = bench.look()

    assert (before["incoming"].messages, before["incoming"].bytes, before["incoming"].oldest) == (0, 0, None)
    assert (after["incoming"].messages, after["incoming"].bytes) == (1, 100)
    assert after["maildrop"].messages == 0
    assert bench.host.listed == []


def test_an_unreadable_file_is_counted_once_with_its_size_and_time(bench: Bench) -> None:
    path = bench.put("corrupt/8764910C06B", b"junkjunkjunk")
    os.utime(path, (1_600_000_000, 1_600_000_000.9))

    first = bench.look()["corrupt"]
    bench.spool._recheck_files = 10
    again = bench.look()["corrupt"]

    assert (first.messages, first.bytes, first.oldest, first.unreadable) == (1, 12, 1_600_000_000, 1)
    assert again == first
    assert len(bench.host.opened) == 1


def test_an_envelope_that_begins_late_is_found_and_one_that_never_does_is_given_up(bench: Bench) -> None:
    bench.put("hold/8764910C06A", record("C", b"37 5 6") + record("A", b"x" * 5000) + record("T", b"1700000000") + TAIL)
    bench.put("hold/8764910C06B", record("A", b"x" * 70_000) + HEAD + TAIL)

    state = bench.look()["hold"]

    assert state.unreadable == 1
    assert state.bytes == 37 + os.path.getsize(f"{bench.base}/hold/8764910C06B")


def test_a_file_that_vanishes_between_listing_and_reading_is_gone(bench: Bench) -> None:
    bench.put("active/8764910C06A")
    bench.put("active/8764910C06B")
    bench.host.refused[f"{SPOOL}/active/8764910C06B"] = errno.ENOENT

    assert bench.look()["active"].messages == 1


def test_a_file_that_cannot_be_read_stays_unread_and_says_why(bench: Bench) -> None:
    bench.put("active/8764910C06A")
    bench.put("active/8764910C06B")
    bench.host.refused[f"{SPOOL}/active/8764910C06B"] = errno.EIO

    state = bench.look()["active"]

    assert (state.messages, state.unread) == (2, 1)
    assert bench.spool.trouble is not None
    assert "active/8764910C06B: Input/output error" in str(bench.spool.trouble)
    bench.host.refused.clear()
    assert bench.look()["active"].unread == 0
    assert bench.spool.trouble is None


def test_a_queue_that_may_not_be_listed_is_a_permission_error_with_the_remedy(bench: Bench) -> None:
    def refuse(path: str):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    bench.host.scandir = refuse  # type: ignore[method-assign]

    with pytest.raises(CollectError, match="reading /opt/zimbra/data/postfix/spool/maildrop: Permission") as caught:
        bench.look()
    assert caught.value.reason is Reason.PERMISSION
    assert caught.value.remedy == GRANT


# What is not done again


def test_an_unchanged_spool_is_neither_listed_nor_opened(bench: Bench) -> None:
    for number in range(20):
        bench.put(f"deferred/{number % 4}/A{number:09X}")
    bench.look()
    bench.settle()
    bench.look()

    bench.look()

    assert bench.host.listed == []
    assert bench.host.opened == []


def test_a_change_lists_its_directory_and_opens_what_is_new_there(bench: Bench) -> None:
    for number in range(20):
        bench.put(f"deferred/{number % 4}/A{number:09X}")
    bench.look()
    bench.settle()
    bench.look()
    bench.put("deferred/2/B000000001")
    os.unlink(f"{bench.base}/deferred/2/A{2:09X}")

    assert bench.look()["deferred"].messages == 20
    assert bench.host.listed == [f"{SPOOL}/deferred/2"]
    assert bench.host.opened == [f"{SPOOL}/deferred/2/B000000001"]


def test_a_name_with_another_inode_is_another_message_at_once(bench: Bench) -> None:
    bench.put("deferred/8764910C06B", queue_file(size=100))
    bench.look()
    os.replace(bench.put("incoming/8764910C06B", queue_file(size=200)), f"{bench.base}/deferred/8764910C06B")

    state = bench.look()["deferred"]

    assert (state.messages, state.bytes) == (1, 200)


def test_a_directory_that_changed_within_the_guard_is_listed_again(bench: Bench) -> None:
    bench.put("active/8764910C06A")
    bench.look()
    stamp = os.stat(f"{bench.base}/active")
    bench.put("active/8764910C06B")
    os.utime(f"{bench.base}/active", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # both within one tick of the kernel

    assert bench.look()["active"].messages == 2


def test_counts_come_before_the_first_walk_is_over_and_nothing_is_read_twice(tmp_path: Path) -> None:
    bench = Bench(tmp_path, at_once=30)
    for number in range(30):
        bench.put(f"deferred/{number % 4}/A{number:09X}", queue_file(size=10))
    bench.put("active/8764910C06A")
    bench.tick = 0.04  # each look at the clock: the budget is spent after some six files

    first = bench.look()
    assert (bench.host.opened, bench.host.listed) == ([], [])
    assert bench.spool.unfinished
    opened: list[str] = []
    looks = 0
    while bench.spool.unfinished:
        states = bench.look()
        opened += bench.host.opened
        looks += 1
        assert states["deferred"].messages == 30
        assert bench.spool.unfinished == (states["deferred"].unread > 0)

    assert (first["deferred"].messages, first["deferred"].unread, first["deferred"].oldest) == (30, 30, None)
    assert (first["active"].messages, first["active"].unread) == (1, 1)
    assert looks > 3
    assert len(opened) == len(set(opened)) == 31
    assert bench.look()["deferred"].bytes == 300


def test_few_messages_are_counted_and_read_at_the_first_look(tmp_path: Path) -> None:
    bench = Bench(tmp_path, at_once=3)
    for number in range(3):
        bench.put(f"deferred/{number}/A{number:09X}", queue_file(size=10))

    assert bench.look()["deferred"].bytes == 30
    assert not bench.spool.unfinished


def test_the_first_count_takes_the_names_that_are_queue_ids_at_any_depth(tmp_path: Path) -> None:
    bench = Bench(tmp_path, at_once=0)
    for name in ("8764910C06B", "8/7/8764910C06C", "8/4gYJ2R3zjJz1Wb", "8/README", "7/ABCDE", "6/Ü", "X"):
        bench.put(f"deferred/{name}")
    os.symlink("..", f"{bench.base}/deferred/8/8")
    os.rmdir(f"{bench.base}/corrupt")

    states = bench.look()

    assert {queue: state.messages for queue, state in states.items()} == {**dict.fromkeys(QUEUES, 0), "deferred": 3}
    assert bench.look()["deferred"].messages == 3


def test_a_queue_that_is_no_directory_is_an_error_at_the_first_count_too(tmp_path: Path) -> None:
    bench = Bench(tmp_path, at_once=0)
    os.rmdir(f"{bench.base}/hold")
    Path(f"{bench.base}/hold").touch()

    for _ in range(2):
        with pytest.raises(CollectError, match="reading /opt/zimbra/data/postfix/spool/hold: Not a directory"):
            bench.look()


# What the kernel tells


@pytest.fixture
def watched(tmp_path: Path) -> Bench:
    """A spool with twenty deferred messages in four directories that are watched."""
    bench = Bench(tmp_path, watch_from=5)
    for number in range(20):
        bench.put(f"deferred/{number % 4}/A{number:09X}", queue_file(size=10))
    bench.settle()
    bench.look()
    assert len(bench.spool._watches) == 4
    bench.look()
    assert bench.host.listed == []
    return bench


def test_a_directory_that_changed_before_its_watch_began_is_listed_once_more(tmp_path: Path) -> None:
    bench = Bench(tmp_path, watch_from=2)
    for number in range(6):
        bench.put(f"deferred/{number % 2}/A{number:09X}")
    bench.settle()
    real = bench.host.watch_directories

    def late() -> DirectoryWatch:
        bench.put("deferred/0/B000000001")  # between the listing and the watch
        return real()

    bench.host.watch_directories = late  # type: ignore[method-assign]

    assert bench.look()["deferred"].messages == 6
    bench.put("deferred/0/B000000002")  # of which the kernel tells
    assert bench.look()["deferred"].messages == 8
    assert bench.host.listed == [f"{SPOOL}/deferred/0"]
    bench.put("deferred/0/B000000003")
    assert bench.look()["deferred"].messages == 9
    assert bench.host.listed == []


def test_a_large_directory_is_not_listed_when_it_changes(watched: Bench) -> None:
    os.rename(f"{watched.base}/deferred/1/A000000001", f"{watched.base}/active/A000000001")
    os.unlink(f"{watched.base}/deferred/2/A000000002")
    watched.put("deferred/3/B000000003", queue_file(size=5))

    states = watched.look()

    assert seen(states) == naive_walk(watched.base, watched.wall)
    assert (states["deferred"].messages, states["deferred"].bytes, states["active"].messages) == (19, 185, 1)
    assert watched.host.listed == [f"{SPOOL}/active"]
    assert len(watched.host.opened) == 2


def test_a_message_that_is_back_after_a_delivery_attempt_is_read_again_and_is_not_new(watched: Bench) -> None:
    now = int(time.time())
    place = watched.put("deferred/1/A00000000C", queue_file(arrival=now, sender="alice@example.com"))
    watched.look()
    watched.spool.take_newly_deferred()
    os.rename(place, f"{watched.base}/active/A00000000C")
    Path(f"{watched.base}/active/A00000000C").write_bytes(queue_file(arrival=now, recipients=("x@example.org",)))
    os.rename(f"{watched.base}/active/A00000000C", place)

    state = watched.look()["deferred"]

    assert ("example.org", 1) in state.top.destination_domains
    assert watched.spool.take_newly_deferred() == {}


def test_a_name_that_came_and_went_or_is_no_message_changes_nothing(watched: Bench) -> None:
    before = watched.look()
    for name in ("C000000001", "README", "C000000002", "Ü"):
        os.unlink(watched.put(f"deferred/1/{name}"))
    os.mkfifo(f"{watched.base}/deferred/1/C000000003")
    os.symlink("A000000001", f"{watched.base}/deferred/1/C000000004")
    os.mkdir(f"{watched.base}/deferred/1/C000000005")
    watched.put("deferred/1/notes")

    assert watched.look() == before


def test_a_directory_made_in_a_watched_one_is_found_and_one_removed_is_forgotten(watched: Bench) -> None:
    watched.put("deferred/1/A/1A00000000")
    assert watched.look()["deferred"].messages == 21
    os.unlink(f"{watched.base}/deferred/1/A/1A00000000")
    os.rmdir(f"{watched.base}/deferred/1/A")
    watched.put("deferred/1/A", b"no directory any more")

    assert watched.look()["deferred"].messages == 20


def test_a_watched_directory_that_is_replaced_or_moved_away_with_the_spool_is_listed(watched: Bench) -> None:
    os.rename(f"{watched.base}/deferred/1", f"{watched.base}/moved")
    watched.put("deferred/1/D000000001")
    assert seen(watched.look()) == naive_walk(watched.base, watched.wall)
    os.unlink(f"{watched.base}/moved/A000000001")  # of which the kernel would still tell
    assert seen(watched.look()) == naive_walk(watched.base, watched.wall)

    os.rename(watched.base, f"{watched.base}.old")
    for queue in QUEUES:
        os.makedirs(f"{watched.base}/{queue}")
    assert watched.look()["deferred"].messages == 0
    os.rename(watched.base, f"{watched.base}.new")
    os.rename(f"{watched.base}.old", watched.base)
    assert seen(watched.look()) == naive_walk(watched.base, watched.wall)


def test_a_watched_directory_that_changed_unknown_to_the_kernel_is_listed(watched: Bench) -> None:
    watched.put("deferred/1/D000000001")
    watched.put("deferred/2/D000000002")
    watched.host.moods[:] = ["tells"]
    forget = watched.spool._watches._kernel
    assert forget is not None
    DirectoryWatch.changes(forget)  # as if another host had written to a network file system

    assert watched.look()["deferred"].messages == 22
    assert sorted(watched.host.listed) == [f"{SPOOL}/deferred/1", f"{SPOOL}/deferred/2"]


def test_more_changes_than_the_kernel_keeps_lead_to_a_listing(watched: Bench) -> None:
    kept = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    place = f"{watched.base}/deferred/1/"
    for number in range(kept // 2 + 1):
        Path(f"{place}E{number:09X}").touch(0o700)
        os.unlink(f"{place}E{number:09X}")
    watched.put("deferred/1/F000000001")

    assert watched.look()["deferred"].messages == 21
    assert f"{SPOOL}/deferred/1" in watched.host.listed


def test_where_nothing_can_be_watched_a_changed_directory_is_listed_and_an_unchanged_one_is_not(tmp_path: Path) -> None:
    bench = Bench(tmp_path, watch_from=1)

    def refuse() -> DirectoryWatch:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    bench.host.watch_directories = refuse  # type: ignore[method-assign]
    bench.put("deferred/1/A000000001")
    bench.look()
    bench.settle()
    bench.look()
    bench.look()
    assert bench.host.listed == []

    bench.put("deferred/1/A000000002")
    assert bench.look()["deferred"].messages == 2
    assert bench.host.listed == [f"{SPOOL}/deferred/1"]


def test_a_failed_look_at_one_watched_directory_loses_nothing_of_the_others(watched: Bench) -> None:
    for number in range(4):
        watched.put(f"deferred/{number}/D00000000{number}")
        place = f"{watched.base}/deferred/{number}/A00000000{number}"
        os.rename(place, f"{watched.base}/aside")
        os.rename(f"{watched.base}/aside", place)
    ask = watched.host.lstat

    def refuse(path: str) -> os.stat_result:
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    watched.host.lstat = refuse  # type: ignore[method-assign]
    with pytest.raises(CollectError, match="deferred/0: Input/output error"):
        watched.look()
    watched.host.lstat = ask  # type: ignore[method-assign]

    assert seen(watched.look()) == naive_walk(watched.base, watched.wall)


def test_each_watched_directory_is_listed_once_an_hour_one_at_a_look(watched: Bench) -> None:
    watched.ticks += 3601

    listed = []
    for _ in range(6):
        watched.look()
        listed += watched.host.listed

    assert listed == [f"{SPOOL}/deferred/{number}" for number in range(4)]


def test_a_directory_that_has_become_small_is_watched_no_more(watched: Bench) -> None:
    for number in range(20):
        os.unlink(f"{watched.base}/deferred/{number % 4}/A{number:09X}")
    watched.look()
    watched.ticks += 3601
    for _ in range(4):
        watched.look()

    assert len(watched.spool._watches) == 0


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40))), st.integers(1, 3))
def test_an_index_finds_what_a_dictionary_finds(steps: list[tuple[bool, int]], spread: int) -> None:
    width = 4
    names = bytearray()
    known: list[bytes] = []
    index = Index(names, width)
    for add, number in steps:
        name = b"%04d" % (number * spread)
        if add and name not in known:
            names += name
            known.append(name)
            index.appended()
        elif not add and name in known:
            slot = known.index(name)
            index.drop(slot)
            last = known.pop()
            if slot < len(known):
                known[slot] = last
                names[slot * width : (slot + 1) * width] = last
            del names[-width:]
        for number in range(41):
            name = b"%04d" % (number * spread)
            assert index.find(name) == (known.index(name) if name in known else None)


# The law: a look equals a full walk


class Writer:
    """Changes a spool at random as Postfix might, and worse."""

    PLACES = (*QUEUES, "deferred/0", "deferred/1", "deferred/0/A", "hold/B")

    def __init__(self, base: str, seed: int) -> None:
        self.base = base
        self.random = random.Random(seed)
        self.files: dict[tuple[str, str], int] = {}  # (place, name) -> which message
        self.writing: set[tuple[str, str]] = set()
        self.at_last_look: dict[tuple[str, str], int] = {}
        self.made = 0

    def looked(self) -> None:
        self.at_last_look = dict(self.files)

    def path(self, file: tuple[str, str]) -> str:
        return f"{self.base}/{file[0]}/{file[1]}"

    def step(self) -> None:
        doing = self.random.choice(
            (self.create, self.create, self.finish, self.rename, self.delete, self.reuse, self.prune)
        )
        doing()

    def content(self) -> bytes:
        pick = self.random
        if pick.random() < 0.1:
            return b"junk" * pick.randrange(9)
        return queue_file(
            size=pick.choice((None, 0, pick.randrange(10**6))),
            arrival=pick.choice((None, int(time.time()) - pick.randrange(10**6))),
            sender=pick.choice(("", "alice@example.com", "bob@example.org")),
        )

    def create(self, name: str | None = None, place: str | None = None) -> None:
        self.made += 1
        file = (place or self.random.choice(self.PLACES), name or f"{self.made:010X}")
        mode = self.random.choice((0o600, 0o700, 0o744))
        if file not in self.files:
            put(self.path(file), self.content(), mode)
            self.files[file] = self.made
            if mode == 0o600:
                self.writing.add(file)

    def finish(self) -> None:
        for file in list(self.writing):
            if self.random.random() < 0.5:
                os.chmod(self.path(file), 0o700)
                self.writing.discard(file)

    def delete(self) -> tuple[str, str] | None:
        if not self.files:
            return None
        file = self.random.choice(list(self.files))
        os.unlink(self.path(file))
        del self.files[file]
        self.writing.discard(file)
        return file

    def rename(self) -> None:
        if not self.files:
            return
        file = self.random.choice(list(self.files))
        to = (self.random.choice(self.PLACES), file[1])
        # Two messages of one name in one directory between two looks: the exception, tested on its own.
        if to in self.files or self.at_last_look.get(to, self.files[file]) != self.files[file]:
            return
        os.makedirs(os.path.dirname(self.path(to)), exist_ok=True)
        os.rename(self.path(file), self.path(to))
        self.files[to] = self.files.pop(file)
        if file in self.writing:
            self.writing.remove(file)
            self.writing.add(to)

    def reuse(self) -> None:
        file = self.delete()
        if file is None:
            return
        place = self.random.choice(self.PLACES)
        if (place, file[1]) not in self.at_last_look:
            self.create(file[1], place)

    def prune(self) -> None:
        for place in ("deferred/0/A", "hold/B", "deferred/1"):
            try:
                os.rmdir(f"{self.base}/{place}")
            except OSError:
                continue


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    rounds=st.lists(st.integers(0, 25), min_size=1, max_size=8),
    watch_from=st.sampled_from((0, 2, 500)),
    moods=st.lists(st.sampled_from(("tells", "tells", "loses", "refuses"))),
)
def test_after_every_round_the_answer_is_that_of_a_full_walk(
    tmp_path_factory: pytest.TempPathFactory, seed: int, rounds: list[int], watch_from: int, moods: list[str]
) -> None:
    bench = Bench(tmp_path_factory.mktemp("spool"), watch_from=watch_from)
    bench.host.moods = moods
    writer = Writer(bench.base, seed)
    for changes in rounds:
        for _ in range(changes):
            writer.step()
        states = bench.look()
        writer.looked()
        assert seen(states) == naive_walk(bench.base, bench.wall)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), per_round=st.integers(1, 5))
def test_what_was_overwritten_or_reused_in_its_directory_is_put_right_by_the_paced_walk(
    tmp_path_factory: pytest.TempPathFactory, seed: int, per_round: int
) -> None:
    bench = Bench(tmp_path_factory.mktemp("spool"), recheck_files=per_round)
    writer = Writer(bench.base, seed)
    for _ in range(25):
        writer.create()
    bench.look()
    for file in writer.files:
        if writer.random.random() < 0.5:
            path = writer.path(file)
            if writer.random.random() < 0.5:
                Path(path).write_bytes(writer.content())
            else:
                os.unlink(path)
                put(path, writer.content())
    # A removed slot is filled by one that the walk has passed, so a turn may leave some for the next.
    for _ in range(2 * 25 // per_round + 2):
        states = bench.look()
        assert len(bench.host.opened) <= per_round + 25

    assert seen(states) == naive_walk(bench.base, bench.wall)


def test_ids_used_again_are_searched_for_after_a_listing_and_files_overwritten_all_the_time(tmp_path: Path) -> None:
    bench = Bench(tmp_path, recheck_files=400, watch_from=10**6)
    for number in range(1000):
        bench.put(f"deferred/{number:010X}")
    bench.settle()
    bench.look()
    bench.look()
    assert bench.host.asked <= 10

    bench.put("deferred/FFFFFFFFFF")
    bench.settle()
    asked = []
    for _ in range(5):
        bench.look()
        asked.append(bench.host.asked + len(bench.host.opened))

    assert sum(asked) >= 1001 - 10
    assert max(asked) <= 400 + 1
    assert asked[-1] <= 10


def test_a_known_file_is_read_anew_only_when_its_time_of_change_is_another(tmp_path: Path) -> None:
    bench = Bench(tmp_path, recheck_files=10**6)
    for number in range(5):
        bench.put(f"deferred/{number:010X}", queue_file(size=1))
    time.sleep(0.03)  # what changed just now may change once more within one tick of the kernel
    bench.look()
    with open(f"{bench.base}/deferred/{3:010X}", "r+b") as file:
        file.write(queue_file(size=7))

    bench.settle()
    states = bench.look()

    assert states["deferred"].bytes == 11
    assert bench.host.opened == [f"{SPOOL}/deferred/{3:010X}"]


def test_a_queue_id_used_again_in_another_directory_with_the_same_inode_is_read_anew(bench: Bench) -> None:
    path = bench.put("deferred/8764910C06B", queue_file(size=100, sender="old@example.com"))
    bench.look()
    # A rename keeps the inode, which is what a reused inode looks like; the content is another message.
    os.rename(path, f"{bench.base}/incoming/8764910C06B")
    Path(f"{bench.base}/incoming/8764910C06B").write_bytes(queue_file(size=200, sender="new@example.com"))

    states = bench.look()

    assert states["deferred"].messages == states["deferred"].bytes == 0
    assert states["incoming"].bytes == 200
    assert states["incoming"].top.senders == (("new@example.com", 1),)


# Who was deferred


def test_only_messages_deferred_for_the_first_time_are_new(bench: Bench) -> None:
    now = int(time.time())
    bench.put("deferred/8764910C001", queue_file(arrival=now, sender="there@example.com"))
    held = bench.put("hold/8764910C002", queue_file(arrival=now, sender="held@example.com"))
    first_try = bench.put("active/8764910C003", queue_file(arrival=now, sender="alice@example.com"))
    retry = bench.put("active/8764910C004", queue_file(arrival=now - 5000, sender="old@example.com"))
    bench.look()
    assert bench.spool.take_newly_deferred() == {}

    for path in (first_try, retry, held):
        os.rename(path, f"{bench.base}/deferred/{path.rpartition('/')[2]}")
    bench.put("deferred/8764910C005", queue_file(arrival=now, sender=""))
    bench.look()
    assert bench.spool.take_newly_deferred() == {"alice@example.com": 1, "": 1}
    assert bench.spool.take_newly_deferred() == {}

    os.rename(f"{bench.base}/deferred/8764910C003", first_try)
    bench.look()
    bench.look()
    os.rename(first_try, f"{bench.base}/deferred/8764910C003")
    bench.look()
    assert bench.spool.take_newly_deferred() == {}


def test_memory_of_names_is_bounded_and_says_when_it_is_full(tmp_path: Path) -> None:
    bench = Bench(tmp_path, max_names=2)
    for number, sender in enumerate(("a@example.com", "b@example.com", "c@example.com")):
        bench.put(f"active/A00000000{number}", queue_file(sender=sender))

    state = bench.look()["active"]
    assert state.messages == 3
    assert len(state.top.senders) == 2
    assert bench.spool.crowded

    for name in os.listdir(f"{bench.base}/active"):
        os.unlink(f"{bench.base}/active/{name}")
    assert bench.look()["active"].top.senders == ()
    assert not bench.spool.crowded


def test_departures_remembered_are_bounded(tmp_path: Path) -> None:
    bench = Bench(tmp_path, max_departed=3)
    for number in range(9):
        bench.put(f"deferred/A00000000{number}")
    bench.look()
    for number in range(9):
        os.unlink(f"{bench.base}/deferred/A00000000{number}")
    bench.look()

    assert len(bench.spool._ledger._departed) == 3


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abcdef"))))
def test_names_keep_what_is_in_use_and_forget_the_rest(steps: list[tuple[bool, str]]) -> None:
    names, taken = Names(4), []
    for take, text in steps:
        if take:
            taken.append((text, names.take(text)))
        elif taken:
            names.release(taken.pop(0)[1])
        assert all(names[number] in (text, "") for text, number in taken)
        assert len({number for _, number in taken if number > 1}) <= 4
        assert names.crowded == any(number == 1 for _, number in taken)
