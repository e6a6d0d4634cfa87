"""Sessions with a master that the test plays."""

import asyncio
import logging
from pathlib import Path

import pytest
from agentx_master import GET, LONG, SESSION, SHORT, VALUE, VIEW, Link, Master, play, until, up
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mib_views import view_with_mounts

from zcs_exporter.agent.agentx import AgentX
from zcs_exporter.agent.agentx_codec import encode
from zcs_exporter.agent.agentx_pdu import (
    CleanupSet,
    Close,
    CloseReason,
    ErrorStatus,
    GetBulk,
    GetNext,
    Open,
    Packet,
    Pdu,
    Ping,
    Register,
    Response,
    SearchRange,
    TestSet,
    ValueType,
)
from zcs_exporter.agent.agentx_session import Patience
from zcs_exporter.agent.view import MibView
from zcs_exporter.contract import Clock
from zcs_exporter.snmp.smi import DEFAULT_ROOT as ROOT


def test_it_registers_our_root_and_nothing_more(tmp_path: Path) -> None:
    async def story(master: Master, agentx: AgentX) -> None:
        link = await master.link()
        assert up(agentx) == [0.0]
        assert (await link.welcome()).subtree == ROOT
        await until(lambda: up(agentx) == [1.0])

    play(story, tmp_path)


def test_it_answers_what_the_master_asks_in_the_order_of_the_requests(tmp_path: Path) -> None:
    async def story(master: Master, _: AgentX) -> None:
        link = await master.link()
        await link.welcome()
        assert await link.ask(GET) == Response((VALUE,))
        assert await link.ask(GET, little_endian=True) == Response((VALUE,))
        numbers = [link.send(GetNext((SearchRange(each.oid),))) for each in VIEW]
        assert [(await link.receive()).number for _ in numbers] == numbers

    play(story, tmp_path)


def test_it_answers_from_what_is_known_now(tmp_path: Path) -> None:
    views = [view_with_mounts(0), VIEW]

    async def story(master: Master, _: AgentX) -> None:
        link = await master.link()
        await link.welcome()
        [missing] = (await link.ask(GET)).variables
        assert missing.type is ValueType.NO_SUCH_INSTANCE
        views.pop(0)
        assert (await link.ask(GET)).variables == (VALUE,)

    play(story, tmp_path, view=lambda: views[0])


def test_a_request_in_pieces_is_answered_when_it_is_whole(tmp_path: Path) -> None:
    async def story(master: Master, _: AgentX) -> None:
        link = await master.link()
        await link.welcome()
        for octet in encode(Packet(GET, SESSION, 99, 1)):
            link.write(bytes([octet]))
            await link.writer.drain()
            await asyncio.sleep(0)
        assert (await link.receive()).pdu == Response((VALUE,))

    play(story, tmp_path)


def test_a_write_is_refused_and_its_end_not_answered(tmp_path: Path) -> None:
    async def story(master: Master, _: AgentX) -> None:
        link = await master.link()
        await link.welcome()
        refused = await link.ask(TestSet((VALUE,)))
        assert (refused.error, refused.index) == (ErrorStatus.NOT_WRITABLE, 1)
        link.send(CleanupSet())
        number = link.send(GET)
        assert (await link.receive()).number == number

    play(story, tmp_path)


def test_other_contexts_and_other_sessions_are_not_ours(tmp_path: Path) -> None:
    async def story(master: Master, _: AgentX) -> None:
        link = await master.link()
        await link.welcome()
        link.send(GET, context=b"other")
        link.send(GET, session=SESSION + 1)
        found = [(await link.receive()).pdu for _ in range(2)]
        assert found == [
            Response(error=ErrorStatus.UNSUPPORTED_CONTEXT),
            Response(error=ErrorStatus.NOT_OPEN),
        ]

    play(story, tmp_path)


def test_a_view_that_cannot_be_made_is_an_error_of_the_request_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> MibView:
        raise ZeroDivisionError

    async def story(master: Master, _: AgentX) -> None:
        link = await master.link()
        await link.welcome()
        for _ in range(3):
            assert (await link.ask(GET)).error == ErrorStatus.GEN_ERR

    play(story, tmp_path, view=broken)

    assert caplog.text.count("bug, please report it") == 1


def test_a_master_that_is_silent_is_asked_whether_it_is_there_and_kept_while_it_answers(tmp_path: Path) -> None:
    async def story(master: Master, agentx: AgentX) -> None:
        link = await master.link()
        await link.welcome()
        for _ in range(5):
            asked = await link.receive()
            assert asked.pdu == Ping()
            link.answer(asked)
        assert up(agentx) == [1.0]

    play(story, tmp_path, Patience(answer=30, idle=0.001))


def test_requests_come_between_a_question_and_its_answer(tmp_path: Path) -> None:
    async def story(master: Master, agentx: AgentX) -> None:
        link = await master.link()
        await link.welcome()
        asked = await link.receive()
        assert (await link.ask(GET)).variables == (VALUE,)
        strange = Response(error=ErrorStatus.PROCESSING_ERROR)
        link.write(encode(Packet(strange, SESSION, 0, asked.number + 1)))  # to nothing that was asked
        link.answer(asked)
        again = await link.receive()
        assert again.pdu == Ping()
        assert up(agentx) == [1.0]

    play(story, tmp_path, Patience(answer=30, idle=0.01))


def test_a_master_that_hangs_is_left_for_a_new_session(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story(master: Master, agentx: AgentX) -> None:
        link = await master.link()
        await link.welcome()
        rest = await link.until_closed()
        assert rest == [Ping(), Close(CloseReason.TIMEOUTS)]
        assert up(agentx) == [0.0]
        await master.link()

    play(story, tmp_path, SHORT)

    assert "snmpd has not answered for 0.01 s" in caplog.text


@pytest.mark.parametrize("answered", [0, 1])
def test_a_master_that_never_lets_the_session_begin_is_asked_again(tmp_path: Path, answered: int) -> None:
    async def story(master: Master, agentx: AgentX) -> None:
        link = await master.link()
        for _ in range(answered):
            link.answer(await link.receive())
        await link.until_closed()
        await master.link()
        assert up(agentx) == [0.0]

    play(story, tmp_path, SHORT)


@pytest.mark.parametrize(
    ("refused", "error", "name"),
    [(Open, ErrorStatus.OPEN_FAILED, "open_failed"), (Register, ErrorStatus.DUPLICATE_REGISTRATION, "duplicate_reg"),
     (Register, 999, "error 999")],
)  # fmt: skip
def test_a_refusal_is_told_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, refused: type[Pdu], error: int, name: str
) -> None:
    async def story(master: Master, agentx: AgentX) -> None:
        for _ in range(4):
            link = await master.link()
            while True:
                packet = await link.receive()
                if isinstance(packet.pdu, refused):
                    break
                link.answer(packet)
            link.answer(packet, error)
            await link.until_closed()
        assert caplog.text.count(f"snmpd refuses {refused.__name__}: {name}") == 1
        link = await master.link()
        await link.welcome()
        await until(lambda: up(agentx) == [1.0])

    play(story, tmp_path)


def test_a_master_that_goes_and_comes_is_served_again(tmp_path: Path) -> None:
    async def whole() -> None:
        place = tmp_path / "master"
        agentx = AgentX(lambda: VIEW, Clock(), LONG)
        await agentx.use(str(place), ROOT)
        for _ in range(5):
            async with asyncio.timeout(60), Master(place) as master:
                link = await master.link()
                await link.welcome()
                await link.ask(GET)
                assert up(agentx) == [1.0]
            await until(lambda: up(agentx) == [0.0])
        await agentx.stop()

    asyncio.run(whole())


def test_a_master_that_ends_the_session_gets_a_new_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story(master: Master, _: AgentX) -> None:
        link = await master.link()
        await link.welcome()
        link.send(Close(CloseReason.BY_MANAGER))
        await link.until_closed()
        await (await master.link()).welcome()

    play(story, tmp_path)

    assert "snmpd has ended the session: by_manager" in caplog.text


NONSENSE = {
    "another version": b"\2",
    "http": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a huge length": bytes.fromhex("01 05 10 00  00000007 00000000 00000000 7ffffffc"),
    "a kind that does not exist": bytes.fromhex("01 63 10 00  00000007 00000000 00000000 00000000"),
    "a range that is cut": bytes.fromhex("01 05 10 00  00000007 00000000 00000000 00000004 05000000"),
    "what only a subagent sends": encode(Packet(Register(ROOT), SESSION)),
}


@pytest.mark.parametrize("octets", NONSENSE.values(), ids=NONSENSE.keys())
@pytest.mark.parametrize("begun", [False, True])
def test_nonsense_ends_the_session_and_the_next_begins(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, octets: bytes, begun: bool
) -> None:
    async def story(master: Master, agentx: AgentX) -> None:
        link = await master.link()
        if begun:
            await link.welcome()
            await link.ask(GET)
        link.write(octets)
        last = (await link.until_closed())[-1]
        assert not begun or (isinstance(last, Close) and last.reason in (3, 2))
        await (await master.link()).welcome()
        await until(lambda: up(agentx) == [1.0])

    with caplog.at_level(logging.ERROR):
        play(story, tmp_path)

    assert not caplog.text


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=60), max_size=4))
def test_whatever_the_master_sends_the_next_session_is_a_good_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, pieces: list[bytes]
) -> None:
    async def story(master: Master, _: AgentX) -> None:
        link = await master.link()
        await link.welcome()
        for piece in pieces:
            link.write(piece)
        link.writer.write_eof()
        await link.until_closed()
        link = await master.link()
        await link.welcome()
        assert (await link.ask(GET)).variables == (VALUE,)

    with caplog.at_level(logging.ERROR):
        play(story, tmp_path)

    assert not caplog.text


def test_a_master_that_reads_no_answers_is_answered_no_more_and_left(tmp_path: Path) -> None:
    """What it does not take is kept in memory, so no more requests are taken until it is gone."""
    request = encode(Packet(GetBulk(0, 1000, (SearchRange(ROOT),)), SESSION, 1, 1))
    large = view_with_mounts(90)
    answered: list[MibView] = []
    taken: list[int] = []

    def view() -> MibView:
        answered.append(large)
        return large

    async def flood(link: Link) -> None:
        while True:
            link.write(request * 100)
            await link.writer.drain()
            taken.append(100 * len(request))

    async def story(master: Master, agentx: AgentX) -> None:
        link = await master.link()
        await link.welcome()
        await until(lambda: agentx.up)
        with pytest.raises(ConnectionError):  # whatever still waits to be taken, the socket is let go of
            await flood(link)
        link.writer.transport.abort()
        await (await master.link()).welcome()

    play(story, tmp_path, Patience(answer=0.1, idle=0.1, pause=0.001), view)

    assert 0 < len(answered) < 100
    assert sum(taken) < 2_000_000  # the kernel takes some of it


def test_requests_that_wait_while_answers_are_not_taken_are_answered_when_they_are(tmp_path: Path) -> None:
    count = 5000

    async def story(master: Master, _: AgentX) -> None:
        link = await master.link()
        await link.welcome()
        numbers = [link.send(GetBulk(0, 20, (SearchRange(ROOT),))) for _ in range(count)]
        assert [(await link.receive()).number for _ in range(count)] == numbers

    play(story, tmp_path)


def test_a_message_that_never_ends_takes_no_more_memory_than_it_may_have(tmp_path: Path) -> None:
    header = bytes.fromhex("01 05 10 00  00000007 00000000 00000000 00100000")

    async def story(master: Master, _: AgentX) -> None:
        link = await master.link()
        await link.welcome()
        link.write(header + bytes(1000))
        assert (await link.until_closed())[-1] == Close(CloseReason.TIMEOUTS)

    play(story, tmp_path, SHORT)


def test_stop_takes_our_objects_out(tmp_path: Path) -> None:
    async def story(master: Master, agentx: AgentX) -> None:
        link = await master.link()
        await link.welcome()
        await until(lambda: agentx.up)
        await agentx.stop()
        assert await link.until_closed() == [Close(CloseReason.SHUTDOWN)]
        assert up(agentx) == []

    play(story, tmp_path)


def test_another_root_or_place_is_another_session_and_the_same_is_not(tmp_path: Path) -> None:
    async def story(master: Master, agentx: AgentX) -> None:
        place, other = str(master.place), (1, 3, 6, 1, 4, 1, 99999)
        link = await master.link()
        await link.welcome()
        await until(lambda: agentx.up)
        await agentx.use(place, ROOT)
        assert agentx.up
        await agentx.use(place, other)
        assert await link.until_closed() == [Close(CloseReason.SHUTDOWN)]
        link = await master.link()
        assert (await link.welcome()).subtree == other
        await agentx.use(None, other)
        await link.until_closed()
        assert up(agentx) == []

    play(story, tmp_path)
