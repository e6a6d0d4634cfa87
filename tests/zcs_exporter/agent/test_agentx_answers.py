from collections.abc import Callable
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mib_views import view_of, view_with_mounts

from zcs_exporter.agent.agentx_answers import MOST_RANGES, MOST_VARIABLES, Request, answer
from zcs_exporter.agent.agentx_pdu import (
    CommitSet,
    ErrorStatus,
    Get,
    GetBulk,
    GetNext,
    Ping,
    Response,
    SearchRange,
    TestSet,
    UndoSet,
    ValueType,
    Variable,
)
from zcs_exporter.agent.view import MibView
from zcs_exporter.snmp.smi import DEFAULT_ROOT as ROOT
from zcs_exporter.snmp.smi import Oid, Syntax

BEHIND = (*ROOT[:-1], ROOT[-1] + 1)
VIEW = view_with_mounts(3)
NAMES = [each.oid for each in VIEW]
MOUNT = (*ROOT, 1, 3, 1, 1, 2, 1)
"""zcsFilesystemMount of the first file system."""

NUMBERS = st.integers(0, 20)
PLACES = st.one_of(
    st.sampled_from(NAMES),
    st.lists(NUMBERS, max_size=8).map(lambda rest: (*ROOT, *rest)),
    st.lists(NUMBERS, max_size=4).map(tuple),
)


def ask(request: Request, view: MibView = VIEW) -> list[Variable]:
    response = answer(request, view)
    assert response.error == ErrorStatus.NO_ERROR
    return list(response.variables)


def follow(start: Oid, *, include: bool = False, end: Oid = BEHIND) -> Variable:
    [variable] = ask(GetNext((SearchRange(start, include, end),)))
    return variable


def test_get_returns_values_and_says_what_is_missing() -> None:
    column, unknown = (*ROOT, 1, 3, 1, 1, 2), (*ROOT, 1, 99)
    names = (MOUNT, (*column, 77), column, unknown)

    found = ask(Get(tuple(SearchRange(name) for name in names)))

    assert found == [
        Variable(ValueType.OCTET_STRING, MOUNT, b"/opt/zimbra/store/volume0"),
        Variable(ValueType.NO_SUCH_INSTANCE, (*column, 77)),
        Variable(ValueType.NO_SUCH_INSTANCE, column),
        Variable(ValueType.NO_SUCH_OBJECT, unknown),
    ]


def test_each_syntax_of_ours_has_its_type_on_the_wire() -> None:
    types = {each.syntax: ask(Get((SearchRange(each.oid),)))[0].type for each in VIEW}

    expected = {
        Syntax.TEXT: ValueType.OCTET_STRING,
        Syntax.GAUGE: ValueType.GAUGE32,
        Syntax.UNSIGNED: ValueType.GAUGE32,
        Syntax.COUNTER: ValueType.COUNTER64,
        Syntax.SEVERITY: ValueType.INTEGER,
        Syntax.TRUTH: ValueType.INTEGER,
    }
    assert {syntax: types[syntax] for syntax in expected} == expected


@given(PLACES, st.booleans(), PLACES)
def test_next_is_the_first_name_of_the_range(start: Oid, include: bool, end: Oid) -> None:
    inside = [name for name in NAMES if (name >= start if include else name > start) and (not end or name < end)]

    found = follow(start, include=include, end=end)

    if inside:
        assert found.name == inside[0]
        assert found.type not in (ValueType.END_OF_MIB_VIEW, ValueType.NO_SUCH_OBJECT)
    else:
        assert found == Variable(ValueType.END_OF_MIB_VIEW, start)


def test_a_walk_meets_every_instance_once_in_order() -> None:
    met = [follow(ROOT, include=True)]
    while met[-1].type is not ValueType.END_OF_MIB_VIEW:
        met.append(follow(met[-1].name))

    assert [each.name for each in met[:-1]] == NAMES
    assert [each.value for each in met[:-1]] == [each.value for each in VIEW]


def test_an_empty_view_ends_at_once() -> None:
    [found] = ask(GetNext((SearchRange(ROOT, True, BEHIND),)), view_of(root=(1, 3)))

    assert found == Variable(ValueType.END_OF_MIB_VIEW, ROOT)


@given(st.lists(PLACES, max_size=4), st.integers(0, 5), st.integers(0, 12))
def test_bulk_is_next_again_and_again(starts: list[Oid], non_repeaters: int, repetitions: int) -> None:
    ranges = [SearchRange(start, False, BEHIND) for start in starts]
    expected = [follow(start) for start in starts[:non_repeaters]]
    rows = [[follow(start) for start in starts[non_repeaters:]]] if starts[non_repeaters:] and repetitions else []
    while rows and len(rows) < repetitions and {each.type for each in rows[-1]} != {ValueType.END_OF_MIB_VIEW}:
        rows.append([follow(each.name) for each in rows[-1]])

    found = ask(GetBulk(non_repeaters, repetitions, tuple(ranges)))

    assert found == [*expected, *chain.from_iterable(rows)]


@pytest.mark.parametrize("ranges", [1, 7, MOST_VARIABLES + 1])
def test_bulk_is_cut_whatever_is_asked(ranges: int) -> None:
    view = view_with_mounts(200)

    found = ask(GetBulk(0, 0xFFFF, (SearchRange(ROOT, False, BEHIND),) * ranges), view)

    assert len(found) <= max(MOST_VARIABLES, ranges)
    assert len(found) % ranges == 0
    assert len(found) >= ranges


def test_nothing_can_be_written() -> None:
    value = Variable(ValueType.INTEGER, MOUNT, 1)

    assert answer(TestSet((value, value)), VIEW) == Response(error=ErrorStatus.NOT_WRITABLE, index=1)
    assert answer(TestSet(()), VIEW) == Response(error=ErrorStatus.NOT_WRITABLE)
    assert answer(CommitSet(), VIEW) == Response(error=ErrorStatus.COMMIT_FAILED)
    assert answer(UndoSet(), VIEW) == Response()


def test_a_question_whether_we_are_here_is_answered() -> None:
    assert answer(Ping(), VIEW) == Response()


@pytest.mark.parametrize("ask", [Get, GetNext, lambda ranges: GetBulk(0, 10, ranges)])
def test_a_request_for_more_than_anybody_needs_is_refused(ask: Callable[[tuple[SearchRange, ...]], Request]) -> None:
    ranges = (SearchRange(MOUNT),) * MOST_RANGES
    assert answer(ask(ranges), VIEW).error is ErrorStatus.NO_ERROR
    assert answer(ask((*ranges, SearchRange(MOUNT))), VIEW).error is ErrorStatus.GEN_ERR
