"""Follows each log once, however many collectors read it."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from zcs_exporter.blocking import BlockingCall
from zcs_exporter.contract import Clock, Kind, LogBlock, Metric, Sample
from zcs_exporter.hostio import Host
from zcs_exporter.tail import LogTail, Position

log = logging.getLogger(__name__)

LINES = Metric("zcs_exporter_log_lines_total", Kind.COUNTER, "Lines read from a log since start.", labels=("log",))
LAG = Metric("zcs_exporter_log_lag_bytes", Kind.GAUGE, "Bytes of a log that are not read yet.", labels=("log",))
READABLE = Metric("zcs_exporter_log_readable", Kind.GAUGE, "Whether a log that exists can be read.", labels=("log",))
FOLLOW_METRICS = (LINES, LAG, READABLE)
