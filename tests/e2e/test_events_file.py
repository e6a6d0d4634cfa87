"""The file of structured events on a disk that fills up, under logrotate, and through kill -9."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.lab import Exporter, Zcs, mount_memory, run, scratch, wait_for
from e2e.product import failure, now, settings


@pytest.fixture
def disk() -> Iterator[Path]:
    place = scratch("events") / "disk"
    mount_memory(place, "64k", user="root")
    yield place
    run("umount", "--lazy", place)


def events(*files: Path) -> list[dict[str, Any]]:
    """All events in these files; a line that is not whole fails the test."""
    return [json.loads(line) for file in files for line in file.read_text("ascii").splitlines()]


def failures(found: list[dict[str, Any]]) -> int:
    return sum(each.get("count", 1) for each in found if each["kind"] == "login_failed")


def test_a_full_disk_a_rotation_and_a_kill_cost_no_event_that_was_told(
    zcs: Zcs, exporter: Callable[..., Exporter], disk: Path
) -> None:
    zcs.set_services("mailbox")
    file, rotated, filler = disk / "events.jsonl", disk / "events.jsonl.1", disk / "filler"
    daemon = exporter(settings(events={"file": str(file)}))
    daemon.start()
    written = 0

    def fail(count: int) -> None:
        nonlocal written
        for number in range(count):
            zcs.append_audit(failure(now(), "203.0.113.9", f"user{written + number}@example.com"))
        written += count

    def told(*files: Path) -> bool:
        return failures(events(*files)) == written

    fail(20)
    wait_for(lambda: told(file), 20, "the first events")
    file.rename(rotated)
    fail(5)
    wait_for(lambda: told(rotated, file), 20, "the events after a rotation")

    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as full:
        while full.write(b"x" * 512):
            pass
    fail(60)
    wait_for(lambda: "make room on its disk" in daemon.log(), 20, "the trouble to be told")
    wait_for(lambda: daemon.value("zcs_exporter_events_waiting", output="file"), 20, "events that wait")
    assert daemon.get("/-/ready")[0] == 200
    filler.unlink()
    wait_for(lambda: told(rotated, file), 20, "the events that waited")
    assert daemon.value("zcs_exporter_events_lost_total", output="file") == 0

    # What the file has before a kill it has after it, and what comes later is numbered above.
    daemon.kill9()
    with file.open("ab") as torn:
        torn.write(b'{"id":1,"time":')
    before = file.read_bytes()
    daemon.start()
    fail(7)

    def goes_on() -> bool:
        lines = file.read_bytes().removeprefix(before).splitlines()[1:]
        return sum(json.loads(line)["kind"] == "login_failed" for line in lines) > 0

    wait_for(goes_on, 20, "events of the next process")
    assert file.read_bytes().startswith(before + b"\n")
    file.write_bytes(file.read_bytes().replace(b'{"id":1,"time":\n', b""))
    wait_for(lambda: told(rotated, file), 20, "all events")
    numbers = [each["id"] for each in events(rotated, file)]
    assert numbers == sorted(set(numbers))
