import asyncio
import os
import shutil
import struct
from datetime import datetime
from pathlib import Path

import pytest
from fakes import FakeHost, ManualClock

from collectors.formats.hsperfdata import parse_hsperfdata
from collectors.jvm.collector import JvmCollector, JvmConfig
from collectors.jvm.processes import jvm_of
from collectors.jvm.state import make_plan, state_from_hsperfdata
from zcs_exporter.contract import GRANT, CollectError, Finding, NotOnThisHost, Reason, Sample, Shortfall

FIXTURES = Path(__file__).parents[2] / "fixtures"
GCS = ("serial", "parallel", "g1", "z", "shenandoah")
REAL = {gc: (FIXTURES / "hsperfdata" / f"openjdk-17-{gc}.bin").read_bytes() for gc in GCS}
CSV = "/opt/zimbra/zmstat/mailboxd.csv"
CMS_HEADER, CMS_ROW = (FIXTURES / "zmstat" / "zcs-8.0-mailboxd-cms.csv").read_text().splitlines()
G1_HEADER, G1_ROW, _ = (FIXTURES / "zmstat" / "zcs-10.0-mailboxd-g1.csv").read_text().splitlines()

BOOT = 1_709_300_000
TICKS = 5000
STARTED = BOOT + TICKS / os.sysconf("SC_CLK_TCK")
PID = 4711
MAILBOXD = (
    "/opt/zimbra/common/bin/java",
    "-Dsecret=hunter2",
    "-jar",
    "start.jar",
    "/opt/zimbra/mailboxd/etc/jetty.xml",
)
ZMCONFIGD = ("/opt/zimbra/common/bin/java", "org.python.util.jython", "/opt/zimbra/libexec/zmconfigd")
LICENSE = ("/opt/zimbra/common/bin/java", "-jar", "/opt/zimbra/license/lib/app.jar")


def perf(gc: str = "g1", started: float = STARTED, **counters: float) -> bytes:
    """Return a real file with some counters changed, dots in their names written as double underscores."""
    data = bytearray(REAL[gc])
    numbers = parse_hsperfdata(REAL[gc]).layout.numbers
    struct.pack_into("<q", data, numbers["sun.rt.createVmBeginTime"], round(started * 1000))
    for name, value in counters.items():
        struct.pack_into("<q", data, numbers[name.replace("__", ".")], round(value))
    return bytes(data)


class Scene:
    """A mailbox host and the collector that looks at it."""

    def __init__(self, host: FakeHost, manual: ManualClock, config: JvmConfig | None = None) -> None:
        self.host = host
        self.manual = manual
        host.add_process(1, "systemd", "/sbin/init", uid=0)
        host.services("mailbox")
        self.collector = JvmCollector(config or JvmConfig(), host, manual.clock)

    def start(self, pid: int = PID, *argv: str, data: bytes | None = None, start_ticks: int = TICKS) -> None:
        """Start a JVM whose file is that of root; mailboxd also gets its pid file."""
        self.host.add_process(pid, "java", *(argv or MAILBOXD), uid=os.geteuid(), start_ticks=start_ticks)
        if not argv:
            self.host.write("/opt/zimbra/log/zmmailboxd_java.pid", f"{pid}\n")
        if data is not None:
            self.put(data, pid)

    def put(self, data: bytes, pid: int = PID) -> None:
        """Change the counters in place, as a JVM does."""
        path = self.host.base / f"tmp/hsperfdata_root/{pid}"
        if path.exists():
            with path.open("r+b") as file:
                file.write(data)
        else:
            self.host.write(f"/tmp/hsperfdata_root/{pid}", data, 0o600)

    def stop(self, pid: int = PID) -> None:
        for name in ("stat", "cmdline", "status"):
            (self.host.base / f"proc/{pid}/{name}").unlink()

    def findings(self) -> list[Finding]:
        return list(asyncio.run(self.collector.collect()))

    def shortfalls(self) -> list[Shortfall]:
        return [finding for finding in self.findings() if isinstance(finding, Shortfall)]

    def values(self) -> dict[tuple[str, ...], float]:
        """Return values by name and labels, none twice."""
        samples = [finding for finding in self.findings() if isinstance(finding, Sample)]
        values = {(sample.metric.name + sample.suffix, *sample.labels): sample.value for sample in samples}
        assert len(values) == len(samples)
        assert all(sample.metric in JvmCollector.metrics for sample in samples)
        return values


@pytest.fixture
def scene(host: FakeHost, manual: ManualClock) -> Scene:
    return Scene(host, manual)


def jstat(gc: str, option: str) -> dict[str, float]:
    header, row = (FIXTURES / "hsperfdata" / f"openjdk-17-{gc}.jstat-{option}.txt").read_text().splitlines()
    return {name: float(text) for name, text in zip(header.split(), row.split(), strict=True) if text != "-"}


COLUMNS = {
    "serial": {"YGC": "young", "FGC": "full"},
    "parallel": {"YGC": "young", "FGC": "full"},
    "g1": {"YGC": "young", "FGC": "full", "CGC": "concurrent"},
    "z": {"CGC": "concurrent"},
    "shenandoah": {"YGC": "young", "FGC": "concurrent"},
}
"""Which label shows what jstat shows in a column, for each collector it has."""


@pytest.mark.parametrize("gc", GCS)
def test_every_pool_and_collector_equals_jstat(scene: Scene, gc: str) -> None:
    scene.start(data=perf(gc))
    values = scene.values()
    shown = jstat(gc, "gc")
    pools = {"eden": ("EC", "EU"), "old": ("OC", "OU"), "metaspace": ("MC", "MU"), "class_space": ("CCSC", "CCSU")}

    for pool, (capacity, used) in pools.items():
        for column, metric in ((capacity, "committed"), (used, "used")):
            value = values.get((f"jvm_memory_pool_{metric}_bytes", "mailboxd", pool))
            assert (None if value is None else round(value / 1024, 1)) == shown.get(column), (pool, column)
    for suffix, metric in (("C", "committed"), ("U", "used")):
        parts = [shown[f"S{number}{suffix}"] for number in (0, 1) if f"S{number}{suffix}" in shown]
        value = values.get((f"jvm_memory_pool_{metric}_bytes", "mailboxd", "survivor"))
        assert (None if value is None else round(value / 1024, 1)) == (sum(parts) if parts else None)
    kinds = {key[2] for key in values if key[0] == "jvm_gc_collection_seconds_count"}
    assert kinds == set(COLUMNS[gc].values())
    for column, kind in COLUMNS[gc].items():
        assert values["jvm_gc_collection_seconds_count", "mailboxd", kind] == shown[column]
        assert round(values["jvm_gc_collection_seconds_sum", "mailboxd", kind], 3) == shown[f"{column}T"]


@pytest.mark.parametrize("gc", GCS)
def test_used_by_committed_equals_jstat_gcutil(scene: Scene, gc: str) -> None:
    scene.start(data=perf(gc))
    values = scene.values()
    shown = jstat(gc, "gcutil")

    for column, pool in (("E", "eden"), ("O", "old"), ("M", "metaspace"), ("CCS", "class_space")):
        if column in shown:
            used = values["jvm_memory_pool_used_bytes", "mailboxd", pool]
            committed = values["jvm_memory_pool_committed_bytes", "mailboxd", pool]
            assert round(100 * used / committed, 2) == shown[column]


@pytest.mark.parametrize("gc", GCS)
def test_the_heap_may_grow_to_its_xmx_whichever_way_the_collector_counts(scene: Scene, gc: str) -> None:
    scene.start(data=perf(gc))
    values = scene.values()

    # G1 adds a word to each size so that none is 0.
    assert values["jvm_memory_max_bytes", "mailboxd", "heap"] == pytest.approx(256 << 20, abs=8)
    used = sum(values.get(("jvm_memory_pool_used_bytes", "mailboxd", pool), 0) for pool in ("eden", "survivor", "old"))
    assert values["jvm_memory_used_bytes", "mailboxd", "heap"] == used


def test_a_pool_of_g1_has_no_maximum_but_that_of_the_heap(scene: Scene) -> None:
    scene.start(data=perf("g1"))
    values = scene.values()

    maxima = {key[2] for key in values if key[0] == "jvm_memory_pool_max_bytes"}
    assert maxima == {"old", "metaspace", "class_space"}


def test_threads_classes_safepoints_and_start_are_told(scene: Scene) -> None:
    scene.start(data=perf("serial"))
    values = scene.values()

    assert values["jvm_threads_current", "mailboxd"] == 6
    assert values["jvm_threads_daemon", "mailboxd"] == 5
    assert values["jvm_threads_peak", "mailboxd"] == 6
    assert values["jvm_classes_currently_loaded", "mailboxd"] == 418
    assert values["jvm_classes_loaded_total", "mailboxd"] == 418
    assert values["zcs_jvm_safepoints_total", "mailboxd"] == 26
    assert values["zcs_jvm_safepoint_seconds_total", "mailboxd"] == 0.521979627
    assert values["zcs_jvm_start_time_seconds", "mailboxd"] == STARTED
    assert values["zcs_jvm_hsperfdata_overflow_bytes", "mailboxd"] == 0
    assert (
        "jvm_runtime_info",
        "mailboxd",
        "17.0.21.1+2-1-deb12u1-Debian",
        "Debian",
        "OpenJDK 64-Bit Server VM",
    ) in values


def test_no_command_line_leaves_the_collector(scene: Scene) -> None:
    scene.start(data=perf())
    scene.start(4712, *LICENSE, "-Dsecret=hunter2", "-XX:-UsePerfData")
    scene.host.services("mailbox", "license-daemon")

    assert "hunter2" not in repr(scene.findings())


def test_without_zcs_there_is_nothing_to_watch(tmp_path: Path, manual: ManualClock) -> None:
    with pytest.raises(NotOnThisHost, match=r"/opt/zimbra/conf/localconfig\.xml"):
        asyncio.run(JvmCollector(JvmConfig(), FakeHost(tmp_path), manual.clock).collect())


def test_a_jvm_that_should_run_and_does_not_is_down_and_one_that_need_not_is_absent(scene: Scene) -> None:
    assert scene.values() == {("zcs_jvm_up", "mailboxd"): 0, ("zcs_jvm_up", "zmconfigd"): 0}


def test_every_enabled_service_of_java_is_expected(scene: Scene) -> None:
    scene.host.services("mailbox", "imapd", "license-daemon", "mta")

    assert {key[1] for key in scene.values()} == {"mailboxd", "zmconfigd", "imapd", "license"}


def test_without_the_list_of_services_only_what_runs_is_told_and_the_rest_is_said(scene: Scene) -> None:
    (scene.host.base / "opt/zimbra/conf/stats.conf").unlink()
    scene.start(data=perf())

    assert {key[1] for key in scene.values()} == {"mailboxd"}
    (shortfall,) = scene.shortfalls()
    assert "stats.conf" in shortfall.message
    assert shortfall.remedy == GRANT


def test_a_host_without_a_readable_proc_is_an_error(scene: Scene) -> None:
    shutil.rmtree(scene.host.base / "proc")

    with pytest.raises(CollectError, match="listing /proc"):
        scene.findings()


@pytest.mark.parametrize(
    ("comm", "state", "argv"),
    [("sshd", "S", MAILBOXD), ("java", "Z", ()), ("java", "S", LICENSE), ("java", "S", ZMCONFIGD)],
)
def test_a_stale_pid_file_is_not_believed(scene: Scene, comm: str, state: str, argv: tuple[str, ...]) -> None:
    scene.host.add_process(PID, comm, *argv, state=state)
    scene.host.write("/opt/zimbra/log/zmmailboxd_java.pid", f"{PID}\n")

    assert scene.values()["zcs_jvm_up", "mailboxd"] == 0


@pytest.mark.parametrize("content", ["", "x", "-1", "0", "4711 4712", "9" * 40])
def test_a_pid_file_that_holds_no_pid_is_ignored(scene: Scene, content: str) -> None:
    scene.host.write("/opt/zimbra/log/zmmailboxd_java.pid", content)

    assert scene.values()["zcs_jvm_up", "mailboxd"] == 0


def test_without_a_pid_file_a_jvm_is_known_by_its_command_line(scene: Scene) -> None:
    scene.host.services("mailbox", "license-daemon")
    scene.start(4711, *MAILBOXD)
    scene.start(4712, *LICENSE)
    scene.start(4713, *ZMCONFIGD)
    for _ in range(2):
        values = scene.values()
        assert [values["zcs_jvm_up", jvm] for jvm in ("mailboxd", "license", "zmconfigd")] == [1, 1, 1]


def test_a_license_daemon_is_watched_even_where_the_service_is_not_named(scene: Scene) -> None:
    scene.host.write("/opt/zimbra/license/lib/app.jar", "")
    scene.start(4712, *LICENSE, data=perf())

    assert scene.values()["zcs_jvm_up", "license"] == 1


def test_a_jvm_with_an_unknown_command_line_counts_by_its_pid_file_alone(scene: Scene) -> None:
    scene.host.add_process(99, "java", "/usr/bin/java", "com.example.Milter")
    scene.host.write("/opt/zimbra/log/milter.pid", "99\n")

    assert scene.values()["zcs_jvm_up", "other"] == 1


def test_one_process_is_one_jvm_whatever_the_pid_files_say(scene: Scene) -> None:
    scene.host.add_process(99, "java", "/usr/bin/java", "com.example.Milter")
    scene.host.write("/opt/zimbra/log/milter.pid", "99\n")
    scene.host.write("/opt/zimbra/log/imapd.pid", "99\n")
    values = scene.values()

    assert values["zcs_jvm_up", "imapd"] == 1
    assert ("zcs_jvm_up", "other") not in values


def test_the_number_of_a_jvm_found_before_may_be_a_strangers_now(scene: Scene) -> None:
    scene.start(4713, *ZMCONFIGD)
    scene.values()
    scene.host.add_process(4713, "java", "/usr/bin/java", "com.example.Tomcat")

    assert scene.values()["zcs_jvm_up", "zmconfigd"] == 0


@pytest.mark.parametrize(
    ("argv", "jvm"),
    [
        (MAILBOXD, "mailboxd"),
        (ZMCONFIGD, "zmconfigd"),
        (LICENSE, "license"),
        (("/opt/zimbra/common/bin/java", "com.zimbra.cs.imap.ImapDaemon"), "imapd"),
        (("/opt/zimbra/common/bin/java", "com.zimbra.cs.account.ProvUtil"), None),
        (("/usr/bin/java", "org.python.util.jython"), None),
        ((), None),
    ],
)
def test_a_command_line_names_its_jvm(argv: tuple[str, ...], jvm: str | None) -> None:
    assert jvm_of(argv, "/opt/zimbra") == jvm


def test_processes_that_proc_hides_are_not_down(scene: Scene) -> None:
    scene.stop(1)

    assert scene.values() == {}
    (shortfall,) = scene.shortfalls()
    assert shortfall.reason is Reason.PERMISSION
    assert "hidepid" in shortfall.remedy


def test_a_jvm_that_cannot_be_seen_from_a_foreign_pid_namespace_is_not_down(scene: Scene) -> None:
    scene.host.write("/proc/self/ns/pid", "")

    assert scene.values() == {}
    (shortfall,) = scene.shortfalls()
    assert (shortfall.reason, "--pid=host" in shortfall.remedy) == (Reason.PERMISSION, True)


def test_in_a_container_that_shows_another_program_of_zcs_a_jvm_that_is_not_seen_is_down(scene: Scene) -> None:
    scene.host.write("/proc/self/ns/pid", "")
    scene.host.add_process(4300, "slapd", "/opt/zimbra/common/libexec/slapd", "-l", "LOCAL0")

    assert scene.values()["zcs_jvm_up", "mailboxd"] == 0


def test_a_reader_of_its_logs_is_no_program_of_zcs(scene: Scene) -> None:
    scene.host.write("/proc/self/ns/pid", "")
    scene.host.add_process(4300, "tail", "tail", "-f", "/opt/zimbra/log/mailbox.log")

    assert scene.values() == {}


def test_a_jvm_that_was_seen_from_its_container_is_down_when_it_is_gone(scene: Scene) -> None:
    scene.host.write("/proc/self/ns/pid", "")
    scene.start(data=perf())
    scene.values()
    scene.stop()

    assert scene.values()["zcs_jvm_up", "mailboxd"] == 0


def test_what_a_killed_jvm_left_behind_is_not_taken_for_a_new_one_with_its_number(scene: Scene) -> None:
    scene.start(data=perf(started=STARTED - 3600))
    values = scene.values()

    assert values["zcs_jvm_up", "mailboxd"] == 1
    assert values["zcs_jvm_hsperfdata_available", "mailboxd"] == 0
    assert ("jvm_threads_current", "mailboxd") not in values


def test_a_jvm_is_known_by_its_age_where_the_wall_clock_was_stepped(scene: Scene) -> None:
    age = 7200
    scene.host.write("/proc/uptime", f"{age + TICKS / os.sysconf('SC_CLK_TCK'):.2f} 1.00\n")
    scene.start(data=perf(started=STARTED - 3600, sun__os__hrt__ticks=age * 1e9))

    assert scene.values()["zcs_jvm_hsperfdata_available", "mailboxd"] == 1


def test_a_genuine_file_is_found_behind_one_left_by_another_user(scene: Scene) -> None:
    scene.start(data=perf(started=STARTED - 3600))
    scene.host.write(f"/tmp/hsperfdata_zimbra/{PID}", perf("serial"))

    assert scene.values()["zcs_jvm_hsperfdata_available", "mailboxd"] == 1


def test_a_file_deleted_by_a_cleaner_is_read_on_while_its_jvm_lives(scene: Scene) -> None:
    scene.start(data=perf())
    scene.values()
    (scene.host.base / f"tmp/hsperfdata_root/{PID}").unlink()

    assert scene.values()["jvm_threads_current", "mailboxd"] == 6


@pytest.mark.parametrize("pid", [PID, 4800])
def test_a_restarted_jvm_has_a_new_file_even_under_its_old_number_and_a_gone_one_no_series(
    scene: Scene, pid: int
) -> None:
    scene.start(data=perf())
    scene.values()
    scene.stop()
    gone = scene.values()
    ticks = TICKS + 6000
    started = BOOT + ticks / os.sysconf("SC_CLK_TCK")
    scene.host.write(f"/tmp/hsperfdata_root/{pid}", perf(started=started, java__threads__live=9))
    scene.start(pid, start_ticks=ticks)

    assert {key[0] for key in gone} == {"zcs_jvm_up"}
    assert scene.values()["jvm_threads_current", "mailboxd"] == 9


@pytest.mark.parametrize("switch", ["-XX:-UsePerfData", "-XX:+PerfDisableSharedMem"])
def test_a_jvm_told_not_to_share_its_counters_is_up_and_the_switch_is_named(scene: Scene, switch: str) -> None:
    scene.host.services("mta")
    scene.start(4713, *ZMCONFIGD, switch)
    (scene.host.base / "tmp").mkdir()

    assert scene.values() == {("zcs_jvm_up", "zmconfigd"): 1, ("zcs_jvm_hsperfdata_available", "zmconfigd"): 0}
    (shortfall,) = scene.shortfalls()
    assert switch in shortfall.message
    assert switch in shortfall.remedy


def test_a_missing_file_is_a_shortfall_with_a_remedy(scene: Scene) -> None:
    scene.host.services("mta")
    scene.start(4713, *ZMCONFIGD)
    (scene.host.base / "tmp").mkdir()

    (shortfall,) = scene.shortfalls()
    assert shortfall.message == "zmconfigd: there is no /tmp/hsperfdata_*/4713 of this process"
    assert "PrivateTmp=no" in shortfall.remedy


def test_a_broken_file_takes_only_its_own_jvm_and_is_opened_again(scene: Scene) -> None:
    scene.start(data=b"\0" * 8192)
    scene.start(4713, *ZMCONFIGD, data=perf("serial"))

    values = scene.values()
    assert values["zcs_jvm_hsperfdata_available", "mailboxd"] == 0
    assert values["jvm_threads_current", "zmconfigd"] == 6
    scene.put(perf())
    assert scene.values()["jvm_threads_current", "mailboxd"] == 6


def test_a_process_restarted_between_two_looks_under_its_old_number_is_another(scene: Scene) -> None:
    scene.start(data=perf())
    scene.values()
    ticks = TICKS + 6000
    started = BOOT + ticks / os.sysconf("SC_CLK_TCK")
    scene.host.write(f"/tmp/hsperfdata_root/{PID}", perf(started=started, java__threads__live=9))
    scene.start(start_ticks=ticks)

    assert scene.values()["jvm_threads_current", "mailboxd"] == 9


def test_a_file_that_breaks_while_it_is_held_is_opened_again(scene: Scene) -> None:
    scene.start(data=perf())
    scene.values()
    scene.put(b"\0" * 8192)
    broken = scene.values()
    scene.host.write(f"/tmp/hsperfdata_root/{PID}", perf())

    assert ("jvm_threads_current", "mailboxd") not in broken
    assert scene.values()["jvm_threads_current", "mailboxd"] == 6


def test_counters_without_a_heap_are_an_error() -> None:
    data = REAL["z"].replace(b"sun.gc.generation.1.space.0.used", b"sun.gc.generation.1.space.0.xxxx")

    with pytest.raises(CollectError, match="no old generation"):
        make_plan(parse_hsperfdata(data))


@pytest.mark.parametrize("name", [b"sun.gc.collector.0.time", b"sun.gc.generation.0.space.1.capacity"])
def test_half_a_pair_of_counters_is_an_error_that_names_the_other(name: bytes) -> None:
    data = parse_hsperfdata(REAL["serial"].replace(name, name[:-1] + b"_"))

    with pytest.raises(CollectError, match=name.decode()):
        state_from_hsperfdata(data, make_plan(data))


def test_collectors_of_one_kind_are_added_up() -> None:
    data = parse_hsperfdata(REAL["serial"].replace(b"Serial ", b"Cereal "))

    (both,) = state_from_hsperfdata(data, make_plan(data)).collections.values()
    assert both.count == 23 + 3


def test_a_collector_nobody_knows_is_other() -> None:
    data = parse_hsperfdata(REAL["serial"].replace(b"Serial young collection", b"Cereal young collection"))
    state = state_from_hsperfdata(data, make_plan(data))

    assert state.collections["other"].count == 23
    assert state.paused == data.seconds("sun.rt.safepointTime")


PAUSES = "sun__gc__collector__0__time"


def test_the_share_of_time_in_collection_is_unknown_until_its_window_is_full(scene: Scene) -> None:
    seen = []
    for step in range(21):
        scene.put(perf("serial", **{PAUSES: step * 6e9}))
        scene.start()
        seen.append(scene.values().get(("zcs_jvm_gc_time_ratio", "mailboxd")))
        scene.manual.advance(15)

    assert seen[:20] == [None] * 20
    assert seen[20] == pytest.approx(6 / 15)


def test_the_share_is_that_of_the_last_window_only(host: FakeHost, manual: ManualClock) -> None:
    scene = Scene(host, manual, JvmConfig(gc_window=30.0))
    scene.start()
    for seconds in (0, 15, 30, 30, 30):
        scene.put(perf("serial", **{PAUSES: seconds * 1e9}))
        share = scene.values().get(("zcs_jvm_gc_time_ratio", "mailboxd"))
        manual.advance(15)

    assert share == 0


def test_the_share_names_the_last_cause_as_evidence(host: FakeHost, manual: ManualClock) -> None:
    scene = Scene(host, manual, JvmConfig(gc_window=15.0))
    scene.start(data=perf("serial"))
    scene.values()
    manual.advance(15)

    (sample,) = [s for s in scene.findings() if isinstance(s, Sample) and s.metric.name == "zcs_jvm_gc_time_ratio"]
    assert [item.value for item in sample.evidence] == ["last cause: Allocation Failure"]


@pytest.mark.parametrize("gc", ["z", "shenandoah"])
def test_where_collections_run_beside_the_program_only_their_pauses_count(
    host: FakeHost, manual: ManualClock, gc: str
) -> None:
    scene = Scene(host, manual, JvmConfig(gc_window=100.0))
    pauses = "sun__gc__collector__2__time" if gc == "z" else "sun__rt__safepointTime"
    scene.start(data=perf(gc, **{pauses: 0}))
    scene.values()
    manual.advance(100)
    scene.put(perf(gc, **{pauses: 20e9}))

    assert scene.values()["zcs_jvm_gc_time_ratio", "mailboxd"] == pytest.approx(0.2)


def test_a_restart_begins_a_new_window(host: FakeHost, manual: ManualClock) -> None:
    scene = Scene(host, manual, JvmConfig(gc_window=15.0))
    scene.start(data=perf("serial", **{PAUSES: 900e9}))
    scene.values()
    manual.advance(15)
    scene.stop()
    ticks = TICKS + 6000
    started = BOOT + ticks / os.sysconf("SC_CLK_TCK")
    scene.start(4800, data=perf("serial", started, **{PAUSES: 901e9}), start_ticks=ticks)

    assert ("zcs_jvm_gc_time_ratio", "mailboxd") not in scene.values()


def test_a_counter_that_falls_begins_a_new_window(host: FakeHost, manual: ManualClock) -> None:
    scene = Scene(host, manual, JvmConfig(gc_window=15.0))
    scene.start(data=perf("serial", **{PAUSES: 900e9}))
    scene.values()
    manual.advance(15)
    scene.put(perf("serial", **{PAUSES: 1e9}))

    assert ("zcs_jvm_gc_time_ratio", "mailboxd") not in scene.values()


OLD = "sun__gc__generation__1__space__0__used"
YOUNG_COUNT, FULL_COUNT = "sun__gc__collector__0__invocations", "sun__gc__collector__1__invocations"


def old_after_gc(scene: Scene, gc: str, **counters: float) -> float | None:
    scene.put(perf(gc, **counters))
    scene.start()
    return scene.values().get(("zcs_jvm_old_after_gc_ratio", "mailboxd"))


def test_the_old_generation_is_judged_only_after_a_collection_that_could_empty_it(scene: Scene) -> None:
    limit = 179_306_496  # its maxCapacity
    states = [(10, 3, 0.99), (11, 3, 0.99), (11, 4, 0.50), (12, 4, 0.95), (13, 5, 0.92)]
    seen = [
        old_after_gc(scene, "parallel", **{YOUNG_COUNT: young, FULL_COUNT: full, OLD: used * limit})
        for young, full, used in states
    ]

    assert seen[:2] == [None, None]
    assert seen[2:] == [pytest.approx(0.5), pytest.approx(0.5), pytest.approx(0.92)]


def test_with_g1_each_collection_shows_the_old_generation_against_the_whole_heap(scene: Scene) -> None:
    states = [(10, 0.99), (11, 0.95), (11, 0.93), (12, 0.96)]
    seen = [old_after_gc(scene, "g1", **{YOUNG_COUNT: young, OLD: used * (256 << 20)}) for young, used in states]

    assert seen[0] is None
    assert seen[1:] == [pytest.approx(value, abs=1e-6) for value in (0.95, 0.93, 0.96)]


class Barred(Scene):
    """A host where root's files may not be opened."""

    class Host(FakeHost):
        def path(self, path: str) -> str:
            if path.startswith("/tmp/hsperfdata_root"):
                raise PermissionError(13, "Permission denied")
            return super().path(path)


@pytest.fixture
def barred(host: FakeHost, manual: ManualClock) -> Scene:
    scene = Scene(Barred.Host(host.base), manual)
    scene.start()
    return scene


def stamped(row: str, at: float) -> str:
    return datetime.fromtimestamp(at).strftime("%m/%d/%Y %H:%M:%S") + row[row.index(",") :] + "\n"


def test_where_the_file_may_not_be_read_mailboxd_csv_answers_and_it_is_said(barred: Scene) -> None:
    barred.host.write(CSV, f"{CMS_HEADER}\n" + stamped(CMS_ROW, barred.manual.now - 40))
    values = barred.values()

    assert values["zcs_jvm_up", "mailboxd"] == 1
    assert values["zcs_jvm_hsperfdata_available", "mailboxd"] == 0
    assert values["jvm_memory_pool_used_bytes", "mailboxd", "old"] == 216226736
    assert values["jvm_memory_pool_committed_bytes", "mailboxd", "eden"] == 83049792 + 24429248
    assert values["jvm_memory_used_bytes", "mailboxd", "heap"] == 312645872
    assert values["jvm_memory_committed_bytes", "mailboxd", "heap"] == 312645872 + 210855696
    assert values["jvm_gc_collection_seconds_count", "mailboxd", "young"] == 29250
    assert values["jvm_gc_collection_seconds_sum", "mailboxd", "concurrent"] == 103.802
    assert {key[2] for key in values if key[0] == "jvm_memory_pool_used_bytes"} == {"code", "eden", "old", "survivor"}
    assert not [key for key in values if "max_bytes" in key[0] or "threads" in key[0]]
    (shortfall,) = barred.shortfalls()
    assert shortfall.reason is Reason.PERMISSION
    assert shortfall.remedy == GRANT
    assert f"opening /tmp/hsperfdata_root/{PID}: Permission denied" in shortfall.message
    assert CSV in shortfall.message


def test_under_g1_full_collections_are_full_and_code_heaps_one_pool(barred: Scene) -> None:
    barred.host.write(CSV, f"{G1_HEADER}\n" + stamped(G1_ROW, barred.manual.now - 40))
    values = barred.values()

    assert {key[2] for key in values if key[0] == "jvm_gc_collection_seconds_count"} == {"young", "full"}
    assert values["jvm_gc_collection_seconds_count", "mailboxd", "full"] == 3
    assert values["jvm_gc_collection_seconds_sum", "mailboxd", "young"] == 301.2
    assert values["jvm_memory_pool_used_bytes", "mailboxd", "code"] == 91_400_000
    assert values["jvm_memory_pool_committed_bytes", "mailboxd", "code"] == 95_500_000
    assert values["jvm_memory_pool_used_bytes", "mailboxd", "metaspace"] == 150_000_000


def test_rows_of_the_csv_measure_both_ratios_by_when_they_arrive(host: FakeHost, manual: ManualClock) -> None:
    scene = Scene(Barred.Host(host.base), manual, JvmConfig(gc_window=90.0))
    scene.start()
    scene.host.write(CSV, f"{G1_HEADER}\n")
    seen = []
    for minute, milliseconds in enumerate((301200, 322200, 322200)):
        row = G1_ROW.replace(",8210,301200,", f",{8210 + minute},{milliseconds},")
        with (scene.host.base / CSV.lstrip("/")).open("a") as file:
            file.write(stamped(row, manual.now))
        for _ in range(4):
            values = scene.values()
            seen.append(values.get(("zcs_jvm_gc_time_ratio", "mailboxd")))
            manual.advance(15)

    assert seen == [None] * 8 + [pytest.approx(21 / 120)] * 4
    assert values["zcs_jvm_old_after_gc_ratio", "mailboxd"] == pytest.approx(2_000_000_000 / 4_294_967_296)


@pytest.mark.parametrize(
    ("csv", "complaint"),
    [
        (None, "No such file"),
        (f"{CMS_HEADER}\n" + stamped(CMS_ROW, 1_709_371_233.0 - 600), "the last row is 600 s old"),
        (f"{CMS_HEADER}\n" + stamped(G1_ROW, 1_709_371_233.0), "97 fields under a header of 91"),
        ("timestamp,a\n" + stamped("x,1", 1_709_371_233.0), "no column mpool_..._used"),
        (f"{CMS_HEADER}\n" + stamped(CMS_ROW, 1_709_371_233.0).replace(",216226736,", ",,"), "no column mpool"),
        (
            f"{CMS_HEADER}\n" + stamped(CMS_ROW, 1_709_371_233.0).replace(",487518,1382", ",,1382"),
            "gc_parnew_ms has no",
        ),
    ],
)
def test_a_csv_that_cannot_answer_is_said_too_and_the_process_is_still_up(
    barred: Scene, csv: str | None, complaint: str
) -> None:
    if csv is not None:
        barred.host.write(CSV, csv)
    values = barred.values()

    assert {key: value for key, value in values.items() if key[1] == "mailboxd"} == {
        ("zcs_jvm_up", "mailboxd"): 1,
        ("zcs_jvm_hsperfdata_available", "mailboxd"): 0,
    }
    (shortfall,) = barred.shortfalls()
    assert complaint in shortfall.message
    assert shortfall.remedy == GRANT


def test_a_row_written_before_the_jvm_started_is_its_predecessors(barred: Scene) -> None:
    ticks = int((barred.manual.now - 20 - BOOT) * os.sysconf("SC_CLK_TCK"))
    barred.start(start_ticks=ticks)
    barred.host.write(CSV, f"{CMS_HEADER}\n" + stamped(CMS_ROW, barred.manual.now - 40))

    assert {key[0] for key in barred.values() if key[1] == "mailboxd"} == {"zcs_jvm_up", "zcs_jvm_hsperfdata_available"}


def test_a_permission_given_later_is_used_at_once(host: FakeHost, manual: ManualClock) -> None:
    scene = Scene(host, manual)
    scene.start()
    host.write(CSV, f"{CMS_HEADER}\n" + stamped(CMS_ROW, manual.now - 40))
    (host.base / "tmp").mkdir()
    before = scene.values()
    scene.put(perf())

    assert before["jvm_memory_pool_used_bytes", "mailboxd", "old"] == 216226736
    assert scene.values()["jvm_threads_current", "mailboxd"] == 6
