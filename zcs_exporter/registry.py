"""The one importer of ``collectors``."""

import importlib
from collections.abc import Collection, Sequence
from itertools import chain

import collectors
from zcs_exporter import __version__
from zcs_exporter.contract import Collector


class ForeignCollectorsError(Exception):
    """Another distribution's ``collectors`` package stands where ours should."""


def collector_names() -> Sequence[str]:
    """Return the name of every collector, in the order of the page.

    Raises:
        ForeignCollectorsError: ``collectors`` is not part of this distribution.
    """
    _check()
    return tuple(collectors.BUILTIN)


def log_fed_names(logs: Collection[str] | None = None) -> Sequence[str]:
    """Return the names of the collectors that are fed with the lines of logs.

    Args:
        logs: Base names of those that are asked about; None for all. One that nobody reads by its name may be any.

    Raises:
        ForeignCollectorsError: ``collectors`` is not part of this distribution.
    """
    _check()
    asked = followed_logs() if logs is None or not followed_logs().issuperset(logs) else frozenset(logs)
    return [name for name, read in collectors.LOG_FED.items() if not asked.isdisjoint(read)]


def followed_logs() -> frozenset[str]:
    """Return the base names of all logs that feed a collector.

    Raises:
        ForeignCollectorsError: ``collectors`` is not part of this distribution.
    """
    _check()
    return frozenset(chain.from_iterable(collectors.LOG_FED.values()))


def collector_classes(names: Collection[str] | None = None) -> Sequence[type[Collector]]:
    """Return the collector classes of these names, in the order of the page; None for all.

    Raises:
        ForeignCollectorsError: ``collectors`` is not part of this distribution.
    """
    _check()
    return [
        getattr(importlib.import_module(module), cls)
        for name, (module, cls) in collectors.BUILTIN.items()
        if names is None or name in names
    ]


def _check() -> None:
    if getattr(collectors, "DISTRIBUTION", None) != f"zcs-exporter {__version__}":
        raise ForeignCollectorsError(
            f"'collectors' resolves to {collectors.__file__}, which is not part of zcs-exporter {__version__}; "
            "install zcs-exporter in its own virtual environment"
        )
