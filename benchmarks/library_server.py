"""Serves the series of a page by prometheus_client's own server: ``python -m benchmarks.library_server PAGE PORT``."""

import sys
import threading
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector


class _Page(Collector):
    def __init__(self, text: str) -> None:
        self._families = list(text_string_to_metric_families(text))

    def collect(self) -> Iterable[Metric]:
        return self._families


def main() -> int:
    """Serve until killed."""
    place, port = sys.argv[1:]
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Page(Path(place).read_text(encoding="utf-8")))
    start_http_server(int(port), "127.0.0.1", registry)
    threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
