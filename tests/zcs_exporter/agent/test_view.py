from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mib_views import numbered_view
from snapshots import reading, sample, snapshot
from snmp_scene import AT, HOST, facts, mount, standing_alarm, target, view, whole_snapshot

from zcs_exporter.agent.facts import Facts, worst
from zcs_exporter.agent.numbers import Numbers
from zcs_exporter.agent.objects.groups import GROUPS
from zcs_exporter.agent.view import MibView, number_rows
from zcs_exporter.alerting.model import Severity
from zcs_exporter.snapshot import Snapshot
from zcs_exporter.snmp.smi import DEFAULT_ROOT, Oid, Syntax, VarBind, date_and_time

ROOT = (*DEFAULT_ROOT, 1)
VIEW = view()


def column(group: int, number: int, *index: int) -> Oid:
    return (*ROOT, group, 1, 1, number, *index)


def text_index(text: str) -> Oid:
    return (len(text), *text.encode())


def value(oid: Oid, of: MibView = VIEW) -> object:
    found = of.get(oid)
    return None if found is None else found.value


def table_of(*samples: object, alarms: object = (), targets: object = ()) -> MibView:
    return numbered_view(Facts(snapshot(AT, reading("x", samples)), alarms, targets, HOST))


def test_instances_come_in_order_each_once() -> None:
    oids = [each.oid for each in VIEW]

    assert oids == sorted(set(oids))
    assert len(VIEW) == len(oids)


def test_a_walk_by_successors_is_the_whole_view() -> None:
    walked, oid = [], ()
    while (found := VIEW.after(oid)) is not None:
        walked.append(found)
        oid = found.oid

    assert walked == list(VIEW)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.integers(0, 2**40), max_size=20).map(tuple))
def test_the_successor_of_any_identifier_is_the_first_that_is_greater(tail: Oid) -> None:
    for oid in (tail, (*DEFAULT_ROOT, *tail), (*ROOT, 3, 1, 1, 2, *tail)):
        assert VIEW.after(oid) == next((each for each in VIEW if each.oid > oid), None)
        assert VIEW.get(oid) == next((each for each in VIEW if each.oid == oid), None)


def test_every_group_of_the_scene_has_rows_and_every_column_its_type() -> None:
    for group in GROUPS:
        if group.table is not None:
            found = {
                each.oid[len(ROOT) + 3]: each
                for each in VIEW
                if each.oid[: len(ROOT) + 3] == column(group.number, 0)[:-1]
            }
            assert found, group.name
            syntaxes = {each.number: each.syntax for each in group.table.columns}
            assert all(variable.syntax is syntaxes[number] for number, variable in found.items())


def test_scalars_say_how_the_host_fares() -> None:
    assert value((*ROOT, 1, 2, 0)) == HOST.encode()
    assert value((*ROOT, 1, 3, 0)) == b"9.0.0 P39"
    assert value((*ROOT, 1, 4, 0)) == 2
    assert value((*ROOT, 1, 7, 0)) == 1
    assert value((*ROOT, 1, 8, 0)) == 7
    assert value((*ROOT, 1, 9, 0)) == 2  # false


def test_services_are_rows_by_name() -> None:
    assert value(column(2, 2, *text_index("mta"))) == 0
    assert value(column(2, 2, *text_index("mailbox"))) == 1
    assert value(column(2, 5, *text_index("mailbox"))) == 3
    assert value(column(2, 5, *text_index("mta"))) is None


def test_file_systems_are_rows_by_number_in_units_that_fit() -> None:
    assert value(column(3, 2, 2)) == b"/opt/zimbra"
    assert value(column(3, 5, 2)) == 102_400
    assert value(column(3, 6, 2)) == 61_440
    assert value(column(3, 8, 2)) == 96
    assert value(column(3, 13, 2)) == 2
    assert value(column(3, 13, 1)) == 0


def test_queues_databases_jvms_and_logins_are_there() -> None:
    assert value(column(4, 2, 3)) == 1000
    assert value(column(4, 4, 3)) == 5120
    assert value(column(4, 3, 2)) is None  # an empty queue has no oldest message
    assert value(column(5, 9, *text_index("mailbox"))) == 990
    assert value(column(6, 5, *text_index("mailboxd"))) == 50
    assert value(column(7, 3, 1)) == value(column(7, 3, 2)) == 2**40


def test_a_certificate_that_has_expired_has_days_below_zero() -> None:
    assert value(column(8, 5, 1)) == -2
    assert value(column(8, 4, 1)) == date_and_time(AT - 86400.5)


def test_an_alarm_is_a_row_by_its_id() -> None:
    assert value(column(9, 2, 7)) == b"201 ZcsFilesystemFull"
    assert value(column(9, 3, 7)) == b"/opt/zimbra"
    assert value(column(9, 4, 7)) == 2
    assert value(column(9, 6, 7)) == b"96%"


def test_destinations_are_rows_by_number() -> None:
    assert value(column(10, 2, 1)) == b"nms"
    assert value(column(10, 3, 1)) == 1
    assert value(column(10, 6, 1)) == 17
    assert value(column(10, 3, 1), table_of(targets=[target(up=None)])) is None


def test_what_is_not_known_has_no_instance() -> None:
    empty = MibView(DEFAULT_ROOT, Facts(Snapshot(), (), (), HOST), Numbers())

    assert {each.oid[len(ROOT)] for each in empty} == {1}
    assert value((*ROOT, 1, 3, 0), empty) is None
    assert value((*ROOT, 1, 9, 0), empty) is None


def test_a_text_that_says_nothing_has_no_instance() -> None:
    rule, alarm = standing_alarm()
    bare = replace(alarm, labels=(), value=None, threshold=None)
    nameless = {"device": "", "fstype": "", "mountpoint": "/opt"}
    found = numbered_view(
        Facts(
            snapshot(
                AT,
                reading("a", [sample("zcs_filesystem_size_bytes", nameless, 1 << 30)]),
                reading("b", [sample("zcs_info", {"version": "", "patch": "", "edition": "", "hostname": ""}, 1)]),
            ),
            [(rule, bare)],
            (),
            "",
        )
    )

    assert value(column(3, 2, 1), found) == b"/opt"
    for unknown in ((*ROOT, 1, 2, 0), (*ROOT, 1, 3, 0), *(column(3, each, 1) for each in (3, 4, 11))):
        assert found.get(unknown) is None
        assert found.has_object(unknown)
    assert [found.get(column(9, each, 7)) for each in (3, 6, 7)] == [None, None, None]
    assert not [each for each in found if each.value == b""]


def test_only_objects_of_the_mib_have_missing_instances() -> None:
    assert VIEW.has_object((*ROOT, 1, 1))
    assert VIEW.has_object((*ROOT, 1, 1, 0))
    assert VIEW.has_object(column(3, 5, 99))
    assert not VIEW.has_object(column(3, 1, 1))  # an index is not accessible
    assert not VIEW.has_object(column(3, 99, 1))
    assert not VIEW.has_object((*ROOT, 3))
    assert not VIEW.has_object((1, 3, 6, 1, 2, 1))


def test_the_whole_tree_hangs_where_the_site_wants_it() -> None:
    root = (1, 3, 6, 1, 4, 1, 99999, 5)
    moved = [each.oid for each in view(root)]

    assert moved == [(*root, *each.oid[len(DEFAULT_ROOT) :]) for each in VIEW]


def test_row_numbers_stay_when_another_row_comes_before() -> None:
    numbers = Numbers()
    first = numbered_view(Facts(snapshot(AT, reading("x", mount("/opt"))), (), (), HOST), numbers)
    second = numbered_view(Facts(snapshot(AT, reading("x", [*mount("/"), *mount("/opt")])), (), (), HOST), numbers)

    assert value(column(3, 2, 1), first) == value(column(3, 2, 1), second) == b"/opt"
    assert value(column(3, 2, 2), second) == b"/"


def test_a_row_whose_number_is_not_saved_yet_is_not_told() -> None:
    numbers = Numbers()
    known = Facts(snapshot(AT, reading("x", mount("/opt"))), (), [target()], HOST)
    soon = Facts(replace(known.snapshot, generation=2), known.alarms, known.targets, HOST)
    number_rows(soon, numbers)

    assert {each.oid[len(ROOT)] for each in MibView(DEFAULT_ROOT, known, numbers)} == {1}
    assert {each.oid[len(ROOT)] for each in MibView(DEFAULT_ROOT, soon, numbers)} == {1, 3, 10}


def test_texts_that_look_alike_on_the_wire_are_one_row() -> None:
    twins = table_of(*(sample("zcs_service_up", {"name": name}, 1) for name in ("caf\u00e9", "caf\u00e8", "x" * 40)))

    assert value(column(2, 2, *text_index("caf?")), twins) == 1
    assert value(column(2, 2, *text_index("x" * 29 + "...")), twins) == 1
    assert sum(each.oid[: len(ROOT) + 4] == column(2, 2) for each in twins) == 2


def test_hostile_label_values_are_harmless_on_the_wire() -> None:
    found = table_of(*mount("/mnt/$(reboot)`;|\n\x00\u2028"))

    assert value(column(3, 2, 1), found) == b"/mnt/?(reboot)??????"


@settings(max_examples=300, deadline=None)
@given(st.floats() | st.integers(-(2**70), 2**70).map(float))
def test_any_number_has_a_form_on_the_wire_or_no_instance(number: float) -> None:
    found = table_of(
        *(
            sample(name, labels, number)
            for name, labels in (
                ("zcs_service_up", {"name": "mta"}),
                ("zcs_service_restarts_total", {"name": "mta"}),
                ("zcs_service_start_time_seconds", {"name": "mta"}),
                ("zcs_certificate_not_after_timestamp_seconds", {"name": "a", "path": "/b"}),
                ("zcs_jvm_up", {"jvm": "mailboxd"}),
                ("zcs_jvm_start_time_seconds", {"jvm": "mailboxd"}),
            )
        )
    )

    limits = {Syntax.COUNTER: (0, 2**64), Syntax.INTEGER: (-(2**31), 2**31)}
    for each in found:
        if isinstance(each.value, int):
            least, end = limits.get(each.syntax, (0, 2**32))
            assert least <= each.value < end, each


@pytest.mark.parametrize(
    ("severities", "expected"),
    [
        ([], Severity.OK),
        ([Severity.UNKNOWN, Severity.OK], Severity.UNKNOWN),
        ([Severity.UNKNOWN, Severity.WARNING], Severity.WARNING),
        ([Severity.CRITICAL, Severity.UNKNOWN], Severity.CRITICAL),
    ],
)
def test_what_is_wrong_matters_more_than_what_is_unknown(severities: list[Severity], expected: Severity) -> None:
    assert worst(severities) is expected


def test_facts_are_looked_up_by_all_labels_and_summed_by_some() -> None:
    found = facts()

    assert found.value("zcs_service_up", name="mta") == 0
    assert found.value("zcs_service_up") is None
    assert found.total("zcs_filesystem_size_bytes", mountpoint="/") == 100 << 30
    assert found.total("zcs_filesystem_size_bytes", mountpoint="/nowhere") is None
    assert found.names("zcs_service_up", "name") == ["mta", "mailbox"]
    assert found.severity(lambda rule, _: rule.name == "ZcsFilesystemFull") is Severity.CRITICAL
    assert found.severity(lambda *_: False) is Severity.OK


def test_the_worst_alarm_of_a_row_is_the_rows() -> None:
    both = Facts(
        whole_snapshot(), [standing_alarm(Severity.WARNING, 8), standing_alarm(Severity.CRITICAL, 7)], (), HOST
    )

    assert value(column(3, 13, 2), numbered_view(both)) == 2
    assert isinstance(VIEW.get(column(3, 13, 2)), VarBind)
