"""The one importer of ``collectors``."""

from collections.abc import Sequence

import collectors
from zcs_exporter import __version__
from zcs_exporter.contract import Collector


class ForeignCollectorsError(Exception):
    """Another distribution's ``collectors`` package stands where ours should."""


def collector_classes() -> Sequence[type[Collector]]:
    """Return every collector class, in the order of the page.

    Raises:
        ForeignCollectorsError: ``collectors`` is not part of this distribution.
    """
    if getattr(collectors, "DISTRIBUTION", None) != f"zcs-exporter {__version__}":
        raise ForeignCollectorsError(
            f"'collectors' resolves to {collectors.__file__}, which is not part of zcs-exporter {__version__}; "
            "install zcs-exporter in its own virtual environment"
        )
    return collectors.BUILTIN
