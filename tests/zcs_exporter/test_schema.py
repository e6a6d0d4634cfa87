"""A section takes what it declares, nothing else, and says all that is wrong at once."""

import contextlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zcs_exporter.schema import After, Before, FaultKind, Key, Limits, SchemaError, Secret, Section, check


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


def _even(value: int) -> int:
    if value % 2:
        raise ValueError(f"{value} is odd")
    return value


class Wheel(Section):
    size: Annotated[float, Limits(above=0, most=40)] = 28.0
    spokes: Annotated[int, Limits(least=8), After(_even)]


class Bicycle(Section):
    kind: ClassVar[str] = "a class has this, and no file"
    name: Annotated[str, Limits(min_length=1, max_length=8, pattern="^[a-z]*$")] = "plain"
    wheels: tuple[Wheel, ...] = ()
    colour: Colour | None = None
    pair: tuple[int, str] = (1, "a")
    none: tuple[()] = ()
    gears: bool | Literal["auto"] = "auto"
    version: Literal[1, "2c"] = 1
    sizes: Mapping[Colour, float] = {}
    lock: Secret | None = None
    weight: Annotated[float, Before(lambda value: float(value[:-2]) if isinstance(value, str) else value)] = 9.0
    held_for: Annotated[int | None, Key("for")] = None

    def _consistent(self) -> None:
        if self.held_for and not self.wheels:
            raise ValueError("For has no wheels")


def faults(data: object) -> list[tuple[object, str]]:
    with pytest.raises(SchemaError) as caught:
        Bicycle.of(data)
    return [(fault.path, fault.message) for fault in caught.value.faults]


def test_what_is_left_out_has_its_default_and_what_is_given_its_type() -> None:
    data = {
        "wheels": [{"spokes": 32, "size": 26}, {"spokes": 36}],
        "colour": "blue",
        "pair": [2, "b"],
        "none": [],
        "gears": True,
        "version": "2c",
        "sizes": {"red": 3},
        "lock": "1234",
        "weight": "11kg",
        "for": 7,
    }

    taken = Bicycle.of(data)

    assert taken.name == "plain"
    assert taken.wheels == (Wheel(size=26.0, spokes=32), Wheel(spokes=36))
    assert isinstance(taken.wheels[0].size, float)
    assert (taken.colour, taken.pair, taken.gears, taken.version) == (Colour.BLUE, (2, "b"), True, "2c")
    assert taken.sizes == {Colour.RED: 3.0}
    assert taken.lock == Secret("1234")
    assert (taken.weight, taken.held_for) == (11.0, 7)
    assert Bicycle.of({}) == Bicycle() != taken


@pytest.mark.parametrize(
    ("data", "path", "message"),
    [
        ({"name": 5}, ("name",), "must be a text; put it in quotes"),
        ({"name": ""}, ("name",), "must not be empty"),
        ({"name": "a" * 9}, ("name",), "is longer than 8 characters"),
        ({"name": "A"}, ("name",), "must match ^[a-z]*$"),
        ({"name": "a\n"}, ("name",), "must match ^[a-z]*$"),
        ({"wheels": {"spokes": 8}}, ("wheels",), "must be a list; begin each entry with '- '"),
        ({"wheels": "two"}, ("wheels",), "must be a list; write it like [two]"),
        ({"wheels": [{}]}, ("wheels", 0, "spokes"), "is missing"),
        ({"wheels": [{"spokes": 7}]}, ("wheels", 0, "spokes"), "must be at least 8"),
        ({"wheels": [{"spokes": 9}]}, ("wheels", 0, "spokes"), "9 is odd"),
        ({"wheels": [{"spokes": 8.0}]}, ("wheels", 0, "spokes"), "must be a whole number"),
        ({"wheels": [{"spokes": True}]}, ("wheels", 0, "spokes"), "must be a whole number"),
        ({"wheels": [{"spokes": 8, "size": 0}]}, ("wheels", 0, "size"), "must be more than 0"),
        ({"wheels": [{"spokes": 8, "size": 41}]}, ("wheels", 0, "size"), "must be at most 40"),
        ({"wheels": [{"spokes": 8, "size": float("nan")}]}, ("wheels", 0, "size"), "must be more than 0"),
        ({"wheels": [{"spokes": 8, "size": 10**400}]}, ("wheels", 0, "size"), "must be a number"),
        ({"wheels": [{"spokes": 8, "size": False}]}, ("wheels", 0, "size"), "must be a number"),
        ({"wheels": [8]}, ("wheels", 0), "must hold keys, or be left out; known here: size, spokes"),
        ({"colour": "green"}, ("colour",), "must be one of red, blue"),
        ({"pair": [1]}, ("pair",), "must have 2 entries"),
        ({"pair": [1, 2]}, ("pair", 1), "must be a text; put it in quotes"),
        ({"none": [1]}, ("none",), "has more entries than the 0 that it may have"),
        ({"gears": 1}, ("gears",), "must be true or false, or must be 'auto'"),
        ({"version": True}, ("version",), "must be 1 or '2c'"),
        ({"sizes": []}, ("sizes",), "must hold keys, or be left out"),
        ({"sizes": {"green": 1}}, ("sizes", "green"), "must be one of red, blue"),
        ({"sizes": {"red": "1"}}, ("sizes", "red"), "must be a number"),
        ({"weight": "elevenkg"}, ("weight",), "could not convert string to float: 'eleven'"),
        ({"nam": "a"}, ("nam",), "unknown key; did you mean name?"),
        ({"held_for": 1}, ("held_for",), "unknown key; known here: colour, for, gears, lock, name, "),
        ({"for": 1}, (), "for has no wheels"),
        ([], (), "must hold keys, or be left out"),
    ],
)
def test_what_it_does_not_take_is_told_with_its_place(data: object, path: object, message: str) -> None:
    [(place, text)] = faults(data)

    assert place == path
    assert text.startswith(message)


def test_all_faults_are_told_at_once_and_those_of_the_whole_only_when_the_parts_are_good() -> None:
    data = {"name": 1, "wheels": [{"spokes": 7}, {"size": 1}], "for": 1, "bell": 1}

    assert [path for path, _ in faults(data)] == [
        ("name",),
        ("wheels", 0, "spokes"),
        ("wheels", 1, "spokes"),
        ("bell",),
    ]


def test_a_fault_is_placed_at_the_nearest_line_that_is_known() -> None:
    lines = {("wheels",): 3, ("wheels", 0): 4, ("wheels", 0, "spokes"): 5}

    _, told = check(Bicycle, {"wheels": [{"spokes": 7, "tyre": 1}], "bell": 1}, lines, "b.yaml")

    assert told[0] == "b.yaml, line 5: wheels[0].spokes: must be at least 8"
    assert told[1].startswith("b.yaml, line 4: wheels[0].tyre: unknown key")
    assert told[2].startswith("b.yaml: bell: unknown key")
    assert check(Bicycle, None, {}, "b.yaml") == (Bicycle(), [])


def test_options_are_given_by_their_names_in_python_and_checked_just_the_same() -> None:
    assert Bicycle(wheels=(Wheel(spokes=8),), held_for=3).held_for == 3
    with pytest.raises(SchemaError, match="wheels: must be a list"):
        Bicycle(wheels=3)  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match="colur: unknown key; did you mean colour"):
        Bicycle(colur="red")  # type: ignore[call-arg]


def test_a_section_cannot_be_changed() -> None:
    wheel = Wheel(spokes=8)
    with pytest.raises(AttributeError):
        wheel.spokes = 10  # type: ignore[misc]


def test_a_section_has_the_options_of_its_bases_first_and_may_declare_them_anew() -> None:
    class Tandem(Bicycle):
        seats: int = 2
        name: str = "tandem"

    assert list(Tandem.options) == [*Bicycle.options, "seats"]
    assert Tandem().name == "tandem"
    assert "kind" not in Bicycle.options


def test_a_secret_shows_nowhere() -> None:
    taken = Bicycle.of({"lock": "s3cret"})

    assert taken.lock is not None
    assert taken.lock.reveal() == "s3cret"
    assert "s3cret" not in f"{taken!r} {taken.lock} {taken.lock!r}"
    with pytest.raises(SchemaError) as caught:
        Bicycle.of({"lock": 5309})
    assert "5309" not in str(caught.value)


def test_kinds_of_faults_are_told_apart_for_those_who_word_them() -> None:
    with pytest.raises(SchemaError) as caught:
        Bicycle.of({"name": 1, "wheels": [{}], "bell": 1, "version": 3})

    assert [fault.kind for fault in caught.value.faults] == [
        FaultKind.NO_TEXT,
        FaultKind.MISSING,
        FaultKind.OTHER,
        FaultKind.UNKNOWN,
    ]


_PLAIN: Any = st.none() | st.booleans() | st.integers() | st.floats() | st.text("ab1-", max_size=5)
_NAMES = st.sampled_from([*(option.key for option in Bicycle.options.values()), "spokes", "size", "red"])
_YAML = st.recursive(
    _PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=4), max_leaves=12
)


@given(st.dictionaries(_NAMES, _YAML))
def test_any_data_are_a_section_or_faults(data: dict[str, object]) -> None:
    with contextlib.suppress(SchemaError):
        Bicycle.of(data)
