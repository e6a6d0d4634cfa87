"""A configuration is taken whole or refused with one clear line for each fault."""

import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zcs_exporter.alerting.model import load_catalogue
from zcs_exporter.assets import asset
from zcs_exporter.config import ConfigError, load_config
from zcs_exporter.registry import collector_names
from zcs_exporter.strict_yaml import YamlError, load_yaml

CATALOGUE = load_catalogue(asset("alerts"))

BROKEN = {
    "unknown section": ("wab: {}", r"line 1: wab: unknown key; did you mean web\?"),
    "unknown key": ("web: {lissten: 127.0.0.1:1}", r"line 1: web.lissten: unknown key; did you mean listen\?"),
    "unknown key far from any": (
        "web: {zzz: 1}",
        "line 1: web.zzz: unknown key; known here: allow, config_file, listen",
    ),
    "duplicate key": ("web: {}\nlog: {}\nweb: {}", "line 3, column 1: duplicate key 'web'"),
    "duplicate inner key": ("log: {level: info, level: debug}", "line 1, column 20: duplicate key 'level'"),
    "not yaml": ("web: [", "line 2, column 1: did not find expected node content"),
    "tab": ("web:\n\tlisten: x", "line 2"),
    "a list at the top": ("- a", "holds no keys"),
    "a word at the top": ("hello", "holds no keys"),
    "python object": ("web: !!python/object/apply:os.system [id]", "tag"),
    "alias loop": ("web: &a {x: *a}", "the alias contains itself"),
    "key that is a list": ("? [a]\n: 1", "a key must be a word"),
    "section that is a word": ("web: yes please", "line 1: web: "),
    "section that is a list": ("log: [info]", "line 1: log: "),
    "relative state": ("state: {directory: var/lib}", "state.directory: 'var/lib' must be an absolute path"),
    "relative root": ("host: {root: demo}", "host.root: 'demo' must be an absolute path"),
    "number as path": ("state: {directory: 7}", "line 1: state.directory: "),
    "listen without port": ("web: {listen: 127.0.0.1}", "web.listen: '127.0.0.1' is not an address and port"),
    "listen on a name": ("web: {listen: 'localhost:1'}", "write it like 127.0.0.1:10741"),
    "port too large": ("web: {listen: '127.0.0.1:70000'}", "is not an address and port"),
    "port that is no number": ("web: {listen: '127.0.0.1:http'}", "is not an address and port"),
    "network with host bits": ("web: {allow: [192.0.2.1/24]}", "write it like 192.0.2.0/24"),
    "network that is none": ("web: {allow: [office]}", "'office' is not a network"),
    "networks that are one text": ("web: {allow: 192.0.2.0/24}", r"web.allow: must be a list; write it like \[192.0"),
    "agent's listen without port": (
        "snmp_agent: {listen: '127.0.0.1'}",
        r"snmp_agent.listen: '127.0.0.1' is not an address and port; write it like 127.0.0.1:1161 or \[::1\]:1161",
    ),
    "users that are one text": (
        "snmp_agent: {users: /etc/agent.secret}",
        r"snmp_agent.users: must be a list; write it like \[/etc/agent.secret\]",
    ),
    "a list that is a mapping": ("web: {allow: {a: b}}", "web.allow: must be a list; begin each entry with '- '"),
    "a list that is empty": ("web: {allow: }", r"web.allow: must be a list; write it like \[\]"),
    "a section switched on": (
        "snmp_agent: true",
        r"snmp_agent: must hold keys; write it like snmp_agent: {enabled: true}",
    ),
    "a section without keys": ("web:", "web: must hold keys, or be left out; known here: allow, config_file, listen"),
    "more than there may be": ("notify: {mail: [a]}", "notify.mail: has more entries than the 0 that it may have"),
    "no boolean": ("snmp_agent: {enabled: on}", "snmp_agent.enabled: must be true or false"),
    "no text": ("web: {listen: 5}", "web.listen: must be a text; put it in quotes"),
    "log level": ("log: {level: loud}", "log.level: must be 'debug', 'info', 'warning' or 'error'"),
    "log format": ("log: {format: xml}", "log.format: "),
    "events into our own state": ("events: {file: token}", "line 1: events.file: 'token' is no name for it"),
    "events into the database": ("events: {file: state.sqlite3-wal}", "events.file: 'state.sqlite3-wal' is no name"),
    "events relative to nothing": ("events: {file: log/events.jsonl}", "must be an absolute path"),
    "events without a name": ("events: {file: ''}", "is no name for it"),
    "events kept for minutes": ("events: {keep: 5m}", "events.keep: "),
    "events in no room": ("events: {max_mib: 1}", "events.max_mib: "),
    "privacy": ("privacy: {accounts: sometimes}", "privacy.accounts: "),
    "unknown collector": ("collectors: {postfiks: {}}", r"collectors.postfiks: unknown key; did you mean postfix\?"),
    "unknown collector option": ("collectors: {postfix: {intervall: 15s}}", r"did you mean interval\?"),
    "interval below a second": ("collectors: {postfix: {interval: 500ms}}", "collectors.postfix.interval: "),
    "interval without unit": ("collectors: {postfix: {interval: 15}}", "15 has no unit; write it like 15s"),
    "interval in words": ("collectors: {postfix: {interval: often}}", "'often' is not a duration"),
    "interval over a year": ("collectors: {postfix: {interval: 367d}}", "collectors.postfix.interval: "),
    "enabled: yes": ("collectors: {postfix: {enabled: yes}}", "collectors.postfix.enabled: "),
    "enabled: 1": ("collectors: {postfix: {enabled: 1}}", "collectors.postfix.enabled: "),
    "profile": ("alerts: {profile: strict}", "alerts.profile: "),
    "runbooks that are a path": ("alerts: {runbooks: docs/alerts.md}", "write it like https://wiki.example.com"),
    "runbooks with an anchor": ("alerts: {runbooks: 'https://wiki.example.com/a#b'}", "is no address of a page"),
    "unknown alert": ("alerts: {overrides: {ZcsFilesystmFull: {off: true}}}", r"did you mean ZcsFilesystemFull\?"),
    "override of nothing": ("alerts: {overrides: {ZcsFilesystemFull: {warn: 0.5}}}", r"did you mean warning\?"),
    "threshold that is a word": ("alerts: {overrides: {ZcsFilesystemFull: {critical: high}}}", "critical: "),
    "threshold that is not a number": ("alerts: {overrides: {ZcsFilesystemFull: {critical: .nan}}}", "critical: "),
    "threshold in percent": ("alerts: {overrides: {ZcsFilesystemFull: {critical: 97}}}", "write 0.97 for 97 %"),
    "thresholds the wrong way round": (
        "alerts: {overrides: {ZcsFilesystemFull: {warning: 0.9, critical: 0.8}}}",
        "critical 0.8 is reached before warning 0.9",
    ),
    "threshold the alert has not": (
        "alerts: {overrides: {ZcsMysqldDown: {warning: 1}}}",
        "the alert has no warning threshold",
    ),
    "heartbeat without unit": ("notify: {heartbeat: 60}", "60 has no unit"),
    "heartbeat that is a word": ("notify: {heartbeat: false}", "must be a duration; write it like 15s"),
    "heartbeat that is no number": ("notify: {heartbeat: .nan}", "must be a duration of at most 366d"),
    "heartbeat of more than a year": ("notify: {heartbeat: 367d}", "must be a duration of at most 366d"),
    "target without secrets": ("notify: {snmp: [{name: a, host: h}]}", r"notify.snmp\[0\].secrets: is missing"),
    "target without name": ("notify: {snmp: [{host: h, secrets: /s}]}", r"notify.snmp\[0\].name: is missing"),
    "misspelt target key": (
        "notify: {snmp: [{name: a, host: h, prot: 1, secrets: /s}]}",
        r"notify.snmp\[0\].prot: .*port\?",
    ),
    "version 2": ("notify: {snmp: [{name: a, host: h, version: 2, secrets: /s}]}", r"notify.snmp\[0\].version: "),
    "port 0": ("notify: {snmp: [{name: a, host: h, port: 0, secrets: /s}]}", r"notify.snmp\[0\].port: "),
    "kind": ("notify: {snmp: [{name: a, host: h, kind: shout, secrets: /s}]}", r"notify.snmp\[0\].kind: "),
    "two of one name": (
        "notify: {snmp: [{name: a, host: h, secrets: /s}, {name: a, host: i, secrets: /s}]}",
        "two targets are called a",
    ),
    "root oid": (
        "snmp: {root_oid: 1.2.banana}",
        "snmp.root_oid: '1.2.banana' is not an object identifier, numbers with",
    ),
    "root oid of two numbers": ("snmp: {root_oid: 1.3}", "snmp.root_oid: '1.3' is not below the number of an enterpri"),
    "root oid of nothing": ("snmp: {root_oid: ''}", "snmp.root_oid: '' is not an object identifier"),
    "root oid that is the enterprises": ("snmp: {root_oid: 1.3.6.1.4.1}", "is not below the number of an enterprise"),
    "root oid of nobody": ("snmp: {root_oid: 1.3.6.1.4.1.0}", "is not below the number of an enterprise"),
    "root oid that is too deep": (
        f"snmp: {{root_oid: 1.3.6.1.4.1{'.1' * 99}}}",
        "has 99 numbers below .*; use 10 at m",
    ),
    "tag and text that differ": ("web: !!bool maybe", "line 1, column 6: what stands here is no bool"),
    "number of nothing": ("web: {listen: !!float ''}", "line 1, column 15: what stands here is no float"),
    "date of nothing": ("web: {listen: !!timestamp x}", "line 1, column 15: what stands here is no timestamp"),
    "number without digits": ("web: {listen: 0x_}", "line 1, column 15: what stands here is no int"),
    "number without end": (f"web: {{allow: 0x{'f' * 6000}}}", "line 1, column 14: the number is too long"),
    "key without end": (f"web: {{? 0x{'f' * 6000} : 1}}", "line 1, column 9: the number is too long"),
    "aliases of aliases": (
        "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [{f'*a{n - 1},' * 9}]" for n in range(1, 12))]),
        "more than 100000 keys and values",
    ),
    "target with a line break in its name": (
        'notify: {snmp: [{name: "nms\\n", host: h, secrets: /s}]}',
        r"notify.snmp\[0\].name: must match",
    ),
    "port of other digits": ("web: {listen: '127.0.0.1:٨٠'}", "is not an address and port"),
    "port with a line break": ('web: {listen: "127.0.0.1:80\\n"}', "is not an address and port"),
    "events file with a control character": ('events: {file: "a\\0b"}', "events.file: .* is no name for it"),
}


def load(tmp_path: Path, text: str | bytes) -> object:
    file = tmp_path / "config.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_config(str(file), CATALOGUE)


def faults(tmp_path: Path, text: str | bytes) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    return caught.value.faults


@pytest.mark.parametrize("case", BROKEN)
def test_a_fault_is_told_in_one_line_with_its_place_and_a_remedy(tmp_path: Path, case: str) -> None:
    text, expected = BROKEN[case]

    found = faults(tmp_path, text)

    assert len(found) == 1, found
    assert found[0].startswith(f"{tmp_path}/config.yaml")
    assert re.search(expected, found[0]), found[0]
    assert "\n" not in found[0].strip()


@pytest.mark.parametrize(
    "text",
    [
        "snmp_agent: {communities: [0123456789abcdef]}",
        "snmp_agent: {communities: 0123456789abcdef}",
        "snmp_agent: {users: [0123456789abcdef]}",
        "snmp_agent: {users: 0123456789abcdef}",
        "notify: {snmp: [{name: a, host: 192.0.2.1, secrets: 0123456789abcdef}]}",
    ],
)
def test_a_secret_that_stands_in_place_of_its_file_is_not_repeated(tmp_path: Path, text: str) -> None:
    [fault] = faults(tmp_path, text)
    assert "0123456789abcdef" not in fault
    assert "/etc/zcs-exporter/agent." in fault


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    found = faults(tmp_path, "wab: {}\nlog:\n  level: loud\n  colour: red\ncollectors:\n  postfix:\n    interval: 1\n")

    assert len(found) == 4
    assert [re.search(r"line (\d+)", fault)[1] for fault in found] == ["3", "4", "7", "1"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"\xff\xfe", "not UTF-8"), (b"#" * (2 << 20), "at most 1 MiB"), (b"a: \x00", "config.yaml")],
)
def test_what_is_not_a_text_of_ours_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    assert expected in faults(tmp_path, content)[0]


def test_a_file_that_is_missing_or_a_directory_is_named(tmp_path: Path) -> None:
    for file in (tmp_path / "missing.yaml", tmp_path):
        with pytest.raises(ConfigError) as caught:
            load_config(str(file), CATALOGUE)
        assert caught.value.faults[0].startswith(str(file))


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    config = load_config(str(tmp_path / "config.yaml"), CATALOGUE) if load(tmp_path, "") else None

    assert config is not None
    assert config.web.listen == "127.0.0.1:10741"
    assert config.notify.snmp == ()
    assert config.collector("postfix").enabled == "auto"


def test_a_section_is_checked_even_where_nobody_asks_for_its_collector(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    for text, expected in (
        ("collectors: {postfix: {interval: 1}}", "collectors.postfix.interval: "),
        ("collectors: {postfx: {}}", "did you mean postfix"),
        ("collectors: [postfix]", "collectors: "),
        ("alerts: {overrides: {ZcsNothing: {warning: 1}}}", "no such alert"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=expected):
            load_config(str(file), collectors=["auth"])


def test_only_collectors_that_are_asked_for_or_configured_have_a_section(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("collectors: {postfix: {enabled: false}}")

    assert list(load_config(str(file), collectors=["auth"]).sections) == ["postfix", "auth"]
    assert list(load_config(str(file)).sections) == list(collector_names())


def test_the_documented_example_is_good(tmp_path: Path) -> None:
    text = """
host: {root: /, zimbra_home: /opt/zimbra}
state: {directory: /var/lib/zcs-exporter}
web: {listen: 127.0.0.1:10741, config_file: null, allow: []}
log: {level: info, format: text}
privacy: {accounts: encrypted, addresses: always}
collectors:
  postfix: {enabled: auto, interval: 15s}
  auth: {trusted_proxies: []}
alerts:
  profile: default
  overrides: {ZcsFilesystemFull: {critical: 0.97, for: 5m}, ZcsQueueHold: {off: true}}
notify:
  heartbeat: 60s
  snmp: [{name: nms, host: nms.example.com, port: 162, version: 3, kind: inform,
          secrets: /etc/zcs-exporter/nms.secret, compat: null, max_age: 24h, rate: 5}]
  mail: []
  webhook: []
snmp: {root_oid: null}
snmp_agent: {enabled: false, listen: 127.0.0.1:1161}
"""
    load(tmp_path, text)
    config = load_config(str(tmp_path / "config.yaml"), CATALOGUE)

    assert config.alerts.overrides["ZcsQueueHold"].off is True
    assert config.alerts.overrides["ZcsFilesystemFull"].hold == 300
    assert config.notify.snmp[0].max_age == 86400


def test_files_of_conf_d_are_added_in_name_order(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "20.yaml").write_text("notify: {snmp: [{name: b, host: h, secrets: /s}]}")
    (tmp_path / "conf.d" / "10.yaml").write_text("log: {level: debug}")
    (tmp_path / "config.yaml").write_text("notify: {snmp: [{name: a, host: h, secrets: /s}]}")

    config = load_config(str(tmp_path / "config.yaml"), CATALOGUE)

    assert [target.name for target in config.notify.snmp] == ["a", "b"]
    assert config.log.level == "debug"


def test_files_of_conf_d_count_where_there_is_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "nms.yaml").write_text("notify: {snmp: [{name: nms, host: h, secrets: /s}]}")
    monkeypatch.setattr("zcs_exporter.config.DEFAULT_FILE", str(tmp_path / "config.yaml"))

    assert [target.name for target in load_config(None, CATALOGUE).notify.snmp] == ["nms"]


def test_a_value_given_in_two_files_is_a_fault_that_names_the_second(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "10.yaml").write_text("log: {level: debug}")

    found = faults(tmp_path, "log: {level: info}")

    assert found == [f"{tmp_path}/conf.d/10.yaml: log.level: already set by an earlier file; keep it in one of them"]


def test_a_fault_that_shows_only_when_all_files_are_put_together_is_placed_in_the_one_that_has_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "10.yaml").write_text("alerts:\n  overrides:\n    ZcsQueueHolt: {off: true}\n")

    [found] = faults(tmp_path, "notify: {snmp: [{name: nms, host: h, secrets: /s}]}")
    assert found.startswith(f"{tmp_path}/conf.d/10.yaml, line 3: alerts.overrides.ZcsQueueHolt: no such alert")

    (tmp_path / "conf.d" / "10.yaml").write_text("\nnotify: {snmp: [{name: nms, host: h, secrets: /s}]}")
    [found] = faults(tmp_path, "notify: {snmp: [{name: nms, host: h, secrets: /s}]}")
    assert found.startswith(f"{tmp_path}/conf.d/10.yaml, line 2: notify: two targets are called nms")


@settings(max_examples=2_000, deadline=None)
@given(st.text())
def test_any_text_is_a_value_or_a_fault_of_ours(text: str) -> None:
    with contextlib.suppress(YamlError):
        load_yaml(text)


def test_events_go_to_the_state_directory_unless_a_site_wants_them_elsewhere(tmp_path: Path) -> None:
    def file(text: str) -> str | None:
        (tmp_path / "config.yaml").write_text(text)
        return load_config(str(tmp_path / "config.yaml"), CATALOGUE).events.file

    assert file("") == "events.jsonl"
    assert file("events: {file: attacks.json}") == "attacks.json"
    assert file("events: {file: /var/log/zcs//events.jsonl}") == "/var/log/zcs/events.jsonl"
    assert file("events: {file: null}") is None


@pytest.mark.parametrize(
    ("target", "pace"),
    [({}, 5.0), ({"kind": "trap"}, 2.0), ({"version": 1, "kind": "trap"}, 2.0), ({"kind": "trap", "rate": 9}, 9.0)],
)
def test_traps_leave_more_slowly_than_informs_unless_told_otherwise(
    tmp_path: Path, target: dict[str, object], pace: float
) -> None:
    file = tmp_path / "config.yaml"
    one = {"name": "nms", "host": "nms.example.com", "secrets": "/etc/nms.secret", **target}
    file.write_text(f"notify: {{snmp: [{one}]}}")

    (found,) = load_config(str(file)).notify.snmp

    assert found.pace == pace
    assert found.snmp_version == ("1" if target.get("version") == 1 else "3")


@pytest.mark.parametrize(
    ("target", "fault"),
    [({"version": "1"}, "add kind: trap"), ({"compat": "zimbra"}, "use version 2c or 1"), ({"burst": 0}, "burst")],
)
def test_a_target_that_cannot_work_is_refused(tmp_path: Path, target: dict[str, object], fault: str) -> None:
    file = tmp_path / "config.yaml"
    one = {"name": "nms", "host": "nms.example.com", "secrets": "/etc/nms.secret", **target}
    file.write_text(f"notify: {{snmp: [{one}]}}")

    with pytest.raises(ConfigError, match=fault):
        load_config(str(file))
