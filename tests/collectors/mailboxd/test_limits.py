import pytest
from fakes import FakeHost
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.mailboxd.limits import limits_told, parse_jetty, read_db_limit, read_http_limit
from zcs_exporter.contract import CollectError, Reason

JETTY = """<Configure id="Server" class="org.eclipse.jetty.server.Server">
\t<Get name="ThreadPool" id="pool">
\t\t<Set name="minThreads" type="int">10</Set>
\t\t<Set name="maxThreads" type="int">250</Set>
\t</Get>
"""
START = (
    b"2024-03-02 10:20:31,402 INFO  [LmtpServer] [] "
    b"TcpServer/7025 - Starting accept loop: 1 core threads, 20 max threads.\n"
)
SHORT = (
    b"2024-03-02 11:20:31,402 WARN  [ImapSSLServer] [] "
    b"TcpServer/7993 - Thread pool is 95% utilized.  237 out of 250 threads in use.\n"
)


def test_the_limit_of_HTTP_stands_in_jetty_xml() -> None:
    assert parse_jetty(JETTY) == 250


def test_jetty_xml_of_8_0_has_it_without_a_type() -> None:
    assert parse_jetty('<Set name="minThreads">10</Set>\n  <Set name="maxThreads">100</Set>') == 100


@pytest.mark.parametrize("text", ["", JETTY.replace("250", "%%zimbraHttpNumThreads%%"), JETTY.replace("250", "0")])
def test_a_jetty_xml_that_sets_none_is_an_error(text: str) -> None:
    with pytest.raises(CollectError, match="maxThreads") as caught:
        parse_jetty(text)
    assert caught.value.reason is Reason.PARSE


def test_a_host_without_jetty_has_no_limit_of_HTTP(host: FakeHost) -> None:
    assert read_http_limit(host) is None


def test_the_database_pool_is_what_localconfig_says_else_what_ZCS_has_compiled_in(host: FakeHost) -> None:
    assert read_db_limit(host) == 100
    host.localconfig(zimbra_mysql_connector_maxActive="150")
    assert read_db_limit(host) == 150
    host.localconfig(zimbra_mysql_connector_maxActive="many")
    assert read_db_limit(host) == 100


def test_a_server_tells_its_limit_when_it_starts_and_when_threads_run_short() -> None:
    assert limits_told(START + b"at java.lang.Thread.run\n" + SHORT) == {"lmtp": 20, "imap_ssl": 250}


def test_the_last_word_counts() -> None:
    assert limits_told(START + START.replace(b"20 max", b"40 max")) == {"lmtp": 40}


@pytest.mark.parametrize(
    "line",
    [
        b"x" + START,
        START.replace(b"INFO ", b"ERROR"),
        START.replace(b"[LmtpServer]", b"[qtp7-12]"),
        START.replace(b"TcpServer/7025 - ", b"mailop - subject: TcpServer/7025 - "),
        START.replace(b"threads.\n", b"threads. really\n"),
        START.replace(b"20 max", b"0 max"),
        SHORT.replace(b"250", b"many"),
    ],
)
def test_what_only_looks_like_such_a_line_tells_nothing(line: bytes) -> None:
    assert limits_told(line) == {}


@settings(max_examples=1000, deadline=None)
@given(st.text())
def test_any_text_gives_a_limit_or_an_error(text: str) -> None:
    try:
        assert parse_jetty(text) > 0
    except CollectError as exc:
        assert exc.reason is Reason.PARSE  # noqa: PT017


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=40), st.just(START[:-1]), st.just(SHORT[:-1]))))
def test_any_lines_give_limits_above_0(lines: list[bytes]) -> None:
    assert all(limit > 0 for limit in limits_told(b"\n".join(lines) + b"\n").values())
