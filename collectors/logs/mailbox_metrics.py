"""The metric families and signals of ZCS's Java logs."""

from collectors.formats.mailbox_log import MEMORY_KINDS
from collectors.logs.part import EVENTS, SIGNALS
from zcs_exporter.contract import Kind, Metric

FATAL = Metric("zcs_log_fatal_recent", Kind.GAUGE, "FATAL entries of ZCS's Java programs in the last ten minutes.")
CORRUPT = Metric(
    "zcs_log_corrupt_index_recent", Kind.GAUGE, "Times that a search index was found corrupt in the last 24 hours."
)
OUT_OF_MEMORY = Metric(
    "zcs_log_jvm_out_of_memory",
    Kind.GAUGE,
    "1 after a JVM logged that it ran out of memory, until its log shows that it lives or started again.",
    labels=("jvm",),
)
DEBUG = Metric(
    "zcs_log_debug_ratio",
    Kind.GAUGE,
    "Share of the entries at DEBUG or TRACE in the last six hours, by the beginning of each stretch read.",
    labels=("log",),
)
REPEATED = Metric(
    "zcs_log_repeated_errors",
    Kind.GAUGE,
    "How often the most frequent kind of warning or error of a log came within the last week, or half of it.",
    labels=("log",),
)

TOLD = (
    *(f"out_of_memory_{kind}" for kind in MEMORY_KINDS),
    "no_space_left",
    "corrupt_index",
    "index_repaired",
    "index_not_repaired",
    "index_reindex_failed",
    "thread_pool_full",
    "dos_filter",
    "slow_soap",
    "redolog_fault",
    "mailboxd_started",
    "mailboxd_stopped",
    "imapd_started",
    "lmtp_over_quota",
    "lmtp_refused",
    "lmtp_deferred",
    "imitated_entry",
)
"""Every signal of these logs."""

RECORDED = (
    "fatal",
    "out_of_memory",
    "no_space_left",
    "corrupt_index",
    "index_repaired",
    "index_not_repaired",
    "index_reindex_failed",
    "thread_pool_full",
    "dos_filter",
    "redolog_fault",
    "mailboxd_started",
    "mailboxd_stopped",
    "imapd_started",
    "imitated_entry",
)
"""Every kind of record of these logs."""

ALL = (EVENTS, SIGNALS, FATAL, CORRUPT, OUT_OF_MEMORY, DEBUG, REPEATED)
