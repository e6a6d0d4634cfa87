"""Checks plain data against a pydantic model and reports every fault at once, with place and suggestion."""

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from zcs_exporter.strict_yaml import Path

M = TypeVar("M", bound=BaseModel)


def check(model: type[M], data: object, lines: Mapping[Path, int], source: str) -> tuple[M | None, list[str]]:
    """Build ``model`` from parsed YAML.

    Args:
        model: The schema.
        data: What the YAML said; None counts as an empty mapping.
        lines: Line numbers by path, as ``load_yaml`` returns them.
        source: File name for the messages.

    Returns:
        The model, or None and one message per fault: ``file, line 3: web.listen: what is wrong``.
    """
    try:
        return model.model_validate({} if data is None else data), []
    except ValidationError as exc:
        return None, [_describe(model, error, lines, source) for error in exc.errors()]


def _describe(model: type[BaseModel], error: ErrorDetails, lines: Mapping[Path, int], source: str) -> str:
    path = _yaml_path(error["loc"], lines)
    line = next((lines[path[:size]] for size in range(len(path), 0, -1) if path[:size] in lines), None)
    place = source if line is None else f"{source}, line {line}"
    dotted = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        known = sorted(_known_keys(model, error["loc"][:-1]))
        near = difflib.get_close_matches(str(error["loc"][-1]), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
        message = f"unknown key; {hint}"
    elif error["type"] == "missing":
        message = "is missing"
    else:
        message = message[:1].lower() + message[1:]
    return f"{place}: {dotted}: {message}" if dotted else f"{place}: {message}"


def _yaml_path(location: tuple[int | str, ...], lines: Mapping[Path, int]) -> Path:
    """Drop from a pydantic location what is not in the file, such as the name of a union's member."""
    path: Path = ()
    for part in location:
        if (*path, part) in lines or part == location[-1]:
            path = (*path, part)
    return path


def _known_keys(model: Any, location: tuple[int | str, ...]) -> set[str]:
    for part in location:
        if isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields:
            annotation = model.model_fields[str(part)].annotation
            model = next(
                (
                    arg
                    for arg in (annotation, *_arguments(annotation))
                    if isinstance(arg, type) and issubclass(arg, BaseModel)
                ),
                None,
            )
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return set()
    return {field.alias or name for name, field in model.model_fields.items()}


def _arguments(annotation: Any) -> list[Any]:
    found = []
    for argument in getattr(annotation, "__args__", ()):
        found += [argument, *_arguments(argument)]
    return found
