"""What a value of a type is, for the options of a ``Section``.

Between types nothing is converted but what YAML cannot write: a list becomes a tuple, a whole number stands for any
number, a word for the member of an enumeration.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import partial
from types import NoneType, UnionType
from typing import Any, Literal, Self, Union, get_args, get_origin

from zcs_exporter.text import one_line

Path = tuple[str | int, ...]
"""Keys and numbers of list entries, from the top of a file."""

_SECRETS = ("communities", "users")
"""Keys beside which the secret itself may stand by mistake; what stands there is not repeated."""


class FaultKind(StrEnum):
    """What is wrong with a value, for those who word it themselves."""

    UNKNOWN = "unknown key"
    MISSING = "missing"
    NO_TEXT = "no text"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        message: What, and the remedy; it may quote the value.
    """

    path: Path
    message: str
    kind: FaultKind = FaultKind.OTHER


class SchemaError(ValueError):
    """Values that a section does not take."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(f"{dotted(fault.path)}: {fault.message}".lstrip(": ") for fault in faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Before:
    """In an annotation: makes of what the file says what is then checked; a ``ValueError`` says what is wrong."""

    function: Callable[[Any], object]


@dataclass(frozen=True, slots=True)
class After:
    """In an annotation: takes a value of the right type and returns the one to keep, or raises a ``ValueError``."""

    function: Callable[[Any], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """In an annotation: the bounds of a number, or of how many characters or entries there may be.

    Attributes:
        pattern: A regular expression for the whole text.
    """

    above: float | None = None
    least: float | None = None
    most: float | None = None
    min_length: int = 0
    max_length: int | None = None
    pattern: str = ""


class Secret:
    """A text that shows in no message and no log."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    __hash__ = None  # type: ignore[assignment]  # nobody needs it as a key

    def __repr__(self) -> str:
        return "Secret('**********')"


def dotted(path: Path) -> str:
    """Return a path as people write it."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


class Composite:
    """A type that checks its parts itself."""

    @classmethod
    def of(cls, data: object, key: str = "") -> Self:
        """Return what plain data make.

        Args:
            data: As a file has them.
            key: Of the option, for examples in messages.

        Raises:
            SchemaError: All that is wrong with them.
        """
        raise NotImplementedError


Check = Callable[[Any], Any]
"""Returns what a value is kept as, or raises a ``SchemaError``."""


def notes_of(annotation: Any) -> tuple[Any, ...]:
    """Return what an ``Annotated`` type says besides the type."""
    return getattr(annotation, "__metadata__", ())


def check_of(annotation: Any, key: str) -> Check:
    """Return what checks a value of this type; ``key`` is the option's, for examples in messages."""
    if notes := notes_of(annotation):
        return _annotated(check_of(annotation.__origin__, key), notes)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return partial(_literal, arguments)
    if origin in (Union, UnionType):
        checks = [check_of(each, key) for each in arguments if each is not NoneType]
        return partial(_one_of, checks, NoneType in arguments)
    if origin is tuple:
        if arguments[1:] == (Ellipsis,):
            return partial(_list, check_of(arguments[0], key), key)
        return partial(_tuple, [check_of(each, key) for each in arguments], key)
    if origin is not None and issubclass(origin, Mapping):
        return partial(_mapping, *(check_of(each, key) for each in arguments))
    if issubclass(annotation, Composite):
        return partial(annotation.of, key=key)
    return _PLAIN.get(annotation) or partial(_instance, annotation)


def _annotated(inner: Check, notes: tuple[Any, ...]) -> Check:
    # Types are annotated from the inside out, and what is done before comes first where it stands last.
    before = [each.function for each in reversed(notes) if isinstance(each, Before)]
    after = [
        each.function if isinstance(each, After) else partial(_within, each)
        for each in notes
        if isinstance(each, After | Limits)
    ]

    def check(value: Any) -> Any:
        try:
            for step in before:
                value = step(value)
            value = inner(value)
            for step in after:
                value = step(value)
        except SchemaError:
            raise
        except ValueError as exc:
            raise wrong(lowered(exc)) from exc
        return value

    return check if before or after else inner


def wrong(message: str, kind: FaultKind = FaultKind.OTHER) -> SchemaError:
    """Return the error for a value as a whole."""
    return SchemaError([Fault((), message, kind)])


def lowered(exc: ValueError) -> str:
    """Return what an error says, to go on with after a place."""
    text = str(exc)
    return text[:1].lower() + text[1:]


def _within(limits: Limits, value: Any) -> Any:
    """Return a value, or raise a ``ValueError`` that says which bound it passes."""
    if value is None:
        return None
    if limits.above is not None and not value > limits.above:
        raise ValueError(f"must be more than {limits.above:g}")
    # Written so that what is no number at all (NaN) is not within either.
    if limits.least is not None and not value >= limits.least:
        raise ValueError(f"must be at least {limits.least:g}")
    if limits.most is not None and not value <= limits.most:
        raise ValueError(f"must be at most {limits.most:g}")
    if limits.min_length and len(value) < limits.min_length:
        raise ValueError(f"is shorter than {limits.min_length}" if value else "must not be empty")
    if limits.max_length is not None and len(value) > limits.max_length:
        text = f"is longer than {limits.max_length} characters"
        raise ValueError(text if isinstance(value, str) else _too_long(limits.max_length))
    if limits.pattern and re.fullmatch(limits.pattern, value) is None:
        raise ValueError(f"must match {limits.pattern}")
    return value


def _too_long(most: int) -> str:
    return f"has more entries than the {most} that it may have"


def _one_of(checks: list[Check], with_none: bool, value: Any) -> Any:
    if value is None and with_none:
        return None
    by_path: dict[Path, list[Fault]] = {}
    for check in checks:
        try:
            return check(value)
        except SchemaError as exc:
            for fault in exc.faults:
                by_path.setdefault(fault.path, []).append(fault)
    # One fault for each place, with what each kind would have had there.
    raise SchemaError(
        [
            Fault(path, ", or ".join(dict.fromkeys(each.message for each in found)), found[0].kind)
            for path, found in by_path.items()
        ]
    )


def _literal(words: tuple[Any, ...], value: Any) -> Any:
    for word in words:
        if type(word) is type(value) and word == value:
            return value
    *others, last = map(repr, words)
    raise wrong(f"must be {', '.join(others)} or {last}" if others else f"must be {last}")


def _list(check: Check, key: str, value: Any) -> tuple[Any, ...]:
    return _each([(number, check, part) for number, part in enumerate(_entries(value, key))])


def _tuple(checks: list[Check], key: str, value: Any) -> tuple[Any, ...]:
    parts = _entries(value, key)
    if len(parts) > len(checks):
        raise wrong(_too_long(len(checks)))
    if len(parts) < len(checks):
        raise wrong(f"must have {len(checks)} entries")
    return _each([(number, check, part) for number, (check, part) in enumerate(zip(checks, parts, strict=True))])


def _entries(value: Any, key: str) -> Sequence[Any]:
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, Mapping):
        raise wrong("must be a list; begin each entry with '- '")
    if key in _SECRETS and not str(value).startswith("/"):
        raise wrong(f"must be a list; write it like [/etc/zcs-exporter/agent.{key}], with names of files")
    raise wrong(f"must be a list; write it like [{'' if value is None else one_line(str(value), 60)}]")


def _mapping(check_key: Check, check: Check, value: Any) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise wrong("must hold keys, or be left out")
    keys = _each([(name, check_key, name) for name in value])
    return dict(zip(keys, _each([(name, check, part) for name, part in value.items()]), strict=True))


def _each(parts: Sequence[tuple[str | int, Check, Any]]) -> tuple[Any, ...]:
    """Return what parts are kept as; each is given with its place and what checks it."""
    kept, faults = [], []
    for place, check, part in parts:
        try:
            kept.append(check(part))
        except SchemaError as exc:
            faults += [Fault((place, *fault.path), fault.message, fault.kind) for fault in exc.faults]
    if faults:
        raise SchemaError(faults)
    return tuple(kept)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise wrong("must be a text; put it in quotes", FaultKind.NO_TEXT)
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise wrong("must be true or false")
    return value


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong("must be a whole number")
    return value


def _number(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            pass
    raise wrong("must be a number")


def _instance(kind: type, value: Any) -> Any:
    if issubclass(kind, Enum):
        try:
            return kind(value)
        except ValueError:
            raise wrong(f"must be one of {', '.join(str(each.value) for each in kind)}") from None
    if not isinstance(value, kind):
        raise wrong(f"must be of type {kind.__name__}")
    return value


_PLAIN: Mapping[Any, Callable[[Any], Any]] = {
    str: _text,
    bool: _boolean,
    int: _whole,
    float: _number,
    Secret: lambda value: value if isinstance(value, Secret) else Secret(_text(value)),
}
