from pathlib import Path

import pytest
from fakes import FakeHost, ManualClock


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """An empty host with a ZCS installation of default settings."""
    fake = FakeHost(tmp_path / "host")
    fake.localconfig(zimbra_server_hostname="mail.example.com")
    fake.write("/proc/stat", "cpu  1 2 3\nbtime 1709300000\n")
    return fake


@pytest.fixture
def manual() -> ManualClock:
    return ManualClock()
