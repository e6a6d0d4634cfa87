import ipaddress

import pytest
from fakes import ManualClock
from snmp_messages import GETBULK, GETNEXT, SET, SYS_NAME, discovery, message_2c, message_3, octets, request, scoped

from zcs_exporter.agent.gate import ALL_SOURCES, EACH_SOURCE, LONGEST_DISCOVERY, MOST_SOURCES, AgentGate, Outcome
from zcs_exporter.snmp.gate import MAX_DATAGRAM, Doubt

ENGINE = bytes.fromhex("80001f8805") + bytes(range(12))
COMMUNITY = "0123456789abcdef"
NETWORKS = tuple(map(ipaddress.ip_network, ("192.0.2.0/24", "2001:db8::/64")))
MANAGER = "192.0.2.7"
READ = message_2c(COMMUNITY.encode(), request(SYS_NAME))
SECRET = message_3(ENGINE, b"nms", 7, octets(bytes(64)), auth=bytes(24), priv=bytes(8))


@pytest.fixture
def gate(manual: ManualClock) -> AgentGate:
    return AgentGate(manual.clock, NETWORKS, [COMMUNITY], ENGINE)


def outcome(gate: AgentGate, datagram: bytes, source: str = MANAGER) -> Outcome:
    before = gate.outcomes.copy()
    admitted = gate.admits(datagram, source)
    [found] = gate.outcomes - before
    assert admitted == (found is Outcome.UNPROVEN)
    return found


@pytest.mark.parametrize("tag", [0xA0, GETNEXT, GETBULK])
def test_who_knows_the_community_may_read(gate: AgentGate, tag: int) -> None:
    assert outcome(gate, message_2c(COMMUNITY.encode(), request(SYS_NAME, tag=tag))) is Outcome.UNPROVEN


def test_who_knows_it_and_wants_to_write_gets_as_far_as_to_be_told_no(gate: AgentGate) -> None:
    assert outcome(gate, message_2c(COMMUNITY.encode(), request(SYS_NAME, tag=SET))) is Outcome.UNPROVEN
    gate.refused(MANAGER)

    assert (gate.outcomes[Outcome.OPERATION], gate.outcomes[Outcome.UNPROVEN]) == (1, 0)


@pytest.mark.parametrize("tag", [0xA2, 0xA4, 0xA6, 0xA7, 0xA8, 0x30])
def test_and_nothing_else(gate: AgentGate, tag: int) -> None:
    assert outcome(gate, message_2c(COMMUNITY.encode(), request(SYS_NAME, tag=tag))) is Outcome.OPERATION


@pytest.mark.parametrize("community", [b"", b"public", COMMUNITY.encode()[:-1], COMMUNITY.encode() + b"0"])
def test_a_wrong_community_gets_no_further(gate: AgentGate, community: bytes) -> None:
    assert outcome(gate, message_2c(community, request(SYS_NAME))) is Outcome.COMMUNITY


def test_version_1_is_not_offered(gate: AgentGate) -> None:
    assert outcome(gate, message_2c(COMMUNITY.encode(), request(SYS_NAME), version=0)) is Outcome.VERSION


def test_a_version_that_nobody_is_configured_for_is_not_offered(manual: ManualClock) -> None:
    assert outcome(AgentGate(manual.clock, (), [], ENGINE), READ) is Outcome.VERSION
    assert outcome(AgentGate(manual.clock, (), [COMMUNITY], None), SECRET) is Outcome.VERSION
    assert outcome(AgentGate(manual.clock, (), [COMMUNITY], None), discovery()) is Outcome.VERSION


def test_version_3_has_to_be_encrypted_for_our_engine(gate: AgentGate) -> None:
    plain = scoped(ENGINE, request(SYS_NAME))
    assert outcome(gate, SECRET) is Outcome.UNPROVEN
    for flags in (0, 4, 2, 6, 3, 7):
        assert outcome(gate, message_3(ENGINE, b"nms", flags, plain)) is Outcome.SECURITY
    for flags in (0, 1, 2, 4, 5):
        assert outcome(gate, message_3(ENGINE, b"nms", flags, octets(bytes(64)))) is Outcome.SECURITY


def test_what_is_for_another_engine_gets_as_far_as_a_report_if_it_wants_one(gate: AgentGate) -> None:
    other = ENGINE[:-1] + b"\xff"
    plain = scoped(other, request(SYS_NAME))

    assert outcome(gate, message_3(other, b"nms", 7, octets(bytes(64)))) is Outcome.UNPROVEN
    gate.doubted(Doubt.ENGINE)
    assert (gate.outcomes[Outcome.ENGINE], gate.outcomes[Outcome.UNPROVEN]) == (1, 0)
    assert outcome(gate, message_3(other, b"nms", 4, plain)) is Outcome.UNPROVEN
    for flags, content in ((3, octets(bytes(64))), (0, plain), (1, plain)):
        assert outcome(gate, message_3(other, b"nms", flags, content)) is Outcome.ENGINE
    for flags, content in ((4, octets(bytes(64))), (7, plain), (4, scoped(other, request(*[SYS_NAME] * 20)))):
        assert outcome(gate, message_3(other, b"nms", flags, content)) is Outcome.SECURITY


def test_messages_for_other_engines_are_few(gate: AgentGate) -> None:
    strangers = [message_3(ENGINE[:-2] + n.to_bytes(2), b"nms", 7, octets(bytes(64))) for n in range(1000)]

    assert sum(gate.admits(each, MANAGER) for each in strangers) == EACH_SOURCE.unproven_burst
    assert outcome(gate, strangers[0], "203.0.113.1") is Outcome.NETWORK


def test_who_asks_who_we_are_is_told_if_the_question_is_short(gate: AgentGate) -> None:
    time_question = message_3(ENGINE, b"nms", 5, scoped(ENGINE, request()), auth=bytes(24))
    long = message_3(b"", b"", 4, scoped(b"", request(*[SYS_NAME] * 20)))

    assert outcome(gate, discovery()) is Outcome.UNPROVEN
    assert outcome(gate, time_question) is Outcome.UNPROVEN
    assert len(long) > LONGEST_DISCOVERY
    assert outcome(gate, long) is Outcome.SECURITY


@pytest.mark.parametrize("source", ["192.0.3.1", "127.0.0.1", "2001:db8:0:1::1", "::ffff:192.0.3.1", "fe80::1%eth0"])
def test_other_networks_get_no_further(gate: AgentGate, source: str) -> None:
    assert outcome(gate, READ, source) is Outcome.NETWORK


@pytest.mark.parametrize("source", ["192.0.2.255", "2001:db8::1", "::ffff:192.0.2.1"])
def test_allowed_networks_do(gate: AgentGate, source: str) -> None:
    assert outcome(gate, READ, source) is Outcome.UNPROVEN


def test_what_is_too_long_or_no_message_gets_no_further(gate: AgentGate) -> None:
    assert outcome(gate, READ + bytes(MAX_DATAGRAM)) is Outcome.SIZE
    assert outcome(gate, b"\x30" * 100) is Outcome.MALFORMED


def answered(gate: AgentGate, count: int, source: str = MANAGER) -> int:
    """How many of so many requests of somebody who may ask are admitted."""
    found = 0
    for _ in range(count):
        if gate.admits(READ, source):
            gate.answered(source)
            found += 1
    return found


def test_a_flood_from_one_address_takes_nothing_from_the_others(gate: AgentGate, manual: ManualClock) -> None:
    assert answered(gate, 10_000) == -(-EACH_SOURCE.octets_burst // len(READ))
    assert outcome(gate, READ) is Outcome.RATE
    assert answered(gate, 1, "192.0.2.8") == 1

    manual.advance(1)
    assert answered(gate, 10_000) == pytest.approx(EACH_SOURCE.octets / len(READ), abs=2)


def test_answers_are_charged_too(gate: AgentGate) -> None:
    gate.sent(int(EACH_SOURCE.octets_burst), MANAGER)

    assert outcome(gate, READ) is Outcome.RATE


def test_messages_that_prove_nothing_are_few(gate: AgentGate, manual: ManualClock) -> None:
    assert sum(gate.admits(SECRET, MANAGER) for _ in range(1000)) == EACH_SOURCE.unproven_burst
    assert answered(gate, 1, "192.0.2.8") == 1

    manual.advance(1)
    assert sum(gate.admits(discovery(), MANAGER) for _ in range(1000)) == EACH_SOURCE.unproven


def test_managers_that_begin_each_request_by_discovery_are_not_hindered(gate: AgentGate, manual: ManualClock) -> None:
    for _ in range(1000):
        manual.advance(1 / EACH_SOURCE.unproven)
        assert gate.admits(discovery(), MANAGER)
        assert answered(gate, 3) == 3


def test_strangers_are_not_charged_so_that_forged_addresses_cost_nobody_anything(gate: AgentGate) -> None:
    for _ in range(10_000):
        gate.admits(message_2c(b"wrong", request(SYS_NAME)), MANAGER)

    assert outcome(gate, READ) is Outcome.UNPROVEN


def test_many_addresses_together_are_bounded_and_so_is_what_is_remembered_of_them(gate: AgentGate) -> None:
    sources = [f"2001:db8::{number:x}" for number in range(60_000)]
    assert sum(answered(gate, 1, source) for source in sources) == ALL_SOURCES.octets_burst // len(READ)
    assert len(gate._sources) <= MOST_SOURCES


def test_many_addresses_that_prove_nothing_are_bounded(gate: AgentGate) -> None:
    admitted = sum(gate.admits(SECRET, f"2001:db8::{number:x}") for number in range(1000))

    assert admitted == ALL_SOURCES.unproven_burst


def test_what_was_proven_or_could_not_be_decoded_is_counted_as_that(gate: AgentGate) -> None:
    for _ in range(4):
        gate.admits(READ, MANAGER)
    gate.answered(MANAGER)
    gate.failed(MANAGER)
    gate.crowded_out(MANAGER)

    values = {each.labels: each.value for each in gate.samples()}
    assert values["answered",] == values["malformed",] == values["unproven",] == values["rate",] == 1
    assert values["network",] == 0
