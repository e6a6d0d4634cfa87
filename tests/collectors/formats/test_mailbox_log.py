import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.formats.mailbox_log import (
    MEMORY_KINDS,
    find_gist,
    gist_of,
    last_cause,
    last_entry,
    memory_kind,
    no_space,
    parse_context,
    parse_mailbox_line,
    started_version,
    thread_pool,
    thrown_class,
)
from zcs_exporter.contract import LogBlock

HTTPS = b"qtp1068934215-733:https://mail.example.com:443/service/soap/SearchRequest"
TRACE = (
    b"\njava.lang.IllegalStateException: closed\n\tat a.B.c(B.java:1)\nCaused by: java.io.IOException: x\n\t... 2 more"
)


def line(
    context: bytes = b"",
    message: bytes = b"text",
    *,
    level: bytes = b"WARN ",
    thread: bytes = HTTPS,
    component: bytes = b"soap",
) -> bytes:
    return (
        b"2024-03-02 10:25:11,402 " + level + b" [" + thread + b"] [" + context + b"] " + component + b" - " + message
    )


def test_the_first_line_of_an_entry_is_taken_apart() -> None:
    parsed = parse_mailbox_line(line(b"name=ann@example.com;mid=12;", b"no item", level=b"ERROR"))

    assert parsed is not None
    assert (parsed.stamp, parsed.level, parsed.thread) == (b"2024-03-02 10:25:11", b"ERROR", HTTPS)
    assert (parsed.context, parsed.component, parsed.message) == (
        b"name=ann@example.com;mid=12;",
        "soap",
        b"no item",
    )
    assert not parsed.imitated


@pytest.mark.parametrize(
    "context",
    [
        b"ua=x] system - y;",
        b"ua=x;;] system - y;",
        b"ua=x;;;;] system - y;mid=1;",
        b"ua=] FATAL - ;",
        b"ua=x] [y] system - handler exception;",
    ],
)
def test_what_a_client_puts_into_its_context_ends_no_context(context: bytes) -> None:
    parsed = parse_mailbox_line(line(context))

    assert parsed is not None
    assert (parsed.component, parsed.message) == ("soap", b"text")
    assert parsed.context == context
    assert parsed.imitated


@pytest.mark.parametrize("context", [b"", b"ua=x;", b"ua=x;;;", b"ua=];", b"ua=x;;y;", b"ua=[] ;"])
def test_a_context_ends_when_it_is_empty_or_after_an_odd_number_of_semicolons(context: bytes) -> None:
    parsed = parse_mailbox_line(line(context, b"a] store - b"))

    assert parsed is not None
    assert (parsed.context, parsed.component, parsed.message) == (context, "soap", b"a] store - b")


def test_an_entry_whose_context_never_ends_is_of_no_known_component() -> None:
    parsed = parse_mailbox_line(line(b"ua=x;" * 40)[:200])

    assert parsed is not None
    assert parsed.component == "other"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"java.lang.OutOfMemoryError: Java heap space",
        b"2024-03-02 10:25:11.402 WARN  [a] [] soap - x",
        b"2024-03-02 10:25:11,402 WARNING [a] [] soap - x",
        b" 2024-03-02 10:25:11,402 WARN  [a] [] soap - x",
    ],
)
def test_what_has_no_stamp_and_level_at_its_place_is_no_entry(text: bytes) -> None:
    assert parse_mailbox_line(text) is None


def test_values_of_a_context_get_their_semicolons_back() -> None:
    assert parse_context(b"name=a@example.com;ua=x;;y;;;;z;via=;odd;") == {
        "name": "a@example.com",
        "ua": "x;y;;z",
        "via": "",
    }


def test_entries_that_tell_nothing_are_passed_over() -> None:
    plain = line(level=b"INFO ") + b"\n" + line(level=b"DEBUG") + b"\n"

    assert find_gist(plain * 3) == ([], [])
    assert find_gist(b"") == ([], [])


def test_lines_after_an_entry_belong_to_it() -> None:
    first, plain = line(), line(level=b"INFO ")
    found = list(find_gist(first + TRACE + b"\n" + plain + b"\n" + plain + TRACE + b"\n").stretches)

    assert [(each.line, each.rest, each.ended) for each in found] == [(first, TRACE, True), (plain, TRACE, False)]
    assert found[1].start == len(first + TRACE + b"\n" + plain + b"\n")


def test_lines_before_the_first_entry_belong_to_the_block_before() -> None:
    [found] = find_gist(TRACE[1:] + b"\n" + line(level=b"INFO ") + b"\n").stretches

    assert (found.start, found.line, found.rest, found.ended) == (None, b"", TRACE, True)


def test_lines_that_look_half_like_an_entry_belong_to_the_one_before() -> None:
    first = line(level=b"INFO ")
    rest = b"\n2024-03-02 10:25:11,402 ERRO [a] x\n1 of 2\n2024"

    [found] = find_gist(first + rest + b"\nx\n" + first + b"\n").stretches

    assert (found.line, found.rest) == (first, rest + b"\nx")


ENDS = (
    b"account not found",
    b"(no such account)",
    b"suspended, for repeated failed login",
    b"suspended, for repeated failed login.",
    b"1 core threads, 20 max threads.",
    b"19 out of 20 threads in use.",
)
SOME_LINES = st.lists(
    st.one_of(
        st.builds(
            lambda level, thread, message: line(message=message, level=level, thread=thread),
            st.sampled_from([b"INFO ", b"DEBUG", b"WARN ", b"FATAL"]),
            st.sampled_from([b"ImapServer-7", b"LmtpServer", b"LmtpServer-1", b"main", HTTPS]),
            st.sampled_from([*ENDS, *(end + b" x" for end in ENDS), b"x.", b"x)", b"found", b"in", b""]),
        ),
        st.sampled_from([TRACE[1:], b"", b"2", b"2" * 24 + b"I", b".", *ENDS]),
        st.binary(max_size=40).map(lambda raw: raw.replace(b"\n", b"")),
    ),
    max_size=12,
)


@given(SOME_LINES)
@settings(max_examples=1500, deadline=None)
def test_entries_are_known_by_their_end_wherever_they_stand(lines: list[bytes]) -> None:
    data = b"".join(each + b"\n" for each in lines)
    starts = [0] + [place + 1 for place, byte in enumerate(data) if byte == ord("\n")]
    ended = find_gist(data).ended

    assert list(ended) == sorted(set(ended))
    assert set(ended) <= set(starts)
    texts = [data[start : data.find(b"\n", start)] for start in ended]
    every = [each for each in data.split(b"\n") if each.endswith(ENDS)]
    assert [each for each in texts if parse_mailbox_line(each) and each.endswith(ENDS)] == [
        each for each in every if parse_mailbox_line(each)
    ]


@given(SOME_LINES)
@settings(max_examples=1500, deadline=None)
def test_every_entry_at_warn_and_above_is_told_with_all_that_follows(lines: list[bytes]) -> None:
    data = b"".join(each + b"\n" for each in lines)
    told = [each for each in find_gist(data).stretches if each.line[24:29] in (b"WARN ", b"FATAL")]

    loud = [each for each in data.split(b"\n") if each[24:29] in (b"WARN ", b"FATAL") and parse_mailbox_line(each)]
    assert [each.line for each in told] == loud
    for each in told:
        assert each.start is not None
        rest = data[each.start :].removeprefix(each.line)
        assert rest.startswith(each.rest + b"\n")
        assert each.ended == (parse_mailbox_line(rest[len(each.rest) + 1 :].partition(b"\n")[0]) is not None)
        assert not any(map(parse_mailbox_line, each.rest.split(b"\n")))


def test_a_block_is_searched_once_for_all_its_readers() -> None:
    block = LogBlock("mailbox.log", line() + b"\n", 0)

    assert gist_of(block) is gist_of(block)
    assert len(gist_of(block).stretches) == 1


def test_the_last_entry_of_a_block_is_found_behind_its_trace() -> None:
    text = line().replace(b"10:25:11", b"10:25:12")

    assert last_entry(line() + b"\n" + text + TRACE + b"\n") == (len(line()) + 1, b"2024-03-02 10:25:12")
    assert last_entry(TRACE[1:] + b"\n") is None


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (b"Java heap space", "heap"),
        (b"GC overhead limit exceeded", "gc_overhead"),
        (b"Metaspace", "metaspace"),
        (b"PermGen space", "metaspace"),
        (b"unable to create new native thread", "threads"),
        (b"unable to create native thread: possibly out of memory or process/resource limits reached", "threads"),
        (b"Direct buffer memory", "other"),
    ],
)
def test_the_kind_of_memory_is_told_by_the_exception(text: bytes, kind: str) -> None:
    assert kind in MEMORY_KINDS
    assert memory_kind(b"\njava.lang.OutOfMemoryError: " + text + b"\n\tat a.B.c(B.java:1)") == kind
    assert memory_kind(b"\na.B: x\nCaused by: java.lang.OutOfMemoryError: " + text) == kind


def test_an_out_of_memory_without_a_text_is_of_another_kind() -> None:
    assert memory_kind(b"\njava.lang.OutOfMemoryError\n\tat a.B.c(B.java:1)") == "other"


@pytest.mark.parametrize(
    "rest",
    [
        b"\nsubject: java.lang.OutOfMemoryError: Java heap space",
        b"\n java.lang.OutOfMemoryError: Java heap space",
        b"\njava.lang.OutOfMemoryErrors: Java heap space",
        b"\n<a>No space left on device</a>",
    ],
)
def test_text_of_others_is_no_exception(rest: bytes) -> None:
    assert memory_kind(rest) is None
    assert not no_space(rest)


def test_exceptions_are_known_by_their_lines() -> None:
    assert thrown_class(TRACE) == "java.lang.IllegalStateException"
    assert last_cause(TRACE + b"\nCaused by: com.mysql.cj.jdbc.exceptions.CommunicationsException\n\t... 1 more") == (
        "com.mysql.cj.jdbc.exceptions.CommunicationsException"
    )
    assert thrown_class(b"\nsome text: x\n a.B: x") == last_cause(b"\nCaused by: nothing at all") == ""
    assert last_cause(TRACE + b"\nCaused by: nothing at all") == "java.io.IOException"
    assert no_space(b"\nCaused by: java.io.IOException: write /opt/zimbra/index: No space left on device")


def test_threads_in_use_and_their_limit_are_read() -> None:
    assert thread_pool(b"Thread pool is 95% utilized.  237 out of 250 threads in use.")
    assert not thread_pool(b"Thread pool is full")


def test_the_version_that_starts_is_read() -> None:
    text = b"version=10.0.8_GA_4518 release=20240205101010 builddate=20240205-1010 buildhost=build.example.com"

    assert started_version(text) == "10.0.8_GA_4518"
    assert started_version(b"conversion=1 release=2 builddate=") is None


@settings(max_examples=2000, deadline=None)
@given(st.binary(max_size=400))
def test_no_line_is_beyond_it(text: bytes) -> None:
    for data in (text, line() + text, line(text), line(text) + text):
        parse_mailbox_line(data)
        found = list(find_gist(data + b"\n").stretches)
        assert all(each.rest.startswith(b"\n") or not each.rest for each in found)
        last_cause(text), thrown_class(text), memory_kind(text), no_space(text), parse_context(text)
