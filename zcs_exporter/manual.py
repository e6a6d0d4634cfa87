"""Renders the manual page and the completion of bash from what may be typed."""

import argparse
import re
from collections.abc import Iterator

from zcs_exporter import __version__
from zcs_exporter.command_line import Parser

_HEAD = """\
.\\" Rendered by 'make generate' from zcs_exporter/command_line.py.
.TH ZCS\\-EXPORTER 8 "" "zcs\\-exporter {version}" "System administration"
.SH NAME
zcs\\-exporter \\- monitoring for one Zimbra host
.SH SYNOPSIS
.B zcs\\-exporter
.I COMMAND
.RI [ OPTION ...]
.SH DESCRIPTION
One daemon per host of a Zimbra Collaboration Server.
It finds the host's roles by itself and watches disks, Postfix queues and mail flow, the database, every JVM, logins,
logs and services, for Prometheus, SNMP managers, Nagios, and a person who opens its page.
It needs no configuration and starts no program.
.SH OPTIONS
.TP
\\fB\\-\\-config\\fR \\fIFILE\\fR
The configuration, for every command that needs one; without it, and if it exists,
.IR /etc/zcs\\-exporter/config.yaml .
.TP
\\fB\\-\\-help\\fR
What may be typed, of every command.
.TP
\\fB\\-\\-version\\fR
The version.
.SH COMMANDS
"""
_COMMON = "config"
_TAIL = """\
.SH FILES
.TP
.I /etc/zcs\\-exporter/config.yaml
The configuration, if there is one; then
.I conf.d/*.yaml
beside it.
.TP
.I /var/lib/zcs\\-exporter
What survives a restart: alarms, positions in logs, notifications that are not delivered yet, events, and the token that
opens the page.
.TP
.I /usr/share/doc/zcs\\-exporter
More documentation:
.I docs/install.md
first, and
.I docs/alerts.md
for what each alarm means and what to do.
.SH EXIT STATUS
0 done, 1 what was asked about is not well, 2 it could not be asked; of
.B check
0 ok, 1 warning, 2 critical, 3 unknown.
.SH SEE ALSO
.BR journalctl (1),
.BR systemctl (1)
"""
_COMPLETION = """\
# Rendered by 'make generate' from zcs_exporter/command_line.py: completion of zcs-exporter for bash.
_zcs_exporter() {{
    local command= word words=
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "${{command:+$command }}$word" in
        {commands}) command="${{command:+$command }}$word" ;;
        esac
    done
    case "$command" in
{cases}
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}")
}}
complete -o default -F _zcs_exporter zcs-exporter
"""
"""Where no word fits, bash goes on with names of files."""


def render_manual(parser: Parser) -> str:
    """Return the manual page."""
    parts = [_HEAD.format(version=_roff(__version__))]
    for name, each in _commands(parser):
        if _below(each) is None or each.get_default("command"):
            parts += _section(name, each)
    return "".join([*parts, _TAIL])


def render_completion(parser: Parser) -> str:
    """Return what bash reads to complete commands and options."""
    known = dict(_commands(parser))
    cases = [f'    "{name}") words="{" ".join(_words(each))}" ;;' for name, each in {"": parser, **known}.items()]
    commands = " | ".join(f'"{name}"' for name in known)
    return _COMPLETION.format(commands=commands, cases="\n".join(cases))


def _section(name: str, parser: Parser) -> Iterator[str]:
    arguments = [each for each in parser._actions if not _is_beside(each)]
    words = [_placeholder(each) for each in arguments if _is_word(each)]
    yield f".SS {_roff(' '.join([name, *words]))}\n{_roff(parser.description or '')}\n"
    for each in arguments:
        options = ", ".join(f"\\fB{_roff(option)}\\fR{_value(each)}" for option in each.option_strings)
        word = f"\\fI{_roff(_placeholder(each))}\\fR"
        yield f".TP\n{options or word}\n{_roff(each.help or '')}\n"
    if parser.epilog:
        shaped = parser.formatter_class is argparse.RawDescriptionHelpFormatter
        yield (
            f".PP\n.nf\n{_roff(parser.epilog)}\n.fi\n" if shaped else f".PP\n{_roff(' '.join(parser.epilog.split()))}\n"
        )


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    choices = "|".join(map(str, action.choices)) if action.choices else None
    return f" \\fI{_roff(choices or _placeholder(action))}\\fR"


def _placeholder(action: argparse.Action) -> str:
    return str(action.metavar or action.dest.upper())


def _words(parser: Parser) -> Iterator[str]:
    yield from _below(parser) or ()
    for action in parser._actions:
        if action.help != argparse.SUPPRESS:
            yield from (option for option in action.option_strings if option.startswith("--"))


def _commands(parser: Parser, above: str = "") -> Iterator[tuple[str, Parser]]:
    """Yield every command with its parser, words that only begin one too."""
    for name, each in (_below(parser) or {}).items():
        yield f"{above}{name}", each
        yield from _commands(each, f"{above}{name} ")


def _below(parser: Parser) -> dict[str, Parser] | None:
    found = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    return found[0].choices if found else None


def _is_beside(action: argparse.Action) -> bool:
    """Whether something is no argument of a command's own; that of nearly all is described once."""
    return isinstance(action, argparse._SubParsersAction | argparse._HelpAction) or action.dest == _COMMON


def _is_word(action: argparse.Action) -> bool:
    return not action.option_strings


def _roff(text: str) -> str:
    """Return a text that means itself: no escape, no dash that becomes another, no line that is a request."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^(?=[.'])", r"\\&", escaped, flags=re.MULTILINE)
