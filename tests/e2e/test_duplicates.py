"""Two database servers on one data directory, whatever they are called and whoever started them."""

from collections.abc import Callable

import pytest
from e2e.lab import HOME, Exporter, MariaDb, Parent, Zcs, wait_for
from e2e.product import settings

MAILBOX = str(HOME / "db/data")
ANTISPAM = str(HOME / "data/amavisd/mysql/data")


@pytest.mark.parametrize(
    ("parent", "name"),
    [("shell", "mysqld"), ("shell", "mariadbd"), ("mysqld_safe", "mysqld"), ("init", "mysqld"), ("init", "mariadbd")],
)
def test_a_second_server_is_found(
    zcs: Zcs, mariadb: MariaDb, exporter: Callable[..., Exporter], parent: Parent, name: str
) -> None:
    zcs.set_services("mailbox")
    daemon = exporter(settings())
    daemon.start()
    wait_for(lambda: daemon.value("zcs_mysqld_instances", datadir=MAILBOX) == 1, 20, "one server")

    mariadb.start_second(parent=parent, name=name)
    try:
        wait_for(lambda: daemon.value("zcs_mysqld_instances", datadir=MAILBOX) == 2, 20, "the second server")
    finally:
        mariadb.stop_others()
    wait_for(lambda: daemon.value("zcs_mysqld_instances", datadir=MAILBOX) == 1, 20, "one server again")


def test_the_antispam_server_is_no_duplicate(zcs: Zcs, mariadb: MariaDb, exporter: Callable[..., Exporter]) -> None:
    zcs.set_services("mailbox", "antispam")
    zcs.set_localconfig(antispam_mysql_enabled="true")
    mariadb.start_antispam()
    daemon = exporter(settings())
    daemon.start()
    try:
        wait_for(lambda: daemon.value("zcs_mysqld_instances", datadir=ANTISPAM) == 1, 20, "the antispam server")
        assert daemon.value("zcs_mysqld_instances", datadir=MAILBOX) == 1
    finally:
        mariadb.stop_others()
        zcs.set_localconfig(antispam_mysql_enabled=None)
