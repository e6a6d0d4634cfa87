"""YAML as people expect it: duplicate keys refused, only true and false are booleans, places kept."""

import re
from collections.abc import Hashable
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from zcs_exporter.schema import Path


class YamlError(ValueError):
    """The text is not usable YAML; the message names line and column."""


_Base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster where libyaml is there


_MOST_NODES = 100_000
"""Keys and values, each as often as an alias repeats it: ten lines of aliases can stand for a billion."""

_MOST_BITS = 64
"""Of a whole number: what is longer Python would not even write down."""


class _Loader(_Base):  # type: ignore[misc, valid-type]  # one of two classes with the same interface
    """A safe loader with the booleans of YAML 1.2, so that a key ``off`` stays the word it is."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Return what a node stands for; whatever its tag and its text do not agree on is a fault with a place."""
        kind = node.tag.rpartition(":")[2]
        try:
            value = super().construct_object(node, deep)
        except (AttributeError, LookupError, ValueError) as exc:
            # Not the text itself, which may be a secret.
            raise ConstructorError(None, None, f"what stands here is no {kind}", node.start_mark) from exc
        if isinstance(value, int) and value.bit_length() > _MOST_BITS:
            raise ConstructorError(None, None, "the number is too long", node.start_mark)
        return value


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))


def load_yaml(text: str) -> tuple[Any, dict[Path, int]]:
    """Parse one document.

    Returns:
        The value, None for an empty text, and the line of every key and list entry by its path.

    Raises:
        YamlError: Not YAML, a duplicate key, a key that is not a word, an alias inside itself, or far too much.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[Path, int] = {}
        if node is None:
            return None, lines
        _index(node, (), lines, frozenset())
        return loader.construct_document(node), lines
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise YamlError(f"{place}{exc.problem or exc.context}") from exc
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise YamlError(str(exc).partition("\n")[0] or "nested too deeply") from exc
    finally:
        loader.dispose()


def _index(node: yaml.Node, path: Path, lines: dict[Path, int], above: frozenset[int]) -> None:
    if id(node) in above:
        raise YamlError(f"line {node.start_mark.line + 1}: the alias contains itself")
    if len(lines) > _MOST_NODES:
        raise YamlError(f"line {node.start_mark.line + 1}: more than {_MOST_NODES} keys and values")
    above |= {id(node)}
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            lines[(*path, number)] = item.start_mark.line + 1
            _index(item, (*path, number), lines, above)
    elif isinstance(node, yaml.MappingNode):
        seen: set[Hashable] = set()
        for key, value in node.value:
            line, column = key.start_mark.line + 1, key.start_mark.column + 1
            if not isinstance(key, yaml.ScalarNode):
                raise YamlError(f"line {line}, column {column}: a key must be a word")
            if key.value in seen:
                raise YamlError(f"line {line}, column {column}: duplicate key {key.value!r}")
            seen.add(key.value)
            lines[(*path, key.value)] = line
            _index(value, (*path, key.value), lines, above)
