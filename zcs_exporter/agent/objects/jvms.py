"""Java virtual machines."""

from collections.abc import Callable

from zcs_exporter.agent.facts import Facts
from zcs_exporter.agent.objects.model import Column, Group, Index, Read, Table
from zcs_exporter.agent.objects.readers import MEBI, age_of, of_metric, scaled, severity_column, severity_of
from zcs_exporter.alerting.model import Family
from zcs_exporter.snmp.smi import Syntax


def _heap_percent(facts: Facts, jvm: str) -> Read:
    used = facts.value("jvm_memory_used_bytes", jvm=jvm, area="heap")
    most = facts.value("jvm_memory_max_bytes", jvm=jvm, area="heap")
    return None if used is None or not most else 100 * used / most


def _of_jvm(name: str) -> Callable[[Facts, str], Read]:
    return lambda facts, jvm: facts.total(name, jvm=jvm)


_JVMS: Table[str] = Table(
    "zcsJvm",
    "The Java virtual machines of ZCS.",
    "One Java virtual machine.",
    lambda f: f.names("zcs_jvm_up", "jvm"),
    Index("zcsJvmName", Syntax.TEXT, "Whose it is, such as mailboxd.", str),
    (
        Column("zcsJvmState", 2, Syntax.RUN_STATE, "Whether it runs.", of_metric("zcs_jvm_up", "jvm")),
        Column(
            "zcsJvmHeapUsed",
            3,
            Syntax.GAUGE,
            "Heap in use.",
            scaled(of_metric("jvm_memory_used_bytes", "jvm", area="heap"), 1 / MEBI),
            "mebibytes",
        ),
        Column(
            "zcsJvmHeapMax",
            4,
            Syntax.GAUGE,
            "Size to which the heap may grow.",
            scaled(of_metric("jvm_memory_max_bytes", "jvm", area="heap"), 1 / MEBI),
            "mebibytes",
        ),
        Column("zcsJvmHeapPercent", 5, Syntax.GAUGE, "Share of the heap that is in use.", _heap_percent, "percent"),
        Column(
            "zcsJvmOldGenerationPercent",
            6,
            Syntax.GAUGE,
            "Share of the old generation that was still in use after the last collection that could free it.",
            scaled(of_metric("zcs_jvm_old_after_gc_ratio", "jvm"), 100),
            "percent",
        ),
        Column("zcsJvmThreads", 7, Syntax.GAUGE, "Threads alive.", of_metric("jvm_threads_current", "jvm"), "threads"),
        Column(
            "zcsJvmCollections",
            8,
            Syntax.COUNTER,
            "Garbage collections of all kinds.",
            _of_jvm("jvm_gc_collection_seconds_count"),
            "collections",
        ),
        Column(
            "zcsJvmCollectionTime",
            9,
            Syntax.COUNTER,
            "Time that they took.",
            scaled(_of_jvm("jvm_gc_collection_seconds_sum"), 1000),
            "milliseconds",
        ),
        Column(
            "zcsJvmUptime",
            10,
            Syntax.GAUGE,
            "Time since it was started.",
            age_of(of_metric("zcs_jvm_start_time_seconds", "jvm")),
            "seconds",
        ),
        severity_column("zcsJvmSeverity", 11, severity_of(Family.JVM, "jvm")),
    ),
)

JVMS = Group("zcsJvms", 6, table=_JVMS)
