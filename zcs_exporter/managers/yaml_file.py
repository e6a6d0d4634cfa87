"""YAML as managers import it, the same bytes for the same description."""

import hashlib
from typing import Any

import yaml


def yaml_file(data: Any) -> str:
    """Return data as block YAML in the order given; texts of several lines stay readable."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=100_000, allow_unicode=False)


def stable_id(*path: str) -> str:
    """Return what looks like a random UUID to who checks that, and is always the same for the same thing."""
    digits = hashlib.sha256("/".join(("zcs-exporter", *path)).encode()).hexdigest()[:32]
    # Version 4 and its variant.
    return f"{digits[:12]}4{digits[13:16]}{'89ab'[int(digits[16], 16) % 4]}{digits[17:]}"


class _Dumper(yaml.SafeDumper):
    """Never an anchor in place of what stands there twice."""

    def ignore_aliases(self, _: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
