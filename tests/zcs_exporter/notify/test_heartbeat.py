"""What a heartbeat says of the alarms that stand."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from zcs_exporter.alerting.alarm import Alarm
from zcs_exporter.notify.heartbeat import LAST, MOST_OCTETS, heartbeat, standing
from zcs_exporter.snmp.notification import VARIABLES
from zcs_exporter.snmp.smi import UINT32

IDS = st.dictionaries(st.integers(1, UINT32 - 1), st.booleans(), max_size=200)


def alarm(number: int, *, baseline: bool = False) -> tuple[Alarm, str]:
    return Alarm("ZcsFull", (), alarm_id=number, baseline=baseline), f"/{number} is full"


def test_every_alarm_that_stands_is_named_between_the_ends() -> None:
    assert standing({}) == "0 4294967295"
    assert standing({63072013: False, 63072012: True}) == "0 +63072012 63072013 4294967295"


@given(ids=IDS, begin=st.integers(0, 10_000))
def test_between_its_first_and_last_number_no_other_alarm_stands(ids: dict[int, bool], begin: int) -> None:
    text = standing(ids, lambda most: begin % most)
    numbers = [int(word) for word in text.split()]

    assert len(text) <= MOST_OCTETS
    assert len(numbers) > 1
    assert numbers == sorted(numbers)
    assert {each for each in ids if numbers[0] <= each <= numbers[-1]} == set(numbers) - {0, LAST}
    assert {int(word) for word in text.split() if word[0] == "+"} == {each for each in numbers if ids.get(each)}


@given(ids=IDS)
def test_the_parts_leave_no_number_out(ids: dict[int, bool]) -> None:
    ends = [0, *sorted(ids), LAST]
    covered = {
        pair
        for begin in range(len(ends) - 1)
        for pair in pairwise(map(int, standing(ids, lambda _, begin=begin: begin).split()))  # type: ignore[misc]
    }

    assert covered == set(pairwise(ends))


def test_alarms_of_before_the_first_start_are_named_since_no_raise_was() -> None:
    told = heartbeat(1.0, "beat", "mail.example.com", [alarm(7), alarm(8, baseline=True)], 3)

    assert told.text == "zcs-exporter runs, 2 alarms active, 1 of them since before its first start"
    assert [each.value for each in told.evidence] == ["/8 is full"]
    assert (told.object, told.count) == ("0 +7 8 4294967295", 5)


def test_while_nobody_knows_what_stands_nothing_is_said_of_it() -> None:
    told = heartbeat(1.0, "beat", "mail.example.com", [alarm(7)], None)

    assert (told.text, told.object) == ("zcs-exporter runs, 1 alarm active", "")


def test_there_is_room_for_it_in_a_notification() -> None:
    assert [each.limit for each in VARIABLES if each.name == "zcsNotifyObject"] == [MOST_OCTETS]
    assert LAST == UINT32
