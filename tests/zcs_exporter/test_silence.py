import os
import pwd
from datetime import datetime
from pathlib import Path

import pytest
from fakes import ManualClock

from collectors.services.maintenance import parse_maintenance_end
from zcs_exporter.contract import MAINTENANCE_LIMIT
from zcs_exporter.silence import SilenceError, end_silence, silence, silence_now


def test_the_daemon_reads_the_end_that_was_written(tmp_path: Path, manual: ManualClock) -> None:
    path = tmp_path / "run/zcs-exporter/maintenance"
    end = silence(str(path), 5400, manual.clock)
    assert end.timestamp() == int(manual.now + 5400)
    assert parse_maintenance_end(path.read_bytes(), manual.now) == end.timestamp()
    assert [each.name for each in path.parent.iterdir()] == ["maintenance"]


def test_a_second_one_replaces_the_first(tmp_path: Path, manual: ManualClock) -> None:
    path = tmp_path / "maintenance"
    silence(str(path), 5400, manual.clock)
    end = silence(str(path), 60, manual.clock)
    assert parse_maintenance_end(path.read_bytes(), manual.now) == end.timestamp()


def test_ending_says_whether_there_was_one(tmp_path: Path, manual: ManualClock) -> None:
    path = tmp_path / "maintenance"
    silence(str(path), 5400, manual.clock)
    assert end_silence(str(path), manual.clock) == "the maintenance has ended"
    assert not path.exists()
    assert end_silence(str(path), manual.clock) == "there was no maintenance"


@pytest.mark.parametrize("written", ["{end:%Y-%m-%dT%H:%M:%S%z}", "{end:%Y-%m-%d %H:%M:%S}", "{seconds}"])
def test_ending_one_that_is_over_says_since_when(written: str, tmp_path: Path, manual: ManualClock) -> None:
    path = tmp_path / "maintenance"
    end = silence(str(path), 60, manual.clock)
    path.write_text(written.format(end=end, seconds=int(end.timestamp())))
    manual.advance(60)
    said = f"the maintenance was over already, since {end:%Y-%m-%d %H:%M:%S %z}"
    assert end_silence(str(path), manual.clock) == said
    assert not path.exists()


def test_what_holds_is_told_until_when_since_when_and_by_whom(tmp_path: Path, manual: ManualClock) -> None:
    path = tmp_path / "maintenance"
    assert silence_now(str(path), manual.clock).startswith("nobody holds alarms; write how long")
    end = silence(str(path), 60, manual.clock)
    os.utime(path, (manual.now, manual.now))
    since = datetime.fromtimestamp(int(manual.now)).astimezone()
    assert silence_now(str(path), manual.clock) == (
        f"alarms about services, probes and JVMs are to be held until {end:%Y-%m-%d %H:%M:%S %z}; set at "
        f"{since:%Y-%m-%d %H:%M:%S %z} by {pwd.getpwuid(os.geteuid()).pw_name}; --end ends it"
    )
    manual.advance(60)
    assert "a maintenance was over at" in silence_now(str(path), manual.clock)
    path.write_text("tomorrow")
    assert "holds no time" in silence_now(str(path), manual.clock)
    assert path.exists()


@pytest.mark.parametrize("written", ["", "tomorrow", "9" * 40, "\xff"])
def test_what_held_nothing_is_removed_and_said(written: str, tmp_path: Path, manual: ManualClock) -> None:
    path = tmp_path / "maintenance"
    path.write_text(written)
    assert "held no time and is removed" in end_silence(str(path), manual.clock)
    assert not path.exists()


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "a second at least"), (-1, "--end"), (MAINTENANCE_LIMIT + 1, "at most 31 days")]
)
def test_one_of_no_length_or_without_an_end_in_sight_is_refused(
    seconds: float, said: str, tmp_path: Path, manual: ManualClock
) -> None:
    with pytest.raises(SilenceError, match=said):
        silence(str(tmp_path / "maintenance"), seconds, manual.clock)


def test_the_daemon_may_read_it_whoever_wrote_it_with_whatever_mask(tmp_path: Path, manual: ManualClock) -> None:
    path = tmp_path / "run/maintenance"
    before = os.umask(0o077)
    try:
        silence(str(path), 60, manual.clock)
    finally:
        os.umask(before)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o644, 0o755)


def test_a_link_that_somebody_has_planted_is_not_followed(tmp_path: Path, manual: ManualClock) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    for name in ("maintenance", "maintenance.part"):
        (tmp_path / name).symlink_to(precious)
    silence(str(tmp_path / "maintenance"), 60, manual.clock)
    assert precious.read_text() == "kept"
    assert not (tmp_path / "maintenance").is_symlink()


def test_where_it_cannot_be_written_the_remedy_is_told(tmp_path: Path, manual: ManualClock) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SilenceError, match="run this as root or as the daemon's user"):
        silence(str(tmp_path / "file/maintenance"), 60, manual.clock)
    (tmp_path / "directory").mkdir()
    with pytest.raises(SilenceError, match="run this as root"):
        end_silence(str(tmp_path / "directory"), manual.clock)
