"""The table of processes that several collectors look at."""

from collections import Counter
from pathlib import Path

from fakes import FakeHost

from collectors.process_table import ProcessTable
from zcs_exporter.hostio import Process


class CountingHost(FakeHost):
    """Counts how often each process is read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads: Counter[int] = Counter()

    def process(self, pid: int) -> Process | None:
        self.reads[pid] += 1
        return super().process(pid)


def named(table: ProcessTable, comm: str) -> list[int]:
    return [process.pid for process in table.find(lambda process: process.comm == comm)]


def test_a_process_is_read_twice_and_then_left_alone(host: FakeHost) -> None:
    counting = CountingHost(host.base)
    table = ProcessTable(counting)
    host.add_process(4242, "bash", "-bash")
    for _ in range(5):
        table.look()

    assert counting.reads[4242] == 2


def test_a_program_started_by_a_shell_is_known_by_its_own_name(host: FakeHost) -> None:
    table = ProcessTable(host)
    host.add_process(4242, "bash", "-bash")
    before = named(table, "slapd")
    host.add_process(4242, "slapd", "/opt/zimbra/common/libexec/slapd")

    assert (before, named(table, "slapd")) == ([], [4242])


def test_a_process_that_took_over_a_number_is_found_after_twenty_looks(host: FakeHost) -> None:
    table = ProcessTable(host)
    host.add_process(4242, "bash", "-bash")
    for _ in range(3):
        table.look()
    host.add_process(4242, "slapd", "/opt/zimbra/common/libexec/slapd", start_ticks=9000)

    assert [4242] in [named(table, "slapd") for _ in range(20)]


def test_what_is_found_is_what_runs_now(host: FakeHost) -> None:
    table = ProcessTable(host)
    host.add_process(4242, "slapd", "/opt/zimbra/common/libexec/slapd")
    for _ in range(3):
        table.look()
    host.add_process(4242, "bash", "-bash", start_ticks=9000)

    assert named(table, "slapd") == []
