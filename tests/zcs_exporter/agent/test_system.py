from snmp_scene import HOST, VIEW_ROOT, view

from zcs_exporter import __version__
from zcs_exporter.agent.system import SYSTEM, OwnPort
from zcs_exporter.snmp.smi import Syntax, VarBind

UP_TIMES = iter(range(100, 10_000))
VIEW = view()
PORT = OwnPort(VIEW, VIEW_ROOT, lambda: next(UP_TIMES), HOST, "ops@example.com", "rack $7")


def test_the_system_group_comes_first_and_then_our_objects() -> None:
    walked, oid = [], ()
    while (found := PORT.after(oid)) is not None:
        walked.append(found)
        oid = found.oid

    assert [each.oid for each in walked[:7]] == [(*SYSTEM, number, 0) for number in range(1, 8)]
    assert walked[7:] == list(VIEW)


def test_it_says_who_and_what_this_is() -> None:
    values = {number: PORT.get((*SYSTEM, number, 0)) for number in range(1, 8)}

    assert values[1].value == f"zcs-exporter {__version__} on {HOST}".encode()
    assert values[2] == VarBind((*SYSTEM, 2, 0), Syntax.IDENTIFIER, (*VIEW_ROOT, 3))
    assert values[4].value == b"ops@example.com"
    assert values[5].value == HOST.encode()
    assert values[6].value == b"rack ?7"
    assert values[7].value == 72


def test_the_up_time_is_that_of_the_moment() -> None:
    first, second = (PORT.get((*SYSTEM, 3, 0)) for _ in range(2))

    assert first.syntax is Syntax.TICKS
    assert second.value > first.value
    assert PORT.after((*SYSTEM, 2, 0)).value > second.value


def test_instances_that_are_missing_are_told_from_objects_that_are() -> None:
    assert PORT.get((*SYSTEM, 1, 1)) is None
    assert PORT.has_object((*SYSTEM, 1, 1))
    assert PORT.has_object((*SYSTEM, 7))
    assert not PORT.has_object((*SYSTEM, 8, 0))
    assert not PORT.has_object(SYSTEM)
    assert PORT.has_object((*VIEW_ROOT, 1, 1, 1, 5))
    assert not PORT.has_object((1, 3, 6, 1, 2, 1, 2, 1, 0))


def test_whatever_lies_between_leads_to_the_next() -> None:
    assert PORT.after((*SYSTEM, 7, 0)) == next(iter(VIEW))
    assert PORT.after((1, 3, 6, 1, 2, 1, 2)) == next(iter(VIEW))
    assert PORT.after((*SYSTEM, 3, 0, 5)).oid == (*SYSTEM, 4, 0)
    assert PORT.after((2,)) is None
