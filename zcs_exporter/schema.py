"""Checks plain data against a pydantic model and reports every fault at once, with place and suggestion."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from zcs_exporter.strict_yaml import Path
from zcs_exporter.text import one_line

_SECRETS = ("communities", "users")
"""Keys beside which the secret itself may stand by mistake; what stands there is not repeated."""

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
        by_path: dict[Path, list[ErrorDetails]] = {}
        for error in exc.errors():
            by_path.setdefault(_yaml_path(error, lines), []).append(error)
        return None, [_describe(model, path, errors, lines, source) for path, errors in by_path.items()]


def _describe(
    model: type[BaseModel], path: Path, errors: Sequence[ErrorDetails], lines: Mapping[Path, int], source: str
) -> str:
    """Return one line for all errors of one place: a union has one for each of its members."""
    error = errors[0]
    line = next((lines[path[:size]] for size in range(len(path), 0, -1) if path[:size] in lines), None)
    place = source if line is None else f"{source}, line {line}"
    dotted = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    if error["type"] == "extra_forbidden":
        known = sorted(_known_keys(model, error["loc"][:-1]))
        import difflib

        near = difflib.get_close_matches(str(error["loc"][-1]), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
        message = f"unknown key; {hint}"
    elif error["type"] == "missing":
        message = "is missing"
    else:
        message = ", or ".join(_wording(model, other) for other in errors)
    return f"{place}: {dotted}: {message}" if dotted else f"{place}: {message}"


def _wording(model: type[BaseModel], error: ErrorDetails) -> str:
    """Return what is wrong, in words of the file and not of Python."""
    found, kind = error["input"], error["type"]
    if kind == "tuple_type":
        if isinstance(found, Mapping):
            return "must be a list; begin each entry with '- '"
        if error["loc"][-1] in _SECRETS and not str(found).startswith("/"):
            return f"must be a list; write it like [/etc/zcs-exporter/agent.{error['loc'][-1]}], with names of files"
        return f"must be a list; write it like [{'' if found is None else one_line(str(found), 60)}]"
    if kind == "dict_type":
        return "must hold keys, or be left out"
    if kind == "model_type":
        known = sorted(_known_keys(model, error["loc"]))
        if isinstance(found, bool) and "enabled" in known:
            return f"must hold keys; write it like {error['loc'][-1]}: {{enabled: {str(found).lower()}}}"
        return f"must hold keys, or be left out; known here: {', '.join(known)}"
    if kind == "too_long":
        return f"has more entries than the {error['ctx']['max_length']} that it may have"
    if kind == "string_type":
        return "must be a text; put it in quotes"
    if kind == "bool_type":
        return "must be true or false"
    text = error["msg"].removeprefix("Value error, ")
    return text[:1].lower() + text[1:]


def _yaml_path(error: ErrorDetails, lines: Mapping[Path, int]) -> Path:
    """Return where in the file an error is, without what is not there, such as the name of a union's member."""
    path: Path = ()
    for part in error["loc"]:
        if (*path, part) in lines:
            path = (*path, part)
    return (*path, error["loc"][-1]) if error["type"] == "missing" else path


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
