"""A model of logs, their writers and their rotation: whatever is in a file when somebody looks is delivered once."""

import gzip
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest
from fakes import FakeHost, ManualClock
from hypothesis import given, settings
from hypothesis import strategies as st

from zcs_exporter.log_position import Position
from zcs_exporter.logfile import LogFile
from zcs_exporter.tail import SETTLE, LogTail

TICK = 10_000_000
"""Nanoseconds between two changes of files; copying and truncating are one, as the system's clock is that coarse."""

DAY = 86_400_000_000_000
BEGINNING = b"2026-11-21 "
"""Of lines that come in two pieces; nothing tells it from that of another."""


def is_part(part: Iterable[bytes], whole: Iterable[bytes]) -> bool:
    """Whether ``whole`` has everything in ``part``, in that order."""
    rest = iter(whole)
    return all(line in rest for line in part)


class Model:
    """Files in a directory of their own, and the process that follows one of them. Each step has a letter.

    Attributes:
        written: Lines, in order; the end of a file ends its last one.
        owed: Those that were in a file when somebody looked.
        delivered: What the process made of it.
    """

    def __init__(self, root: Path, path: str, small_blocks: bool) -> None:
        self.host = FakeHost(root)
        self.live = root / path.lstrip("/")
        self.live.parent.mkdir(parents=True)
        self.path = path
        self.sizes = {"block_size": 3000, "max_line": 2000} if small_blocks else {}
        self.manual = ManualClock()
        self.now = 1_790_000_000 * 10**9
        self.count = 0
        self.committed: Position | None = None
        self.tail: LogTail | None = None
        self.delivered: list[bytes] = []

    def begin(self) -> None:
        """Start for the first time; what is there already is not to be delivered."""
        self.start()
        self.read_all()

    def do(self, steps: str) -> None:
        for step in steps:
            STEPS[step](self)

    def touch(self, file: Path, *, later: bool = True) -> None:
        self.now += TICK * later
        os.utime(file, ns=(self.now, self.now))

    def start(self) -> None:
        """Be killed, and start at what was committed."""
        if self.tail is not None:
            self.tail.close()
        saved = None if self.committed is None else Position.from_json(self.committed.to_json())
        self.tail = LogTail(self.host, self.path, saved, self.manual.clock, **self.sizes)

    def read_one(self) -> bool:
        assert self.tail is not None
        block = self.tail.read()
        if block is None:
            return False
        self.delivered += block.data.split(b"\n")[:-1]
        self.committed = self.tail.advance()
        return True

    def look(self) -> None:
        """Read what there is, long enough for a renamed file to be left."""
        self.note()
        for _ in range(3):
            self.read_all()
            self.manual.advance(SETTLE)

    def read_all(self) -> None:
        while self.read_one():
            pass
        assert self.tail is not None
        self.committed = self.tail.position

    def lose(self) -> None:
        """Be killed before what was read is committed."""
        assert self.tail is not None
        self.tail.read()
        self.start()

    def line(self) -> None:
        raise NotImplementedError

    def note(self) -> None:
        raise NotImplementedError

    def check(self) -> None:
        raise NotImplementedError


class LogModel(Model):
    """A log whose copies get numbers, dates, or all the same name.

    Attributes:
        files: Content of each file that had the log's name, oldest first.
        copies: By file: which content it has.
        owed: How much of each content was in a file when somebody looked, and whether nothing came after that.
    """

    def __init__(self, root: Path, scheme: str, small_blocks: bool = False) -> None:
        super().__init__(root, "/log/audit.log", small_blocks)
        self.scheme = scheme
        self.rotations = 0
        self.files = [bytearray()]
        self.copies: dict[Path, int] = {}
        self.owed: dict[int, tuple[int, bool]] = {}
        self.partial = False
        self.append(b"")

    def append(self, data: bytes) -> None:
        with self.live.open("ab") as log:
            log.write(data)
        self.files[-1] += data
        self.touch(self.live)

    def line(self) -> None:
        self.count += 1
        self.append(b"%04d the quick brown fox jumps\n" % self.count)
        self.partial = False

    def begin_line(self) -> None:
        if not self.partial:
            self.append(BEGINNING)
            self.partial = True

    def copy_and_truncate(self) -> None:
        copy = self.next_name()
        shutil.copyfile(self.live, copy)
        self.touch(copy)
        os.truncate(self.live, 0)
        self.touch(self.live, later=False)
        self.end(copy)

    def rename(self) -> None:
        older = self.next_name()
        self.live.rename(older)
        self.end(older)
        self.append(b"")

    def end(self, copy: Path) -> None:
        self.copies[copy] = len(self.files) - 1
        self.files.append(bytearray())
        self.partial = False

    def next_name(self) -> Path:
        self.rotations += 1
        if self.scheme == "date":
            return self.live.with_name(f"audit.log-2026{self.rotations // 28 + 1:02}{self.rotations % 28 + 1:02}")
        kept = 1 if self.scheme == "one" else 4
        for number, ending in itertools.product(range(kept, 0, -1), ("", ".gz")):
            copy = self.live.with_name(f"audit.log.{number}{ending}")
            if copy not in self.copies:
                continue
            held = self.copies.pop(copy)
            if number < kept:
                next_name = self.live.with_name(f"audit.log.{number + 1}{ending}")
                copy.rename(next_name)
                self.copies[next_name] = held
            elif ending or self.scheme != "one":
                copy.unlink()
        return self.live.with_name("audit.log.1")

    def compress(self) -> None:
        """Compress a copy as gzip and logrotate do, which keep its time."""
        plain = [copy for copy in self.copies if copy.suffix != ".gz"]
        if plain:
            packed = plain[-1].with_name(f"{plain[-1].name}.gz")
            packed.write_bytes(gzip.compress(plain[-1].read_bytes(), 1))
            shutil.copystat(plain[-1], packed)
            plain[-1].unlink()
            self.copies[packed] = self.copies.pop(plain[-1])

    def note(self) -> None:
        for number in (*self.copies.values(), len(self.files) - 1):
            self.owed[number] = len(self.files[number]), number < len(self.files) - 1

    def check(self) -> None:
        written: list[bytes] = []
        owed: list[bytes] = []
        for number, content in enumerate(self.files):
            written += content.split(b"\n")
            length, ended = self.owed.get(number, (0, False))
            lines = content[:length].split(b"\n")
            owed += lines if ended and length == len(content) else lines[:-1]
        # Alone in its file, nothing tells it from the beginning of the next file's first line.
        apart = (b"", BEGINNING)
        delivered = [line for line in self.delivered if line not in apart]
        assert is_part(delivered, written), "twice, in disorder or garbled"
        assert is_part([bytes(line) for line in owed if line not in apart], delivered), "lost"


class TableModel(Model):
    """A table below zmstat, whose heading is written when it is made, and which is archived by day."""

    def __init__(self, root: Path, heading: bytes, small_blocks: bool = False) -> None:
        super().__init__(root, "/zmstat/mailboxd.csv", small_blocks)
        self.heading = heading
        self.rows: list[bytes] = []
        self.current: list[bytes] = []
        self.archives: dict[Path, list[bytes]] = {}
        self.owed: set[bytes] = set()
        self.append(heading)

    def append(self, data: bytes) -> None:
        with self.live.open("ab") as table:
            table.write(data)
        self.touch(self.live)

    def line(self) -> None:
        self.count += 1
        self.rows.append(b"11/21/2026 12:%02d:%02d,%06d,0" % (*divmod(self.count, 60), self.count))
        self.current.append(self.rows[-1])
        self.append(self.rows[-1] + b"\n")

    def repeat_heading(self) -> None:
        self.append(self.heading)

    def archive(self) -> None:
        folder = self.live.parent / datetime.fromtimestamp(self.now / 10**9).strftime("%Y-%m-%d")
        folder.mkdir(exist_ok=True)
        archive = folder / "mailboxd.csv.gz"
        before = gzip.decompress(archive.read_bytes()) if archive.exists() else b""
        archive.unlink(missing_ok=True)
        archive.write_bytes(gzip.compress(before + self.live.read_bytes(), 1))
        self.touch(archive)
        self.archives[archive] = self.archives.get(archive, []) + self.current
        self.live.unlink()
        self.current = []
        self.append(self.heading)

    def pass_day(self) -> None:
        self.now += DAY

    def note(self) -> None:
        self.owed.update(self.current, *self.archives.values())

    def check(self) -> None:
        delivered = [line for line in self.delivered if line != self.heading[:-1]]
        assert is_part(delivered, self.rows), "twice, in disorder or garbled"
        assert is_part([row for row in self.rows if row in self.owed], delivered), "lost"


STEPS: dict[str, Callable[..., None]] = {
    "a": lambda model: model.line(),
    "A": lambda model: [model.line() for _ in range(40)],
    "p": LogModel.begin_line,
    "c": LogModel.copy_and_truncate,
    "r": LogModel.rename,
    "z": LogModel.compress,
    "R": TableModel.archive,
    "h": TableModel.repeat_heading,
    "d": TableModel.pass_day,
    "L": Model.look,
    "l": Model.read_all,
    "m": Model.read_one,
    "K": Model.start,
    "k": Model.lose,
}

SHORT = b"timestamp,a,b\n"
LONG = b"timestamp," + b",".join(b"column_%03d" % number for number in range(150)) + b"\n"


@contextmanager
def model_of(make: Callable[[Path], Model]) -> Iterator[Model]:
    with tempfile.TemporaryDirectory() as root:
        model = make(Path(root))
        model.begin()
        try:
            yield model
        finally:
            assert model.tail is not None
            model.tail.close()


def live_through(make: Callable[[Path], Model], steps: str) -> Model:
    with model_of(make) as model:
        model.do(steps + "aL")
        model.check()
        return model


def sequences(letters: str, longest: int, begin: Sequence[str] = ("",)) -> Iterator[str]:
    for length in range(1, longest + 1):
        for first, *rest in itertools.product(begin, *[letters] * length):
            yield "".join((first, *rest))


@pytest.mark.parametrize("scheme", ["one", "number", "date"])
def test_every_short_life_of_a_log_that_is_copied_and_truncated(scheme: str) -> None:
    for steps in sequences("apcLK", 4, ["aL"]):
        try:
            live_through(lambda root: LogModel(root, scheme), steps)
        except AssertionError as exc:
            raise AssertionError(steps) from exc


@pytest.mark.parametrize("scheme", ["number", "date"])
def test_every_short_life_of_a_log_that_is_renamed(scheme: str) -> None:
    for steps in sequences("aprLK", 4):
        try:
            live_through(lambda root: LogModel(root, scheme), steps)
        except AssertionError as exc:
            raise AssertionError(steps) from exc


@pytest.mark.parametrize("heading", [SHORT, LONG])
def test_every_short_life_of_a_table_that_is_archived(heading: bytes) -> None:
    for steps in sequences("aRLK", 4, ["", "aRaL"]):
        try:
            live_through(lambda root: TableModel(root, heading), steps)
        except AssertionError as exc:
            raise AssertionError(steps) from exc


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["one", "number", "date"]), st.booleans(), st.text("aaAApcccLLLlKkmmmzz", max_size=25))
def test_a_long_life_of_a_log_that_is_copied_and_truncated(scheme: str, small_blocks: bool, steps: str) -> None:
    live_through(lambda root: LogModel(root, scheme, small_blocks), steps)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([SHORT, LONG]), st.booleans(), st.text("aaARRRRhdLLLlKkmmm", max_size=25))
def test_a_long_life_of_a_table_that_is_archived(heading: bytes, small_blocks: bool, steps: str) -> None:
    live_through(lambda root: TableModel(root, heading, small_blocks), "aRaL" + steps)


# What each of these laws was found by


@pytest.mark.parametrize("steps", ["ac", "aLcLac", "aLcLAcac", "aLcLacKL", "aLcKLacL", "acz"])
def test_a_file_seen_empty_and_truncated_again_with_lines_in_between_loses_none(steps: str) -> None:
    model = live_through(lambda root: LogModel(root, "date"), steps)
    assert len(model.delivered) == model.count


@pytest.mark.parametrize("steps", ["caKLc", "KcAmc", "cAKLc", "acLmacAmcmac", "aclcakmc", "pcmpac"])
def test_a_copy_that_is_overwritten_while_it_waits_is_not_read_as_two_files(steps: str) -> None:
    live_through(lambda root: LogModel(root, "one"), steps)


@pytest.mark.parametrize("steps", ["pcLpac", "pcmpac", "aLpcKLc", "LpcLKpcL"])
def test_the_end_of_one_file_is_not_the_beginning_of_the_next_that_begins_alike(steps: str) -> None:
    live_through(lambda root: LogModel(root, "number"), steps)


@pytest.mark.parametrize("heading", [SHORT, LONG])
@pytest.mark.parametrize("steps", ["RLRaR", "RLRaRRR", "RLKRaRK", "RLRLaRRaK", "hRLRaRhRK", "dRLdRaRdR", "aRmR"])
def test_tables_that_are_archived_before_their_first_row_hide_no_other(heading: bytes, steps: str) -> None:
    live_through(lambda root: TableModel(root, heading), "aRaL" + steps)


def test_what_was_in_no_file_when_somebody_looked_is_lost_and_nothing_else(tmp_path: Path) -> None:
    model = LogModel(tmp_path, "one")
    model.begin()
    model.do("aaL" + "ac" + "ac" + "aL")
    assert [line[:4] for line in model.delivered] == [b"0001", b"0002", b"0004", b"0005"]


@pytest.fixture
def copied(tmp_path: Path) -> Iterator[LogModel]:
    model = LogModel(tmp_path, "number")
    model.begin()
    model.do("aaaL")
    yield model
    assert model.tail is not None
    model.tail.close()


@pytest.mark.parametrize("kill", [False, True])
def test_a_copy_of_a_log_that_goes_on_is_not_read(copied: LogModel, kill: bool) -> None:
    shutil.copyfile(copied.live, copied.live.with_name("audit.log.1"))
    copied.touch(copied.live.with_name("audit.log.1"))
    copied.do("aK" * kill + "aL")
    copied.check()


@pytest.mark.parametrize("size", [20, 2000])
def test_lines_that_were_read_between_copying_and_truncating_come_once(tmp_path: Path, size: int) -> None:
    model = LogModel(tmp_path, "number")
    model.begin()
    model.do("a" * (size // 20) + "L")
    copy = model.next_name()
    shutil.copyfile(model.live, copy)
    model.touch(copy)
    model.do("aL")
    os.truncate(model.live, 0)
    model.touch(model.live)
    model.end(copy)
    model.do("LaL")
    assert len(model.delivered) == len(set(model.delivered)) == model.count


def test_a_log_that_shrinks_goes_on_at_its_end(copied: LogModel) -> None:
    copied.do("AAL")
    before = len(copied.delivered)
    os.truncate(copied.live, 31 * 50 + 7)
    copied.touch(copied.live)
    copied.do("LaaL")
    assert [line[:12] for line in copied.delivered[before:]] == [b"0084 the qui", b"0085 the qui"]


@pytest.mark.parametrize("size", [2, 40])
def test_a_log_replaced_in_place_by_as_many_bytes_is_read_from_its_start(tmp_path: Path, size: int) -> None:
    model = LogModel(tmp_path, "number")
    model.begin()
    model.do("a" * size + "L")
    text = model.live.read_bytes().replace(b"brown", b"white")
    model.live.write_bytes(text)
    model.touch(model.live)
    model.delivered.clear()
    model.do("L")
    assert model.delivered == text.split(b"\n")[:-1]


def test_lines_read_just_before_a_truncation_are_not_taken_for_those_after_it(
    copied: LogModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied.do("cLa")
    read = LogFile.read
    times = iter([True])

    def then_truncate(file: LogFile, count: int) -> bytes:
        stretch = read(file, count)
        if stretch and next(times, False):
            copied.do("caaaa")
        return stretch

    monkeypatch.setattr(LogFile, "read", then_truncate)
    copied.do("LaL")
    assert [line[:4] for line in copied.delivered] == [b"%04d" % number for number in range(1, 10)]


@pytest.mark.parametrize("meanwhile", ["c", "ca", "cAcA"])
@pytest.mark.parametrize("before", ["a", "aA", ""])
def test_a_log_truncated_while_its_copies_are_looked_for_comes_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, meanwhile: str
) -> None:
    model = LogModel(tmp_path, "date")
    model.begin()
    listdir = FakeHost.listdir
    times = iter([True])

    def truncate_first(host: FakeHost, path: str) -> list[str]:
        if next(times, False):
            model.do(meanwhile)
        return listdir(host, path)

    monkeypatch.setattr(FakeHost, "listdir", truncate_first)
    model.do(before + "aLaL")
    assert [line[:4] for line in model.delivered] == [b"%04d" % number for number in range(1, model.count + 1)]
    assert model.tail is not None
    model.tail.close()
