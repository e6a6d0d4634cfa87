import asyncio
import errno
import os
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from fakes import FakeHost, ManualClock

from collectors.filesystem.collector import SIZE, FilesystemCollector, FilesystemConfig, used_ratio
from zcs_exporter.contract import CollectError, Durable, Finding, Reason, Sample, Shortfall
from zcs_exporter.hostio import FilesystemUsage
from zcs_exporter.runner import Runner

ROOT = "28 1 253:0 / / rw,relatime shared:1 - ext4 /dev/mapper/vg0-root rw"
HOME = "95 28 253:1 / /opt/zimbra rw,relatime shared:2 - xfs /dev/mapper/vg0-zimbra rw"
STORE = "96 95 253:2 / /opt/zimbra/store rw,relatime shared:3 - xfs /dev/mapper/vg0-store rw"
BACKUP = "98 95 0:52 / /opt/zimbra/backup rw,relatime shared:4 - nfs4 nas.example.com:/export/zimbra rw"
TMPFS = "30 28 0:25 / /dev/shm rw shared:5 - tmpfs tmpfs rw"

GIB = 2**30


def usage(used: float, size: int = 1000 * GIB, files_used: float = 0.1, files: int = 1_000_000) -> FilesystemUsage:
    """A file system of which a twentieth is kept for root, ``used`` as df shows it."""
    blocks = size // 4096
    kept = blocks // 20
    taken = round((blocks - kept) * used)
    return FilesystemUsage(
        block_size=4096,
        blocks=blocks,
        blocks_free=blocks - taken,
        blocks_available=blocks - taken - kept,
        files=files,
        files_free=files - round(files * files_used),
        read_only=False,
    )


class HangingHost(FakeHost):
    """A host on which some mounts do not answer until a test lets them."""

    def __init__(self, root: Any) -> None:
        super().__init__(root)
        self.hanging: dict[str, threading.Event] = {}
        self.asked: list[str] = []

    def statvfs(self, mountpoint: str) -> FilesystemUsage:
        self.asked.append(mountpoint)
        if mountpoint in self.hanging:
            self.hanging[mountpoint].wait()
        return super().statvfs(mountpoint)


class OwnHost(HangingHost):
    """A host that believes to be the one the daemon runs on."""

    def __init__(self, root: Any) -> None:
        super().__init__(root)
        self.root = ""

    def path(self, path: str) -> str:
        return f"{self.base}{path}"


@pytest.fixture
def host(tmp_path: Any) -> Iterator[HangingHost]:
    fake = HangingHost(tmp_path / "host")
    fake.localconfig(zimbra_server_hostname="mail.example.com")
    for directory in ("store", "index", "db/data", "redolog", "backup", "data/ldap", "log", "zmstat"):
        (fake.base / "opt/zimbra" / directory).mkdir(parents=True)
    mount(fake, ROOT, HOME, STORE, TMPFS)
    for mountpoint in ("/", "/opt/zimbra", "/opt/zimbra/store", "/opt/zimbra/backup"):
        fake.usage[mountpoint] = usage(0.5)
    yield fake
    for event in fake.hanging.values():
        event.set()


def mount(host: FakeHost, *lines: str) -> None:
    host.write("/proc/1/mountinfo", "".join(f"{line}\n" for line in lines))


def collector(host: FakeHost, manual: ManualClock) -> FilesystemCollector:
    # The least interval makes the wait for a mount that hangs an eighth of a second.
    return FilesystemCollector(FilesystemConfig(interval=1.0), host, manual.clock)


def findings(subject: FilesystemCollector) -> list[Finding]:
    return asyncio.run(subject.collect())


def values(found: list[Finding]) -> dict[tuple[str, ...], float]:
    """Values by metric, without the prefix, and its labels in order."""
    return {
        (one.metric.name.removeprefix("zcs_filesystem_"), *one.labels): one.value
        for one in found
        if isinstance(one, Sample)
    }


def measured(host: FakeHost, manual: ManualClock) -> dict[tuple[str, ...], float]:
    return values(findings(collector(host, manual)))


def roles(found: Mapping[tuple[str, ...], float], mountpoint: str) -> set[str]:
    return {key[2] for key in found if key[:2] == ("role", mountpoint)}


def test_the_used_ratio_leaves_out_what_is_kept_for_root() -> None:
    # df -k: 36029 blocks, 20494 used, 12668 available, 62%
    taken = FilesystemUsage(1024, 36029, 15535, 12668, 200, 138, read_only=False)

    assert used_ratio(taken) == 20494 / (20494 + 12668)


def test_sizes_are_those_of_statvfs(host: HangingHost, manual: ManualClock) -> None:
    host.usage["/"] = FilesystemUsage(1024, 36029, 15535, 12668, 200, 138, read_only=False)
    found = measured(host, manual)
    labels = ("/dev/mapper/vg0-root", "ext4", "/")

    assert found["size_bytes", *labels] == 36029 * 1024
    assert found["free_bytes", *labels] == 15535 * 1024
    assert found["avail_bytes", *labels] == 12668 * 1024
    assert found["files", *labels] == 200
    assert found["files_free", *labels] == 138
    assert found["files_used_ratio", "/"] == 62 / 200


def test_a_file_system_of_unknown_size_has_no_figures(host: HangingHost, manual: ManualClock) -> None:
    host.usage["/opt/zimbra/store"] = FilesystemUsage(4096, 0, 0, 0, 0, 0, read_only=False)
    found = measured(host, manual)

    assert {key[0] for key in found if "/opt/zimbra/store" in key} == {
        "role",
        "vital",
        "readonly",
        "unusable",
        "vanished",
    }


def test_a_file_system_without_fixed_inodes_has_no_inode_series(host: HangingHost, manual: ManualClock) -> None:
    host.usage["/opt/zimbra/store"] = usage(0.5, files=0)
    found = measured(host, manual)

    assert ("used_ratio", "/opt/zimbra/store") in found
    assert [key for key in found if key[0].startswith("files") and "/opt/zimbra/store" in key] == []


def test_memory_and_images_are_left_out(host: HangingHost, manual: ManualClock) -> None:
    snap = "40 28 7:0 / /snap/core/1 ro - squashfs /dev/loop0 ro"
    dvd = "41 28 11:0 / /mnt/dvd ro - iso9660 /dev/sr0 ro"
    mount(host, ROOT, HOME, TMPFS, snap, dvd)

    assert {key[1] for key in measured(host, manual) if key[0] == "used_ratio"} == {"/", "/opt/zimbra"}


def test_whatever_lies_on_a_path_of_zcs_is_measured_whatever_its_type(host: HangingHost, manual: ManualClock) -> None:
    overlay = "28 1 0:30 / / rw - overlay overlay rw,lowerdir=/a"
    zfs = "95 28 0:31 / /opt/zimbra rw - zfs tank/zimbra rw"
    mount(host, overlay, zfs, BACKUP)
    (host.base / "opt/zimbra/log").rmdir()
    os.symlink(host.path("/var/zlog"), host.base / "opt/zimbra/log")
    (host.base / "var/zlog").mkdir(parents=True)
    found = measured(host, manual)

    assert {key[1] for key in found if key[0] == "used_ratio"} == {"/", "/opt/zimbra", "/opt/zimbra/backup"}
    assert roles(found, "/") == {"root", "log"}
    assert roles(found, "/opt/zimbra/backup") == {"backup"}


def test_each_mount_has_the_roles_of_what_zcs_keeps_there(host: HangingHost, manual: ManualClock) -> None:
    found = measured(host, manual)

    assert roles(found, "/opt/zimbra/store") == {"store"}
    assert roles(found, "/opt/zimbra") == {"home", "index", "db", "redolog", "backup", "ldap", "log", "zmstat"}
    assert roles(found, "/") == {"root"}


def test_a_directory_that_localconfig_moved_is_found_there(host: HangingHost, manual: ManualClock) -> None:
    mount(host, ROOT, HOME, "97 28 8:33 / /data rw - xfs /dev/sdc1 rw")
    (host.base / "data/index").mkdir(parents=True)
    host.usage["/data"] = usage(0.2)
    host.localconfig(zimbra_index_directory="/data/index")

    assert roles(measured(host, manual), "/data") == {"index"}


def test_an_unknown_mount_below_the_home_is_measured_but_not_vital(host: HangingHost, manual: ManualClock) -> None:
    mount(host, ROOT, HOME, "97 95 0:60 / /opt/zimbra/hsm1 rw - nfs4 nas.example.com:/hsm rw")
    host.usage["/opt/zimbra/hsm1"] = usage(0.2)
    found = measured(host, manual)

    assert roles(found, "/opt/zimbra/hsm1") == {"other"}
    assert found["vital", "nas.example.com:/hsm", "nfs4", "/opt/zimbra/hsm1"] == 0


def test_bind_mounts_are_one_file_system_with_all_its_roles(host: HangingHost, manual: ManualClock) -> None:
    data = "97 28 8:33 / /data rw - xfs /dev/sdc1 rw"
    bind = "99 95 8:33 /zimbra-store /opt/zimbra/store rw - xfs /dev/sdc1 rw"
    mount(host, ROOT, HOME, data, bind)
    host.usage["/data"] = usage(0.7)
    found = measured(host, manual)

    assert found["used_ratio", "/data"] == pytest.approx(0.7)
    assert roles(found, "/data") == {"store"}
    assert not [key for key in found if "/opt/zimbra/store" in key and key[0] != "vanished"]


def test_a_read_only_bind_mount_below_zcs_is_read_only_for_zcs(host: HangingHost, manual: ManualClock) -> None:
    data = "97 28 8:33 / /data rw - xfs /dev/sdc1 rw"
    bind = "99 95 8:33 /zimbra-store /opt/zimbra/store ro - xfs /dev/sdc1 rw"
    mount(host, ROOT, HOME, data, bind)
    host.usage["/data"] = usage(0.7)

    assert measured(host, manual)["readonly", "/dev/sdc1", "xfs", "/data"] == 1


def test_subvolumes_are_apart_as_df_shows_them(host: HangingHost, manual: ManualClock) -> None:
    mount(
        host,
        "28 1 0:30 /@ / rw - btrfs /dev/sda2 rw",
        "95 28 0:30 /@zimbra /opt/zimbra rw - btrfs /dev/sda2 rw",
    )

    assert {key[1] for key in measured(host, manual) if key[0] == "used_ratio"} == {"/", "/opt/zimbra"}


@pytest.mark.parametrize("excludes", ["/opt/zimbra/store", "/srv:/dev/mapper/vg0-store", " /opt/zimbra/store :"])
def test_what_zcs_excludes_is_measured_and_alarms_nobody(host: HangingHost, manual: ManualClock, excludes: str) -> None:
    host.localconfig(zmstat_df_excludes=excludes)
    host.usage["/opt/zimbra/store"] = usage(0.999, files_used=0.999)
    found = measured(host, manual)
    labels = ("/dev/mapper/vg0-store", "xfs", "/opt/zimbra/store")

    assert found["size_bytes", *labels] > 0
    assert found["vital", *labels] == 0
    about = {key[0] for key in found if "/opt/zimbra/store" in key}
    assert about.isdisjoint({"used_ratio", "files_used_ratio", "urgent", "files_urgent", "full_seconds", "unusable"})


def test_a_read_only_mount_on_which_zcs_does_not_write_cannot_fill(host: HangingHost, manual: ManualClock) -> None:
    mount(host, ROOT, HOME, "97 28 8:33 / /mnt/image ro - udf /dev/sdc1 ro")
    host.usage["/mnt/image"] = usage(1.0)
    found = measured(host, manual)

    assert found["readonly", "/dev/sdc1", "udf", "/mnt/image"] == 1
    assert ("used_ratio", "/mnt/image") not in found


def test_a_vital_mount_that_turned_read_only_is_told_and_keeps_its_ratio(
    host: HangingHost, manual: ManualClock
) -> None:
    mount(host, ROOT, HOME, STORE.replace("vg0-store rw", "vg0-store ro"))
    found = measured(host, manual)
    labels = ("/dev/mapper/vg0-store", "xfs", "/opt/zimbra/store")

    assert (found["readonly", *labels], found["vital", *labels]) == (1, 1)
    assert ("used_ratio", "/opt/zimbra/store") in found


def test_a_hung_mount_holds_up_no_other_and_is_not_asked_twice(host: HangingHost, manual: ManualClock) -> None:
    mount(host, ROOT, HOME, STORE, BACKUP)
    host.hanging["/opt/zimbra/backup"] = threading.Event()
    subject = collector(host, manual)
    first = values(findings(subject))
    second = values(findings(subject))

    assert first == second
    assert first["device_error", "/opt/zimbra/backup", "timeout"] == 1
    assert first["unusable", "/opt/zimbra/backup"] == 1
    assert first["unusable", "/opt/zimbra/store"] == 0
    assert first["used_ratio", "/opt/zimbra/store"] == pytest.approx(0.5)
    assert ("used_ratio", "/opt/zimbra/backup") not in first
    assert host.asked.count("/opt/zimbra/backup") == 1


def test_a_mount_that_answers_again_is_measured_again(host: HangingHost, manual: ManualClock) -> None:
    mount(host, ROOT, HOME, BACKUP)
    event = host.hanging["/opt/zimbra/backup"] = threading.Event()
    subject = collector(host, manual)
    findings(subject)
    del host.hanging["/opt/zimbra/backup"]
    event.set()
    deadline = time.monotonic() + 10
    while (found := values(findings(subject)))["unusable", "/opt/zimbra/backup"] and time.monotonic() < deadline:
        pass

    assert found["unusable", "/opt/zimbra/backup"] == 0
    assert ("used_ratio", "/opt/zimbra/backup") in found


@pytest.mark.parametrize(("number", "reason"), [(errno.EIO, "io"), (errno.ESTALE, "stale"), (errno.ENOTCONN, "other")])
def test_a_failing_mount_is_unusable(host: HangingHost, manual: ManualClock, number: int, reason: str) -> None:
    host.usage["/opt/zimbra/store"] = OSError(number, os.strerror(number))
    found = measured(host, manual)

    assert found["device_error", "/opt/zimbra/store", reason] == 1
    assert found["unusable", "/opt/zimbra/store"] == 1
    assert ("size_bytes", "/dev/mapper/vg0-store", "xfs", "/opt/zimbra/store") not in found


def test_a_mount_that_may_not_be_asked_is_a_shortfall_and_no_failing_disk(
    host: HangingHost, manual: ManualClock
) -> None:
    host.usage["/opt/zimbra/store"] = PermissionError(errno.EACCES, "Permission denied")
    found = findings(collector(host, manual))
    [shortfall] = [one for one in found if isinstance(one, Shortfall)]

    assert shortfall.reason is Reason.PERMISSION
    assert "/opt/zimbra/store" in shortfall.message
    assert "CAP_DAC_READ_SEARCH" in shortfall.remedy
    assert ("unusable", "/opt/zimbra/store") not in values(found)


def test_below_a_foreign_root_a_mount_that_is_missing_is_not_here(host: HangingHost, manual: ManualClock) -> None:
    mount(host, ROOT, HOME, "97 28 8:33 / /srv/elsewhere rw - xfs /dev/sdc1 rw")
    found = measured(host, manual)

    assert not [key for key in found if "/srv/elsewhere" in key]


def test_a_mount_of_this_host_that_the_daemon_cannot_see_is_a_shortfall(tmp_path: Any, manual: ManualClock) -> None:
    own = OwnHost(tmp_path / "host")
    mount(own, ROOT, "97 28 8:33 / /home rw - xfs /dev/sdc1 rw")
    own.usage["/"] = usage(0.5)
    found = findings(collector(own, manual))
    [shortfall] = [one for one in found if isinstance(one, Shortfall)]

    assert "/home" in shortfall.message
    assert "ProtectHome" in shortfall.remedy
    assert values(found)["device_error", "/home", "other"] == 1


@pytest.mark.parametrize(
    ("used", "size", "urgent"),
    [(0.996, 1000 * GIB, 1), (0.96, 1000 * GIB, 0), (0.96, 100 * GIB, 1), (0.2, 6 * GIB, 1)],
)
def test_under_five_gib_on_a_vital_mount_is_urgent(
    host: HangingHost, manual: ManualClock, used: float, size: int, urgent: int
) -> None:
    host.usage["/opt/zimbra/store"] = usage(used, size)

    assert measured(host, manual)["urgent", "/opt/zimbra/store"] == urgent


def test_under_one_percent_of_inodes_on_a_vital_mount_is_urgent(host: HangingHost, manual: ManualClock) -> None:
    host.usage["/opt/zimbra/store"] = usage(0.5, files_used=0.9901)
    host.usage["/opt/zimbra"] = usage(0.5, files_used=0.98)
    found = measured(host, manual)

    assert (found["files_urgent", "/opt/zimbra/store"], found["files_urgent", "/opt/zimbra"]) == (1, 0)


def test_nothing_is_urgent_where_zcs_does_not_write(host: HangingHost, manual: ManualClock) -> None:
    host.usage["/"] = usage(0.999, files_used=0.999)
    found = measured(host, manual)

    assert (found["urgent", "/"], found["files_urgent", "/"]) == (0, 0)


def fill(
    subject: FilesystemCollector, host: FakeHost, manual: ManualClock, hours: float, start: float, rate: float
) -> dict[tuple[str, ...], float]:
    """Let the store fill by ``rate`` of its size an hour, and return what is known at the end."""
    found: dict[tuple[str, ...], float] = {}
    for step in range(int(hours * 12) + 1):
        used = start + rate * step / 12
        host.usage["/opt/zimbra/store"] = usage(used, files_used=used)
        found = values(findings(subject))
        manual.advance(300)
    return found


def test_a_filling_disk_tells_when_it_is_full(host: HangingHost, manual: ManualClock) -> None:
    found = fill(collector(host, manual), host, manual, hours=6.1, start=0.75, rate=0.01)
    left = (1 - 0.75 - 0.01 * 73 / 12) / 0.01 * 3600

    assert found["full_seconds", "/opt/zimbra/store", "space"] == pytest.approx(left, rel=0.02)
    assert found["full_seconds", "/opt/zimbra/store", "inodes"] == pytest.approx(left, rel=0.02)
    assert found["urgent", "/opt/zimbra/store"] == 0
    assert not [key for key in found if key[:2] == ("full_seconds", "/opt/zimbra")]


@pytest.mark.parametrize(("hours", "start"), [(5.5, 0.75), (6.5, 0.5)])
def test_a_forecast_of_days_needs_six_hours_and_seventy_percent(
    host: HangingHost, manual: ManualClock, hours: float, start: float
) -> None:
    found = fill(collector(host, manual), host, manual, hours, start, rate=0.01)

    assert not [key for key in found if key[0] == "full_seconds"]


def test_half_an_hour_of_a_fast_rise_is_urgent(host: HangingHost, manual: ManualClock) -> None:
    found = fill(collector(host, manual), host, manual, hours=0.5, start=0.8, rate=0.1)

    assert found["urgent", "/opt/zimbra/store"] == found["files_urgent", "/opt/zimbra/store"] == 1
    assert found["full_seconds", "/opt/zimbra/store", "space"] == pytest.approx(1.5 * 3600, rel=0.02)


def test_a_volume_of_backups_alone_needs_a_week(host: HangingHost, manual: ManualClock) -> None:
    mount(host, ROOT, HOME, STORE.replace("/opt/zimbra/store", "/opt/zimbra/backup"))
    subject = collector(host, manual)
    for step in range(7 * 24 * 2 + 4):
        host.usage["/opt/zimbra/backup"] = usage(0.75 + 0.0005 * step / 2)
        found = values(findings(subject))
        if step == 24:
            assert ("full_seconds", "/opt/zimbra/backup", "space") not in found
        manual.advance(1800)

    assert found["full_seconds", "/opt/zimbra/backup", "space"] == pytest.approx(0.165 / 0.0005 * 3600, rel=0.05)


def test_a_backup_under_way_forecasts_nothing_but_is_urgent(host: HangingHost, manual: ManualClock) -> None:
    mount(host, ROOT, HOME, STORE.replace("/opt/zimbra/store", "/opt/zimbra/backup"))
    subject = collector(host, manual)
    for step in range(13):
        host.usage["/opt/zimbra/backup"] = usage(0.8 + 0.1 * step / 12)
        found = values(findings(subject))
        manual.advance(300)

    assert found["urgent", "/opt/zimbra/backup"] == 1
    assert ("full_seconds", "/opt/zimbra/backup", "space") not in found


def test_the_past_survives_a_restart(host: HangingHost, manual: ManualClock) -> None:
    before = collector(host, manual)
    assert isinstance(before, Durable)
    expected = fill(before, host, manual, hours=6.1, start=0.75, rate=0.01)
    saved = before.changes()
    after = collector(host, manual)
    after.restore({row: text for row, text in saved.items() if text is not None})
    manual.advance(-300)

    assert values(findings(after)) == expected
    assert {row for row, text in saved.items() if text is None} == set()
    assert before.changes() == {}


def test_a_damaged_row_is_dropped_and_the_rest_is_kept(host: HangingHost, manual: ManualClock) -> None:
    subject = collector(host, manual)
    rows = {"recent / space": "nonsense", "hours / space": "{}", "known /x": "a b", "known": "1", "later row": "1"}
    subject.restore(rows)

    assert subject.changes() == {"recent / space": None, "hours / space": None, "known /x": None}
    assert values(findings(subject))["used_ratio", "/"] == pytest.approx(0.5)


def test_a_mount_point_of_odd_bytes_is_saved_and_found_again(host: HangingHost, manual: ManualClock) -> None:
    line = b"97 28 8:33 / /mnt/\xff\\040x rw - xfs /dev/sdc1 rw"
    host.write("/proc/1/mountinfo", f"{ROOT}\n".encode() + line + b"\n")
    name = os.fsdecode(b"/mnt/\xff x")
    host.usage[name] = usage(0.5)
    subject = collector(host, manual)
    found = values(findings(subject))
    saved = subject.changes()

    assert found["used_ratio", "/mnt/? x"] == pytest.approx(0.5)
    assert "recent /mnt/%FF%20x space" in saved
    assert all(row.isascii() and (text or "").isascii() for row, text in saved.items())


def test_a_mount_of_fstab_below_the_home_that_is_not_mounted_has_vanished(
    host: HangingHost, manual: ManualClock
) -> None:
    host.write(
        "/etc/fstab",
        "/dev/a /opt/zimbra/store xfs defaults 0 0\n/dev/b /opt/zimbra/backup xfs defaults 0 0\n"
        "/dev/c /opt/zimbra/hsm xfs noauto 0 0\n/dev/d /srv xfs defaults 0 0\n",
    )
    found = measured(host, manual)

    assert {key[1]: value for key, value in found.items() if key[0] == "vanished"} == {
        "/opt/zimbra": 0,
        "/opt/zimbra/store": 0,
        "/opt/zimbra/backup": 1,
    }


def test_a_mount_of_fstab_is_known_by_where_its_path_leads(host: HangingHost, manual: ManualClock) -> None:
    (host.base / "data").mkdir()
    (host.base / "opt/zimbra").rename(host.base / "data/zimbra")
    (host.base / "opt/zimbra").symlink_to("../data/zimbra")
    host.write("/etc/fstab", "/dev/sdb1 /opt/zimbra/store xfs defaults 0 2\n")
    subject = collector(host, manual)
    mount(host, ROOT, STORE.replace("/opt/zimbra/store", "/data/zimbra/store"))
    mounted = values(findings(subject))
    mount(host, ROOT)
    gone = values(findings(subject))

    assert [one for one in mounted.items() if one[0][0] == "vanished"] == [(("vanished", "/data/zimbra/store"), 0)]
    assert [one for one in gone.items() if one[0][0] == "vanished"] == [(("vanished", "/data/zimbra/store"), 1)]


def test_a_vital_mount_that_was_there_is_missed_for_a_week(host: HangingHost, manual: ManualClock) -> None:
    subject = collector(host, manual)
    findings(subject)
    manual.advance(3601)
    findings(subject)
    mount(host, ROOT, HOME)
    seen = []
    for _ in range(3):
        seen.append(values(findings(subject)).get(("vanished", "/opt/zimbra/store")))
        manual.advance(4 * 86400)

    assert seen == [1, 1, None]


def test_a_missed_mount_survives_a_restart_and_is_found_when_it_returns(host: HangingHost, manual: ManualClock) -> None:
    subject = collector(host, manual)
    findings(subject)
    manual.advance(3601)
    saved = {row: text for row, text in subject.changes().items() if text is not None}
    mount(host, ROOT, HOME)
    subject = collector(host, manual)
    subject.restore(saved)
    gone = values(findings(subject))["vanished", "/opt/zimbra/store"]
    mount(host, ROOT, HOME, STORE)

    assert (gone, values(findings(subject))["vanished", "/opt/zimbra/store"]) == (1, 0)


def test_a_mount_that_came_and_went_within_the_hour_is_nobodys_loss(host: HangingHost, manual: ManualClock) -> None:
    subject = collector(host, manual)
    findings(subject)
    manual.advance(600)
    mount(host, ROOT, HOME)

    assert ("vanished", "/opt/zimbra/store") not in values(findings(subject))


def test_a_mount_that_fstab_does_not_mount_at_boot_is_not_missed(host: HangingHost, manual: ManualClock) -> None:
    host.write("/etc/fstab", "/dev/mapper/vg0-store /opt/zimbra/store xfs noauto 0 0\n")
    subject = collector(host, manual)
    findings(subject)
    manual.advance(7200)
    mount(host, ROOT, HOME)

    assert ("vanished", "/opt/zimbra/store") not in values(findings(subject))


def test_what_an_automounter_took_away_is_not_missed(host: HangingHost, manual: ManualClock) -> None:
    automount = "97 95 0:70 / /opt/zimbra/backup rw - autofs systemd-1 rw"
    mount(host, ROOT, HOME, automount, BACKUP.replace("98 95", "98 97"))
    host.write("/etc/fstab", "nas.example.com:/export/zimbra /opt/zimbra/backup nfs x-systemd.automount 0 0\n")
    subject = collector(host, manual)
    findings(subject)
    manual.advance(7200)
    mount(host, ROOT, HOME, automount)

    assert values(findings(subject))["vanished", "/opt/zimbra/backup"] == 0


def test_what_an_indirect_automount_holds_is_not_missed(host: HangingHost, manual: ManualClock) -> None:
    (host.base / "opt/zimbra/backup").rmdir()
    (host.base / "auto/backup").mkdir(parents=True)
    (host.base / "opt/zimbra/backup").symlink_to(host.path("/auto/backup"))
    automount = "97 28 0:70 / /auto rw - autofs auto.misc rw"
    mount(host, ROOT, HOME, automount, "98 97 0:52 / /auto/backup rw - nfs4 nas.example.com:/export/zimbra rw")
    host.usage["/auto/backup"] = usage(0.5)
    subject = collector(host, manual)
    before = values(findings(subject))
    manual.advance(7200)
    mount(host, ROOT, HOME, automount)

    assert roles(before, "/auto/backup") == {"backup"}
    assert ("vanished", "/auto/backup") not in values(findings(subject))


def test_the_passive_node_of_a_cluster_misses_nothing(host: HangingHost, manual: ManualClock) -> None:
    subject = collector(host, manual)
    findings(subject)
    manual.advance(7200)
    mount(host, ROOT)
    (host.base / "opt/zimbra").rename(host.base / "opt/elsewhere")
    found = values(findings(subject))

    assert not [key for key in found if key[0] == "vanished"]


def test_without_the_first_process_the_daemons_own_view_serves_and_says_so(
    host: HangingHost, manual: ManualClock
) -> None:
    (host.base / "proc/1/mountinfo").unlink()
    own = [ROOT, HOME.replace("rw,relatime", "ro,relatime"), STORE.replace("vg0-store rw", "vg0-store ro")]
    host.write("/proc/self/mountinfo", "".join(f"{line}\n" for line in own))
    found = findings(collector(host, manual))
    [shortfall] = [one for one in found if isinstance(one, Shortfall)]
    read_only = {key[3]: value for key, value in values(found).items() if key[0] == "readonly"}

    assert "/proc/1/mountinfo" in shortfall.message
    # A unit's own view is read-only by its sandbox; only what the file system itself says counts.
    assert read_only == {"/opt/zimbra/store": 1}


def test_without_any_mountinfo_it_is_an_error(host: HangingHost, manual: ManualClock) -> None:
    (host.base / "proc/1/mountinfo").unlink()

    with pytest.raises(CollectError, match="/proc/self/mountinfo") as caught:
        findings(collector(host, manual))

    assert caught.value.reason is Reason.UNAVAILABLE


def test_an_empty_mountinfo_is_an_error_and_not_a_host_without_disks(host: HangingHost, manual: ManualClock) -> None:
    mount(host)

    with pytest.raises(CollectError, match="no mounts"):
        findings(collector(host, manual))


def test_a_damaged_localconfig_costs_the_exclusions_only(host: HangingHost, manual: ManualClock) -> None:
    host.write("/opt/zimbra/conf/localconfig.xml", "<localconfig")
    found = findings(collector(host, manual))
    [shortfall] = [one for one in found if isinstance(one, Shortfall)]

    assert shortfall.reason is Reason.PARSE
    assert "zmstat_df_excludes" in shortfall.message
    assert values(found)["used_ratio", "/opt/zimbra/store"] == pytest.approx(0.5)


def test_a_host_without_zcs_has_disks_too(host: HangingHost, manual: ManualClock) -> None:
    (host.base / "opt/zimbra").rename(host.base / "opt/other")
    mount(host, ROOT)
    found = measured(host, manual)

    assert found["used_ratio", "/"] == pytest.approx(0.5)
    assert found["vital", "/dev/mapper/vg0-root", "ext4", "/"] == 0


def test_every_sample_is_declared(host: HangingHost, manual: ManualClock) -> None:
    mount(host, ROOT, HOME, STORE, BACKUP)
    host.usage["/opt/zimbra/backup"] = OSError(errno.EIO, "I/O error")
    found = findings(collector(host, manual))

    assert {one.metric for one in found if isinstance(one, Sample)} <= set(FilesystemCollector.metrics)


def test_of_too_many_mounts_those_of_zcs_and_the_root_are_kept_and_others_named(
    host: HangingHost, manual: ManualClock
) -> None:
    others = [f"{200 + n} 28 7:{n} / /app/{n:03} rw - ext4 /dev/loop{n} rw" for n in range(SIZE.max_series + 5)]
    mount(host, *others, ROOT, HOME, STORE)
    for number in range(len(others)):
        host.usage[f"/app/{number:03}"] = usage(0.5)
    found = asyncio.run(
        Runner(collector(host, manual), 15.0, required=False, clock=manual.clock, deliver=print).attempt()
    )

    assert found.error is None
    kept = {one.labels[-1] for one in found.samples if one.metric is SIZE}
    assert {"/", "/opt/zimbra", "/opt/zimbra/store"} < kept
    assert (len(kept), found.dropped[SIZE.name]) == (SIZE.max_series, 8)
    (said,) = found.shortfalls
    assert 'mountpoint="/app/197"} and 7 more' in said.message
