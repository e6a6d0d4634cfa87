"""What we publish equals what the system's own tools say, taken beside it."""

import math
import re
import subprocess
from collections.abc import Callable, Iterator

import pytest
from e2e.lab import Exporter, Jvms, Mailboxd, MariaDb, Postfix, Zcs, run, wait_for

MakeExporter = Callable[..., Exporter]
JVM_INTERVAL = {"collectors": {name: {"interval": "1s"} for name in ("jvm", "postfix", "mysqld", "filesystem")}}


@pytest.fixture
def fast(exporter: MakeExporter) -> Exporter:
    """A daemon that collects every second, on the whole lab host."""
    return exporter(JVM_INTERVAL)


def test_the_queue_equals_postqueue(zcs: Zcs, postfix: Postfix, fast: Exporter) -> None:
    zcs.set_services("mta")
    postfix.clear()
    postfix.fill(deferred=150, hold=40, active=20)
    held = [entry["queue_id"] for entry in postfix.showq() if entry["queue_name"] == "hold"]
    postfix.age(held[0], 4 * 86400)
    fast.start()

    def equal() -> bool:
        metrics = fast.metrics()
        listed = postfix.showq()
        for queue in ("active", "deferred", "hold", "incoming"):
            entries = [entry for entry in listed if entry["queue_name"] == queue]
            label = frozenset({("queue", queue)})
            if metrics.get(("zcs_postfix_queue_messages", label)) != len(entries):
                return False
            if metrics.get(("zcs_postfix_queue_bytes", label)) != sum(entry["message_size"] for entry in entries):
                return False
            if not entries:
                continue
            oldest = min(entry["arrival_time"] for entry in entries)
            age = metrics[("zcs_postfix_queue_oldest_age_seconds", label)]
            if abs(float(run("date", "+%s")) - age - oldest) > 3:
                return False
        return True

    wait_for(equal, 20, "the queue metrics to equal postqueue -j")
    postfix.release(*held[:10])
    postfix.delete(*held[10:15])
    wait_for(equal, 20, "the queue metrics to equal postqueue -j after changes")
    postfix.clear()
    wait_for(equal, 20, "the queue metrics to equal postqueue -j of an empty queue")


@pytest.fixture(params=["Parallel", "G1"])
def mailboxd(request: pytest.FixtureRequest, jvms: Jvms) -> Iterator[Mailboxd]:
    """mailboxd under each collector, and at the end under G1 as everywhere else."""
    jvms.mailboxd.stop()
    jvms.mailboxd.start(request.param)
    yield jvms.mailboxd
    if request.param != "G1":
        jvms.mailboxd.stop()
        jvms.mailboxd.start()


def test_a_jvm_equals_jstat(zcs: Zcs, mailboxd: Mailboxd, fast: Exporter) -> None:
    zcs.set_services("mailbox")
    mailboxd.command("churn", 64)
    mailboxd.command("collect")
    fast.start()
    kib = 1024

    def difference() -> str:
        before = mailboxd.jstat("gc")
        metrics = fast.metrics()

        def pool(kind: str, name: str) -> float:
            return metrics[f"jvm_memory_pool_{kind}_bytes", frozenset({("jvm", "mailboxd"), ("pool", name)})]

        def collections(kind: str, name: str) -> float:
            key = frozenset({("jvm", "mailboxd"), ("gc", name)})
            return metrics.get((f"jvm_gc_collection_seconds_{kind}", key), 0.0)

        expected = {
            "EU": (pool("used", "eden"), before["EU"] * kib),
            "EC": (pool("committed", "eden"), before["EC"] * kib),
            "OU": (pool("used", "old"), before["OU"] * kib),
            "OC": (pool("committed", "old"), before["OC"] * kib),
            "SU": (pool("used", "survivor"), (before["S0U"] + before["S1U"]) * kib),
            "SC": (pool("committed", "survivor"), (before["S0C"] + before["S1C"]) * kib),
            "MU": (pool("used", "metaspace"), before["MU"] * kib),
            "MC": (pool("committed", "metaspace"), before["MC"] * kib),
            "CCSU": (pool("used", "class_space"), before["CCSU"] * kib),
            "YGC": (collections("count", "young"), before["YGC"]),
            "YGCT": (collections("sum", "young"), before["YGCT"]),
            "FGC": (collections("count", "full"), before["FGC"]),
            "FGCT": (collections("sum", "full"), before["FGCT"]),
            "CGC": (collections("count", "concurrent"), before.get("CGC", 0.0)),
            "CGCT": (collections("sum", "concurrent"), before.get("CGCT", 0.0)),
        }
        # jstat prints KiB with one decimal and seconds with three.
        wrong = {name: pair for name, pair in expected.items() if not math.isclose(*pair, rel_tol=0, abs_tol=103)}
        wrong |= {
            name: pair
            for name, pair in expected.items()
            if name.endswith(("GC", "GCT")) and not math.isclose(*pair, abs_tol=0.001)
        }
        return str(wrong) if wrong else ""

    wait_for(lambda: not difference(), 20, f"the JVM metrics to equal jstat -gc; last: {difference()}")

    utilisation = mailboxd.jstat("gcutil")
    metrics = fast.metrics()
    used, committed = (
        metrics[f"jvm_memory_pool_{kind}_bytes", frozenset({("jvm", "mailboxd"), ("pool", "old")})]
        for kind in ("used", "committed")
    )
    assert abs(100 * used / committed - utilisation["O"]) < 0.01


def test_mysqld_equals_mysqladmin(zcs: Zcs, mariadb: MariaDb, exporter: MakeExporter) -> None:
    zcs.set_services("mailbox")
    daemon = exporter({"collectors": {"mysqld": {"interval": "1s", "status": "all"}}})
    daemon.start()
    steady = {
        "mysql_global_status_max_used_connections": "Max_used_connections",
        "mysql_global_status_innodb_page_size": "Innodb_page_size",
        "mysql_global_status_open_files": "Open_files",
        "mysql_global_status_slow_queries": "Slow_queries",
        "mysql_global_status_aborted_connects": "Aborted_connects",
    }

    def equal() -> bool:
        metrics, status = daemon.metrics(), mariadb.status()
        return all(metrics.get((name, frozenset())) == float(status[variable]) for name, variable in steady.items())

    wait_for(equal, 20, "the MySQL metrics to equal mysqladmin extended-status")
    assert daemon.value("mysql_up") == 1
    before, status = daemon.metrics(), mariadb.status()
    numeric = {name.lower() for name, value in status.items() if re.fullmatch(r"-?[0-9.]+", value)}
    published = {
        name.removeprefix("mysql_global_status_") for name, _ in before if name.startswith("mysql_global_status_")
    }
    grouped = re.compile(r"(com|handler|connection_errors|innodb_buffer_pool_pages|innodb_rows|performance_schema)_")
    missing = {name for name in numeric - published if not grouped.match(name)}
    assert not missing, f"rows of SHOW GLOBAL STATUS that are not published: {sorted(missing)}"
    for command in ("select", "set_option", "show_status"):
        key = ("mysql_global_status_commands_total", frozenset({("command", command)}))
        assert key in before


def test_filesystems_equal_df(zcs: Zcs, fast: Exporter) -> None:
    fast.start()
    space = _df("-k")
    inodes = _df("-i")

    def equal() -> bool:
        metrics = fast.metrics()
        found = {
            dict(labels)["mountpoint"]: value
            for (name, labels), value in metrics.items()
            if name == "zcs_filesystem_used_ratio"
        }
        files = {
            dict(labels)["mountpoint"]: value
            for (name, labels), value in metrics.items()
            if name == "zcs_filesystem_files_used_ratio"
        }
        assert "/opt/zimbra" in found
        return all(math.ceil(round(value * 100, 6)) == space[mount] for mount, value in found.items()) and all(
            math.ceil(round(value * 100, 6)) == inodes[mount] for mount, value in files.items()
        )

    wait_for(equal, 20, f"the file systems to equal df -k {space} and df -i {inodes}")


def _df(option: str) -> dict[str, int]:
    """Return the percentages that df prints, by mount point."""
    done = subprocess.run(["df", option, "--all", "--portability"], capture_output=True, text=True, check=False)
    rows = (line.split(None, 5) for line in done.stdout.splitlines()[1:])
    return {row[5]: int(row[4].rstrip("%")) for row in rows if len(row) == 6 and row[4] != "-"}
