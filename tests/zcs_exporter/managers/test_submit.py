"""The program that hands a notification to Nagios or Icinga 2."""

import ast
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zcs_exporter.managers import submit

DISKS, QUEUES, LIFE = "ZCS file systems", "ZCS queues", "ZCS heartbeat"
HOST = "mail.example.com"


class Nagios:
    """A pipe that somebody reads, and the state directory beside it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.pipe = directory / "nagios.cmd"
        os.mkfifo(self.pipe)
        self.read()
        self.config = directory / "zcs-submit.conf"
        self.config.write_text(f"[state]\ndirectory = {directory}\n[nagios]\ncommand_file = {self.pipe}\n")

    def read(self) -> None:
        """Begin to read, which ends with ``close``."""
        self._reader = os.open(self.pipe, os.O_RDONLY | os.O_NONBLOCK)

    def submit(self, *arguments: str) -> int:
        return submit.main(["--config", str(self.config), *arguments])

    def beat(self, numbers: str, *services: str) -> int:
        """Hand it a heartbeat."""
        return self.submit("--standing", numbers, LIFE, HOST, "0", "runs", "0", *(services or (DISKS, QUEUES)))

    def book(self) -> Any:
        return json.loads((self.directory / f"{HOST}.json").read_text())

    def told(self) -> dict[str, tuple[int, str]]:
        """Return state and output by service of what came since the last call."""
        try:
            text = os.read(self._reader, 1 << 20).decode()
        except BlockingIOError:
            return {}
        found = {}
        for line in text.splitlines():
            stamp, _, result = line.partition(" ")
            assert stamp[0] == "["
            assert stamp[1:-1].isdigit()
            command, host, service, state, output = result.split(";", 4)
            assert (command, host) == ("PROCESS_SERVICE_CHECK_RESULT", HOST)
            found[service] = (int(state), output)
        return found

    def close(self) -> None:
        os.close(self._reader)


@pytest.fixture
def nagios(tmp_path: Path) -> Iterator[Nagios]:
    there = Nagios(tmp_path)
    yield there
    there.close()


def test_a_raise_and_its_clear_are_a_state_and_ok(nagios: Nagios) -> None:
    assert nagios.submit(DISKS, HOST, "2", "/opt is 97% full", "17") == 0
    assert nagios.told() == {DISKS: (2, "/opt is 97% full")}
    assert nagios.submit(DISKS, HOST, "0", "Cleared: /opt is 80% full", "17") == 0
    assert nagios.told() == {DISKS: (0, "Cleared: /opt is 80% full")}


def test_the_end_of_one_alarm_does_not_hide_another(nagios: Nagios) -> None:
    nagios.submit(DISKS, HOST, "2", "/store is full", "1")
    nagios.submit(DISKS, HOST, "1", "/opt is nearly full", "2")
    assert nagios.told()[DISKS] == (2, "2 alarms: /store is full\\n/opt is nearly full")
    nagios.submit(DISKS, HOST, "0", "Cleared: /store", "1")
    assert nagios.told()[DISKS] == (1, "/opt is nearly full")


def test_an_alarm_that_changes_its_severity_is_still_one(nagios: Nagios) -> None:
    for severity in ("1", "2", "3"):
        nagios.submit(DISKS, HOST, severity, f"now {severity}", "1")
    assert nagios.told()[DISKS] == (3, "now 3")


def test_unknown_matters_less_than_what_is_known_to_be_bad(nagios: Nagios) -> None:
    nagios.submit(DISKS, HOST, "3", "unknown, was full", "1")
    nagios.submit(DISKS, HOST, "1", "nearly full", "2")
    assert nagios.told()[DISKS] == (1, "2 alarms: nearly full\\nunknown, was full")


def test_a_heartbeat_confirms_what_stands_everywhere(nagios: Nagios) -> None:
    nagios.submit(DISKS, HOST, "2", "/opt is 97% full", "17")
    nagios.told()
    assert nagios.beat("1 0 17 4294967295") == 0
    assert nagios.told() == {LIFE: (0, "runs"), DISKS: (2, "/opt is 97% full"), QUEUES: (0, "No alarm stands")}


def test_what_is_tied_to_nothing_is_shown_and_not_remembered(nagios: Nagios) -> None:
    nagios.submit("ZCS events", HOST, "1", "Service mta stopped", "0")
    assert nagios.told() == {"ZCS events": (1, "Service mta stopped")}
    nagios.submit(LIFE, HOST, "0", "runs", "0", "ZCS events")
    assert nagios.told()["ZCS events"] == (0, "No alarm that was told here stands")


def test_whatever_is_heard_confirms_the_others_without_a_claim_about_what_is_not_known(nagios: Nagios) -> None:
    nagios.submit(DISKS, HOST, "2", "/opt is 97% full", "17")
    nagios.told()
    assert nagios.submit("--heard", LIFE, QUEUES, HOST, "1", "many wait", "18", DISKS, "ZCS JVMs") == 0
    assert nagios.told() == {
        LIFE: (0, "zcs-exporter is heard"),
        QUEUES: (1, "many wait"),
        DISKS: (2, "/opt is 97% full"),
        "ZCS JVMs": (0, "No alarm that was told here stands"),
    }


def test_an_alarm_whose_clear_was_lost_is_taken_away_by_the_next_heartbeat(nagios: Nagios) -> None:
    nagios.submit(DISKS, HOST, "2", "/opt is 97% full", "17")
    nagios.submit(DISKS, HOST, "1", "/store is 88% full", "19")
    nagios.submit(QUEUES, HOST, "1", "many wait", "18")
    nagios.told()
    nagios.beat("1 0 19 4294967295")
    told = nagios.told()
    assert told[DISKS] == (1, "/store is 88% full")
    assert told[QUEUES] == (0, "Over, without its clear: many wait")
    file = (nagios.directory / f"{HOST}.json").stat().st_ino
    nagios.beat("1 0 19 4294967295")
    assert nagios.told()[QUEUES] == (0, "No alarm stands")
    assert (nagios.directory / f"{HOST}.json").stat().st_ino == file  # nothing to write, each minute, for each host
    assert nagios.book() == {DISKS: {"19": [1, "/store is 88% full"]}, QUEUES: {}}


def test_a_part_of_the_numbers_takes_away_what_lies_within_it(nagios: Nagios) -> None:
    for alarm in ("10", "17", "20", "30"):
        nagios.submit(DISKS, HOST, "1", f"text {alarm}", alarm)
    nagios.beat("3 10 20 25")
    assert list(nagios.book()[DISKS]) == ["10", "20", "30"]
    nagios.beat("3 0 10 20")
    assert list(nagios.book()[DISKS]) == ["10", "20", "30"]
    nagios.beat("2 20 4294967295")
    assert list(nagios.book()[DISKS]) == ["10", "20"]


def test_what_may_be_one_of_those_that_were_never_raised_here_is_unknown_until_they_are(nagios: Nagios) -> None:
    """The host has lost its state: what stands was there before its first start, and has another number."""
    nagios.submit(DISKS, HOST, "2", "/opt is 97% full", "17")
    for _ in range(2):
        nagios.told()
        nagios.beat("1 0 1000 4294967295")
        told = nagios.told()
        assert told[DISKS] == (3, "Perhaps over: /opt is 97% full")
        assert told[QUEUES] == (0, f"No alarm that was told here stands, but 1 may that were not: see {LIFE}")
    # It is not an alarm yet, but will be.
    nagios.beat("1 0 4294967295")
    assert nagios.told()[DISKS] == (3, "Perhaps over: /opt is 97% full")
    nagios.submit(DISKS, HOST, "2", "/opt is 98% full", "1000")
    assert nagios.told()[DISKS] == (2, "2 alarms: /opt is 98% full\\nPerhaps over: /opt is 97% full")
    nagios.beat("1 0 1000 4294967295")
    assert nagios.told()[DISKS] == (2, "/opt is 98% full")


def test_what_was_perhaps_over_is_over_when_nothing_stands_that_it_might_be(nagios: Nagios) -> None:
    nagios.submit(DISKS, HOST, "2", "/opt is 97% full", "17")
    nagios.beat("1 0 1000 4294967295")
    nagios.told()
    nagios.beat("0 0 4294967295")
    assert nagios.told()[DISKS] == (0, "Over, without its clear: /opt is 97% full")


def test_a_raise_that_was_lost_is_a_warning_of_the_heartbeat_until_it_is_told(nagios: Nagios) -> None:
    warning = (1, "1 alarm stands that was not told here: zcs-exporter alerts shows it, trap replay sends it")
    nagios.beat("3 0 7 +101 4294967295")  # 7 was there before the first start
    assert nagios.told()[LIFE] == warning
    # Neither a start nor another alarm takes that away.
    nagios.submit(LIFE, HOST, "0", "started", "0", DISKS)
    assert nagios.told()[LIFE] == warning
    nagios.submit("--heard", LIFE, QUEUES, HOST, "1", "many wait", "102", DISKS)
    assert nagios.told()[LIFE] == warning
    nagios.beat("4 0 7 +101 +102 +103 4294967295")
    assert nagios.told()[LIFE] == (
        1,
        "2 alarms stand that were not told here: zcs-exporter alerts shows them, trap replay sends them",
    )
    nagios.submit("--heard", LIFE, DISKS, HOST, "2", "/opt is 97% full", "101")
    assert nagios.told() == {DISKS: (2, "/opt is 97% full"), LIFE: warning}
    nagios.submit("--heard", LIFE, DISKS, HOST, "0", "Cleared: /store", "103")
    assert nagios.told() == {DISKS: (2, "/opt is 97% full"), LIFE: (0, "zcs-exporter is heard")}
    nagios.beat("3 0 7 +101 +102 4294967295")
    assert nagios.told()[LIFE] == (0, "runs")


def test_a_raise_that_was_lost_is_a_warning_until_it_is_over_though_not_every_heartbeat_names_it(
    nagios: Nagios,
) -> None:
    for numbers, state in (
        ("2 100 +101 102", 1),
        ("2 102 +103 4294967295", 1),
        ("1 0 100 102", 1),
        ("0 102 4294967295", 0),
    ):
        nagios.beat(numbers)
        assert nagios.told()[LIFE][0] == state, numbers


@pytest.mark.parametrize("last", [500, 0, 4294967295])
def test_a_heartbeat_that_is_older_than_a_raise_says_nothing_of_it(nagios: Nagios, last: int) -> None:
    def number(more: int) -> tuple[str, str]:
        return "--sequence", str((last + more) % (1 << 32))

    nagios.submit(*number(0), DISKS, HOST, "2", "/opt is 97% full", "17")
    nagios.submit(*number(-3), DISKS, HOST, "1", "a replay", "16")
    for late in (0, -1, -1, -1, -2, -3):  # such may come twice, and in any order, but not on and on
        nagios.told()
        nagios.submit(*number(late), "--standing", "0 0 4294967295", LIFE, HOST, "0", "runs", "0", DISKS)
        assert nagios.told() == {LIFE: (0, "runs"), DISKS: (2, "2 alarms: /opt is 97% full\\na replay")}
    nagios.submit(*number(1), "--standing", "0 0 4294967295", LIFE, HOST, "0", "runs", "0", DISKS)
    assert nagios.told()[DISKS][0] == 0


@pytest.mark.parametrize(("last", "begin", "ignored"), [(500, 1, 2), (500, 490, 2), (5000, 1, 0)])
def test_a_host_that_began_anew_or_went_back_to_an_older_state_is_believed_before_long(
    nagios: Nagios, last: int, begin: int, ignored: int
) -> None:
    nagios.submit("--sequence", str(last), DISKS, HOST, "2", "/opt is 97% full", "17")
    nagios.told()
    states = []
    for more in range(4):
        beat = "--sequence", str(begin + more), "--standing", "0 0 4294967295"
        nagios.submit(*beat, LIFE, HOST, "0", "runs", "0", DISKS)
        states.append(nagios.told()[DISKS][0])
    assert states == [2] * ignored + [0] * (4 - ignored)
    # And what is late of its new numbers is late again.
    nagios.submit("--sequence", str(begin + 9), DISKS, HOST, "2", "/opt is 97% full", "18")
    nagios.submit("--sequence", str(begin + 8), "--standing", "0 0 4294967295", LIFE, HOST, "0", "runs", "0", DISKS)
    assert nagios.told()[DISKS][0] == 2


def test_what_has_no_number_is_not_ours_and_stays(nagios: Nagios) -> None:
    nagios.submit("ZCS services", HOST, "2", "Service mta is down", "zimbra-mta")
    nagios.told()
    assert nagios.beat("0 0 4294967295", "ZCS services") == 0
    assert nagios.told()["ZCS services"] == (2, "Service mta is down")


@pytest.mark.parametrize("numbers", ["", "0 ", "3", "0 0", "x 0 4294967295", "1 0 -5", "1 0 99999999999", "1 0 5;6"])
def test_a_host_that_does_not_say_what_stands_takes_nothing_away(nagios: Nagios, numbers: str) -> None:
    nagios.submit(DISKS, HOST, "2", "/opt is 97% full", "17")
    nagios.told()
    assert nagios.beat(numbers) == 0
    assert nagios.told() == {
        LIFE: (0, "runs"),
        DISKS: (2, "/opt is 97% full"),
        QUEUES: (0, "No alarm that was told here stands"),
    }


@pytest.mark.parametrize(
    ("severity", "state"), [("ok", 0), ("Warning", 1), ("CRITICAL", 2), ("unknown", 3), ("4", 3), ("", 3), ("x", 3)]
)
def test_a_severity_may_be_a_word_and_what_is_none_is_unknown(nagios: Nagios, severity: str, state: int) -> None:
    nagios.submit(DISKS, HOST, severity, "text", "0")
    assert nagios.told()[DISKS][0] == state


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=5000))
def test_a_text_is_one_line_of_harmless_characters_whatever_comes(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    there = Nagios(tmp_path_factory.mktemp("any"))
    assert there.submit(DISKS, HOST, "2", text, "1") == 0
    [(service, (state, output))] = there.told().items()
    there.close()
    assert (service, state) == (DISKS, 2)
    assert len(output) <= 255
    assert not submit.UNSAFE.search(output.replace("?", ""))


def test_a_text_is_no_longer_than_ours_are(nagios: Nagios) -> None:
    nagios.submit(DISKS, HOST, "2", "x" * 5000, "1")
    assert nagios.told() == {DISKS: (2, "x" * 255)}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        [DISKS, HOST, "2", "text"],
        [DISKS, "../../etc/x", "2", "text", "1"],
        [DISKS, ".hidden", "2", "text", "1"],
        [DISKS, HOST, "2", "text", "--config"],
        [DISKS, HOST, "2", "text", "1;2"],
        [f"{DISKS};x", HOST, "2", "text", "1"],
        [DISKS, HOST, "2", "text", "1", "a\nb"],
        ["--heard", "../x", DISKS, HOST, "2", "text", "1"],
        ["--standing", DISKS, HOST, "2", "text", "1"],
    ],
)
def test_what_no_notification_of_ours_brings_is_refused(nagios: Nagios, arguments: list[str]) -> None:
    before = sorted(nagios.directory.iterdir())
    assert nagios.submit(*arguments) == 2
    assert nagios.told() == {}
    assert sorted(nagios.directory.iterdir()) == before


def test_a_thousand_alarms_are_not_a_line_that_a_pipe_would_cut(nagios: Nagios) -> None:
    book = {DISKS: {str(number): (2, "x" * 255) for number in range(1, 1000)}}
    (nagios.directory / f"{HOST}.json").write_text(json.dumps(book))
    nagios.submit(DISKS, HOST, "1", "one more", "1000")
    nagios.submit(DISKS, HOST, "1", "and one that is too much", "1001")
    assert len(nagios.told()[DISKS][1]) <= submit.MOST_OCTETS
    assert len(json.loads((nagios.directory / f"{HOST}.json").read_text())[DISKS]) == submit.MOST_ALARMS


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"ZCS file systems": {"1": 7}}', '{"ZCS file systems": []}'])
def test_a_damaged_book_is_begun_anew(nagios: Nagios, damage: str) -> None:
    (nagios.directory / f"{HOST}.json").write_text(damage)
    assert nagios.submit(DISKS, HOST, "2", "full", "1") == 0
    assert nagios.told() == {DISKS: (2, "full")}


def test_a_pipe_that_nobody_reads_is_said_at_once(nagios: Nagios, capsys: pytest.CaptureFixture[str]) -> None:
    nagios.close()
    assert nagios.submit(DISKS, HOST, "2", "full", "1") == 1
    assert "zcs-submit: mail.example.com: ZCS file systems: " in capsys.readouterr().err
    # What could not be told then is told by the next heartbeat.
    assert json.loads((nagios.directory / f"{HOST}.json").read_text()) == {DISKS: {"1": [2, "full"]}}
    nagios.read()
    nagios.submit(LIFE, HOST, "0", "runs", "0", DISKS)
    assert nagios.told()[DISKS] == (2, "full")


def test_a_command_file_that_is_a_file_is_left_alone(tmp_path: Path) -> None:
    nagios = Nagios(tmp_path)
    nagios.pipe.unlink()
    assert nagios.submit(DISKS, HOST, "2", "full", "1") == 1
    assert not nagios.pipe.exists()
    nagios.pipe.write_text("mine")
    assert nagios.submit(DISKS, HOST, "2", "full", "1") == 1
    assert nagios.pipe.read_text() == "mine"
    nagios.close()


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        (None, "No such file"),
        ("nonsense", "no section headers"),
        ("[state]\ndirectory = {here}\n", "neither"),
        ("[state]\ndirectory = {here}\n[nagios]\n", "command_file"),
        ("[state]\ndirectory = {here}/missing\n[nagios]\ncommand_file = x\n", "No such file"),
        ("[state]\ndirectory = {here}\n[icinga2]\nurl = http://x\nuser = x\npassword = x\n", "https://"),
    ],
)
def test_a_fault_of_the_configuration_is_said(
    tmp_path: Path, config: str | None, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "conf"
    if config is not None:
        file.write_text(config.format(here=tmp_path))
    assert submit.main(["--config", str(file), DISKS, HOST, "2", "full", "1"]) == 1
    assert complaint in capsys.readouterr().err


def test_it_is_a_program_of_its_own_that_old_hosts_can_run(nagios: Nagios) -> None:
    source = Path(submit.__file__).read_text()
    assert source.startswith("#!/usr/bin/python3 -I\n")
    ast.parse(source, feature_version=(3, 6))
    imported = {
        alias.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import) for alias in node.names
    }
    assert not any(name.startswith("zcs_exporter") for name in imported)
    done = subprocess.run(
        ["/usr/bin/python3", "-I", submit.__file__, "--config", str(nagios.config), DISKS, HOST, "1", "full", "9"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert nagios.told() == {DISKS: (1, "full")}
