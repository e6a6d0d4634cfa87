"""``zcs-exporter check``: asks a daemon, here or elsewhere, and prints the plugin's answer."""

import argparse
import difflib
import os
from collections.abc import Sequence
from typing import Any

from zcs_exporter.alerting.model import AlertRule, Catalogue, Family, Severity
from zcs_exporter.ask import AskError, ask_daemon, ask_remote
from zcs_exporter.check.judge import Result, judge
from zcs_exporter.config import Config
from zcs_exporter.schema import SchemaError, Secret, Section
from zcs_exporter.snmp.secrets import SecretsError, read_private_file
from zcs_exporter.strict_yaml import YamlError, load_yaml


class CheckError(Exception):
    """What is asked for makes no sense; the message says what would."""


class _Login(Section):
    username: str
    password: Secret


def check(arguments: argparse.Namespace, catalogue: Catalogue, config: Config | None) -> Result:
    """Return the answer; whatever keeps it from being found is UNKNOWN.

    Args:
        arguments: As typed.
        catalogue: The alerts.
        config: Where the daemon of this host is; None when another one is asked.

    Raises:
        CheckError: An option is wrong.
    """
    rules = _rules(catalogue.alerts, arguments.family, arguments.alert)
    try:
        alerts, snapshot = (_ask(arguments, config, path) for path in ("/api/v1/alerts", "/api/v1/snapshot"))
        everything = not arguments.family and not arguments.alert
        return judge(alerts, snapshot, rules, all_rules=everything)
    except (AskError, SecretsError) as exc:
        # What is only for root and the daemon: its token, and its web configuration file.
        private = config is not None and "the daemon's user" in str(exc)
        elsewise = ", such as by sudo (docs/nagios.md), or ask with --url and --login" if private else ""
        return Result(Severity.UNKNOWN, f"{exc}{elsewise}")
    except (LookupError, TypeError, ValueError) as exc:
        return Result(Severity.UNKNOWN, f"the answer is not that of a zcs-exporter ({type(exc).__name__}: {exc})")


def _rules(rules: Sequence[AlertRule], families: Sequence[str], alerts: Sequence[str]) -> list[AlertRule]:
    for asked, known in ((families, [*Family]), (alerts, [rule.name for rule in rules])):
        for name in asked:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                raise CheckError(
                    f"{name} is no {'alert' if asked is alerts else 'family'}"
                    + (f"; did you mean {near[0]}?" if near else "")
                )
    for family in families:
        if not any(rule.family == family for rule in rules):
            raise CheckError(f"no alert of family {family} exists in this version; leave --family {family} out")
    return [rule for rule in rules if not (families or alerts) or rule.family in families or rule.name in alerts]


def _ask(arguments: argparse.Namespace, config: Config | None, path: str) -> Any:
    if config is not None:
        if arguments.login is not None or arguments.ca_file is not None:
            raise CheckError("--login and --ca-file need --url; without it the daemon of this host is asked")
        return ask_daemon(config, path)
    if arguments.login is None:
        raise CheckError("--url needs --login FILE, a YAML file of mode 0600 with username: and password:")
    login = _read_login(arguments.login)
    return ask_remote(arguments.url, path, login.username, login.password.reveal(), arguments.ca_file)


def _read_login(path: str) -> _Login:
    """Return user and password; the message never has a part of the file's content."""
    text = read_private_file(path, os.geteuid(), os.getegid(), "whoever runs this")
    try:
        content, _ = load_yaml(text)
        return _Login.of(content)
    except (YamlError, SchemaError):
        remedy = "write two lines, 'username: ...' and 'password: ...'"
        raise SecretsError(f"{path}: is not as it should be; {remedy}") from None
