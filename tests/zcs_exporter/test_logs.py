import io
import json
import logging
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zcs_exporter.logs import MAX_LINE, JsonFormatter, TextFormatter, configure_logging

log = logging.getLogger("collectors.test")


@pytest.fixture(autouse=True)
def root_as_before() -> Iterator[None]:
    """Give the root logger back to pytest."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


class Stuck(io.StringIO):
    """A stream that takes nothing until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.release = threading.Event()

    def write(self, text: str) -> int:
        self.entered.set()
        self.release.wait()
        return super().write(text)


def record(message: str, *args: object) -> logging.LogRecord:
    made = logging.LogRecord("a.b", logging.WARNING, __file__, 1, message, args, None)
    made.created = 1709371233.25
    return made


def test_a_text_line_has_time_level_and_origin() -> None:
    assert TextFormatter().format(record("%d queues", 7)) == "2024-03-02T09:20:33.250Z WARNING a.b: 7 queues"


def test_a_json_line_has_the_same() -> None:
    assert json.loads(JsonFormatter().format(record("%d queues", 7))) == {
        "time": "2024-03-02T09:20:33.250Z",
        "level": "warning",
        "logger": "a.b",
        "message": "7 queues",
    }


def test_what_is_logged_cannot_forge_a_line_or_reach_the_terminal() -> None:
    line = TextFormatter().format(record("user %s", "x\n2024 ERROR root: \x1b[2J\u2028\u202e\ud800"))

    assert line.endswith(r"user x\n2024 ERROR root: \x1b[2J\u2028\u202e\ud800")
    assert line.isprintable()


def test_a_traceback_stays_on_its_line() -> None:
    stream = io.StringIO()
    stop = configure_logging("info", "text", stream)
    try:
        raise RuntimeError("first\nsecond")
    except RuntimeError:
        log.exception("failed")
    stop()
    (line,) = stream.getvalue().splitlines()

    assert "Traceback" in line
    assert r"first\nsecond" in line


def test_a_long_message_is_cut() -> None:
    assert len(TextFormatter().format(record("x" * 10 * MAX_LINE))) < MAX_LINE + 100


def test_a_wrong_format_string_costs_no_message() -> None:
    assert "'%d' % ('x',)" in TextFormatter().format(record("%d", "x"))


def test_the_message_is_that_of_the_moment_it_was_logged() -> None:
    stream = Stuck()
    stop = configure_logging("info", "text", stream)
    things = ["before"]
    log.info("first")
    stream.entered.wait()
    log.info("%s", things)
    things[0] = "after"
    stream.release.set()
    stop()

    assert "['before']" in stream.getvalue()


def test_records_below_the_level_are_left_out() -> None:
    stream = io.StringIO()
    stop = configure_logging("warning", "json", stream)
    log.info("quiet")
    log.warning("loud")
    stop()

    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["loud"]


def test_a_stream_that_takes_nothing_holds_up_nobody_and_what_is_lost_is_told() -> None:
    stream = Stuck()
    stop = configure_logging("info", "text", stream, queue_size=3)
    log.info("taken by the writer")
    stream.entered.wait()
    for number in range(10):
        log.info("number %d", number)
    stream.release.set()
    stop()
    text = stream.getvalue()

    assert "number 2" in text
    assert "number 3" not in text
    assert "7 log lines were lost" in text


def test_a_closed_stream_ends_nothing() -> None:
    stream = io.StringIO()
    stop = configure_logging("info", "text", stream)
    stream.close()
    log.info("lost")
    stop()


def test_a_second_configuration_takes_the_place_of_the_first() -> None:
    first, second = io.StringIO(), io.StringIO()
    stop_first = configure_logging("info", "text", first)
    stop_second = configure_logging("info", "text", second)
    log.info("once")
    stop_second()
    stop_first()

    assert (first.getvalue(), second.getvalue().count("once")) == ("", 1)


@given(st.text(st.characters(codec=None)))
def test_any_message_is_one_printable_line(message: str) -> None:
    assert TextFormatter().format(record("%s", message)).isprintable()
    assert json.loads(JsonFormatter().format(record("%s", message)))["message"] == message[:MAX_LINE]
