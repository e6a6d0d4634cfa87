"""Files that ship with the program: in a wheel below ``_assets``, in a checkout beside the package."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def asset(relative: str) -> Path:
    """Return the path of a shipped file or directory, such as ``alerts``.

    Raises:
        FileNotFoundError: It was not installed.
    """
    checkout = {"mib": _PACKAGE.parent / "packaging" / "mib"}
    for candidate in (_PACKAGE / "_assets" / relative, checkout.get(relative, _PACKAGE.parent / relative)):
        if candidate.exists():
            return candidate
    raise FileNotFoundError(f"{relative} is missing from this installation of zcs-exporter")
