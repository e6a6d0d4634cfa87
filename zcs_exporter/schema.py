"""Typed sections of files: declared as classes, checked as a whole, every fault reported with its place and a remedy.

A section's annotations are its options and their types, the values beside them the defaults. This is what we would
take of a library such as pydantic, which alone is a fifth of the memory and a quarter of the time that may be taken.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self, TypeVar, dataclass_transform

from zcs_exporter.schema_types import (
    After,
    Before,
    Check,
    Composite,
    Fault,
    FaultKind,
    Limits,
    Path,
    SchemaError,
    Secret,
    check_of,
    dotted,
    lowered,
    notes_of,
)

__all__ = [
    "MISSING",
    "After",
    "Before",
    "FaultKind",
    "Key",
    "Limits",
    "Option",
    "Path",
    "SchemaError",
    "Secret",
    "Section",
    "check",
]

MISSING: Any = object()
"""Stands for the default of an option that has none."""

T = TypeVar("T", bound="Section")


@dataclass(frozen=True, slots=True)
class Key:
    """In an annotation: the option's name in the file, where it is no good name in Python, such as ``for``."""

    name: str


class Option:
    """One option of a section.

    Attributes:
        key: Its name in the file.
        annotation: Its type.
        default: ``MISSING`` where it must be given.
    """

    def __init__(self, key: str, annotation: Any, default: Any) -> None:
        self.key = key
        self.annotation = annotation
        self.default = default

    @cached_property
    def take(self) -> Check:
        """What makes a value of the file one of the option's type; made when it is first asked for."""
        return check_of(self.annotation, self.key)


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Section(Composite):
    """A part of a file: frozen, unknown keys refused, no coercion between types.

    Attributes:
        options: By their names in Python, those of its bases first.
    """

    options: ClassVar[dict[str, Option]] = {}

    def __init_subclass__(cls) -> None:
        own = {
            name: Option(_key(annotation) or name, annotation, cls.__dict__.get(name, MISSING))
            for name, annotation in inspect.get_annotations(cls).items()
            if not name.startswith("_") and getattr(annotation, "__origin__", None) is not ClassVar
        }
        cls.options = cls.options | own

    def __init__(self, **values: Any) -> None:
        """Take options by their names in Python.

        Raises:
            SchemaError: They are not as declared.
        """
        names = type(self).options
        self._take({names[name].key if name in names else name: value for name, value in values.items()})

    @classmethod
    def of(cls, data: object, key: str = "section") -> Self:
        """Return the section that plain data make.

        Args:
            data: As a file has them.
            key: Of the option, for examples in messages.

        Raises:
            SchemaError: All that is wrong with them.
        """
        if isinstance(data, cls):
            return data
        if not isinstance(data, Mapping):
            raise SchemaError([Fault((), _must_hold_keys(cls, data, key))])
        section = cls.__new__(cls)
        section._take(data)
        return section

    def _take(self, data: Mapping[str, Any]) -> None:
        faults: list[Fault] = []
        known = set()
        for name, option in self.options.items():
            known.add(option.key)
            value = data.get(option.key, MISSING)
            if value is not MISSING:
                try:
                    value = option.take(value)
                except SchemaError as exc:
                    faults += [Fault((option.key, *fault.path), fault.message, fault.kind) for fault in exc.faults]
            elif option.default is MISSING:
                faults.append(Fault((option.key,), "is missing", FaultKind.MISSING))
            else:
                value = option.default
            self.__dict__[name] = value
        faults += [Fault((key,), _unknown(str(key), known), FaultKind.UNKNOWN) for key in data if key not in known]
        if not faults:
            try:
                self._consistent()
            except SchemaError:
                raise
            except ValueError as exc:
                faults.append(Fault((), lowered(exc)))
        if faults:
            raise SchemaError(faults)

    def _consistent(self) -> None:
        """Raise a ``ValueError`` that says what does not go together, once every option by itself is good."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.options)

    __hash__ = None  # type: ignore[assignment]  # nobody needs it as a key

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.options)})"


def check(model: type[T], data: object, lines: Mapping[Path, int | str], source: str) -> tuple[T | None, list[str]]:
    """Build ``model`` from parsed YAML.

    Args:
        model: The schema.
        data: What the YAML said; None counts as an empty mapping.
        lines: Line numbers by path, as ``load_yaml`` returns them; what came from several files has file and line.
        source: File name for the messages.

    Returns:
        The model, or None and one message per fault: ``file, line 3: web.listen: what is wrong``.
    """
    try:
        return model.of({} if data is None else data), []
    except SchemaError as exc:
        return None, [_placed(fault, lines, source) for fault in exc.faults]


def _placed(fault: Fault, lines: Mapping[Path, int | str], source: str) -> str:
    path = fault.path
    line = next((lines[path[:size]] for size in range(len(path), 0, -1) if path[:size] in lines), None)
    place = line if isinstance(line, str) else source if line is None else f"{source}, line {line}"
    return f"{place}: {dotted(path)}: {fault.message}" if path else f"{place}: {fault.message}"


def _key(annotation: Any) -> str:
    return next((each.name for each in notes_of(annotation) if isinstance(each, Key)), "")


def _must_hold_keys(section: type[Section], value: object, key: str) -> str:
    known = sorted(option.key for option in section.options.values())
    if isinstance(value, bool) and "enabled" in known:
        return f"must hold keys; write it like {key}: {{enabled: {str(value).lower()}}}"
    return f"must hold keys, or be left out; known here: {', '.join(known)}"


def _unknown(key: str, known: set[str]) -> str:
    import difflib

    near = difflib.get_close_matches(key, sorted(known), n=1)
    hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(sorted(known))}"
    return f"unknown key; {hint}"
