"""The package under test."""

import os
from pathlib import Path

import pytest
from e2e.lab import absent, need


@pytest.fixture(scope="session")
def package() -> Path:
    """What `make deb` made."""
    if os.environ.get("ZCS_E2E_SYSTEMD") != "1":
        absent("not on a machine of its own; run as root: make test-package")
    need("dpkg", "dpkg", "dpkg-deb")
    where = Path(os.environ.get("ZCS_DEB", ""))
    if not where.is_file():
        absent("no package here; run: make test-package")
    return where
