#!/usr/bin/python3 -I
"""Hand what a notification of zcs-exporter says to Nagios or Icinga 2.

    zcs-submit [--config FILE] [--heard SERVICE] [--sequence NUMBER] [--standing NUMBERS]
               SERVICE HOST SEVERITY TEXT ALARM [SERVICE ...]

A service stands for all alarms of one kind and shows the worst of those that stand, so that the end of one does not
hide another. ALARM is what ties a raise to its clear; 0 is shown and not remembered. SEVERITY is 0 to 3, or ok,
warning, critical or unknown; a cleared alarm has 0. What stands in the services after ALARM is told once more, so
that all are as fresh as the host's last word; the service of --heard becomes OK for that it was heard.

NUMBERS are what a heartbeat says of the alarms that stand: how many, then numbers between the first and last of which
no other ones do. An alarm that is noted here and does not stand there is over, though its clear was lost. Where others
stand that were never told here, as after the host has lost its state, one of them may be the same: then it is unknown.
A number with a plus is of an alarm whose raise was told: where it was not told here, it got lost, and the heartbeat's
SERVICE is a warning until it is told or over. NUMBERS are of no use when what is newer by its NUMBER, which rises by
one, came before.

No argument reaches a shell or a path unchecked, and what no notification of zcs-exporter has in its texts becomes a
question mark. FILE is /etc/zcs-submit.conf by default. Needs Python 3.6 and nothing else.

Exit status: 0 done, 1 it could not be handed on (syslog says why), 2 wrong usage.
"""

import base64
import configparser
import fcntl
import http.client
import json
import os
import re
import select
import ssl
import stat
import sys
import syslog
import time
import urllib.parse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Standing = dict[str, tuple[int, str]]  # by what ties raise and clear together: state and text
    Book = dict[str, Standing]  # by service
    Told = dict[str, tuple[int, list[str]]]  # by service: state and lines
    Numbers = tuple[int, list[int], set[int]]  # how many stand, what --standing names, which of those were raised

CONFIG = "/etc/zcs-submit.conf"
STATES = {"ok": 0, "warning": 1, "critical": 2, "unknown": 3}
RANK = (0, 3, 1, 2)  # what matters more, later
UNSAFE = re.compile(r"[^A-Za-z0-9 _.:/@%+,=()#-]")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.:-]{0,127}")  # neither a hidden file nor a path
MOST_ALARMS = 1000
MOST_OCTETS = 3500  # a pipe takes up to 4096 in one piece
PATIENCE = 10.0  # seconds
DOUBTFUL = "Perhaps over: "
WRAP = 1 << 32
MOST_LATE = 1000  # what is further behind is no late one, but of a sender that began anew
MOST_IGNORED = 3  # rising heartbeats in a row that seem late: then the sender has gone back, to an older state
SENDER = "#sender"  # in the book, where no service is called so: what is known of the sequence numbers


def main(arguments: "list[str]") -> int:
    """Carry out one command line and return its exit status."""
    options = {"--config": CONFIG, "--heard": "", "--sequence": "", "--standing": ""}
    while len(arguments) > 1 and arguments[0] in options:
        options[arguments[0]], arguments = arguments[1], arguments[2:]
    heard = [options["--heard"]] if options["--heard"] else []
    if len(arguments) < 5 or not all(map(NAME.fullmatch, [*arguments[:2], *arguments[4:], *heard])):
        print(__doc__, file=sys.stderr)
        return 2
    service, host, severity, text, alarm = arguments[:5]
    try:
        settings = configparser.ConfigParser(interpolation=None)
        with open(options["--config"], encoding="utf-8") as file:
            settings.read_file(file)
        directory = settings.get("state", "directory", fallback="/var/lib/zcs-submit")
        # Held to the end, so that two changes of one service are told in the order in which they were noted.
        with open(os.path.join(directory, "lock"), "a", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            state, text = state_of(severity), UNSAFE.sub("?", text)[:255]
            place = os.path.join(directory, host + ".json")
            book = load(place)
            former = json.dumps(book)
            sequence = options["--sequence"] if re.fullmatch("[0-9]{1,10}", options["--sequence"]) else ""
            standing = None if alarm != "0" else numbers(options["--standing"])
            if standing is not None and sequence and out_of_turn(book, sequence):
                standing = None
            told = results(book, service, state, text, alarm, arguments[5:], standing)
            told.update((each, life(book, each, "zcs-exporter is heard")) for each in heard)
            if alarm != "0" or json.dumps(book) != former:
                if sequence and not late(book, sequence):
                    book.setdefault(SENDER, {})["#last"] = (0, sequence)
                save(place, book)
            tell(settings, host, told)
    except (OSError, ValueError, KeyError, configparser.Error, http.client.HTTPException) as exc:
        complaint = f"zcs-submit: {host}: {service}: {UNSAFE.sub('?', str(exc))}"
        print(complaint, file=sys.stderr)
        syslog.syslog(syslog.LOG_ERR, complaint)
        return 1
    return 0


def state_of(severity: str) -> int:
    """Return a severity as a number; what is no severity is unknown."""
    if severity in ("0", "1", "2", "3"):
        return int(severity)
    return STATES.get(severity.lower(), 3)


def numbers(text: str) -> "Numbers | None":
    """Return what ``--standing`` says; None where it says nothing, as a host does that does not know yet."""
    words = text.split()
    if len(words) < 3 or not all(re.fullmatch("[+]?[0-9]{1,10}", word) for word in words):
        return None
    return int(words[0]), [int(word) for word in words[1:]], {int(word) for word in words[1:] if word[0] == "+"}


def late(book: "Book", sequence: str) -> bool:
    """Return whether something newer of the same sender is noted."""
    _, last = book.get(SENDER, {}).get("#last", (0, ""))
    return last.isdecimal() and (int(last) - int(sequence)) % WRAP < MOST_LATE


def out_of_turn(book: "Book", sequence: str) -> bool:
    """Return whether a heartbeat is older than what is noted, and note that for the next one."""
    sender = book.setdefault(SENDER, {})
    count, before = sender.pop("#late", (0, ""))
    if not late(book, sequence):
        return False
    if before != sequence:
        rises = before.isdecimal() and (int(sequence) - int(before)) % WRAP < MOST_LATE
        count = count + 1 if rises else 1
    if count >= MOST_IGNORED:
        del sender["#last"]
        return False
    sender["#late"] = (count, sequence)
    return True


def results(
    book: "Book", service: str, state: int, text: str, alarm: str, others: "list[str]", standing: "Numbers | None"
) -> "Told":
    """Note a change in the book, and return what to tell of the service and of the others."""
    otherwise = "No alarm that was told here stands"
    over = {}  # type: dict[str, str]
    if alarm != "0":
        alarms = book.setdefault(service, {})
        for each in book.values():
            each.pop(alarm, None)
        if state and len(alarms) < MOST_ALARMS:
            alarms[alarm] = (state, text)
    elif standing is not None:
        over, strangers = compare(book, service, standing)
        otherwise = f"{otherwise}, but {strangers} may that were not: see {service}" if strangers else "No alarm stands"
    found = {each: shown(book.get(each, {}), over.get(each, otherwise)) for each in others}
    if alarm != "0":
        found[service] = shown(book[service], text)
    else:
        found[service] = (state, [text]) if state else life(book, service, text)
    return found


def life(book: "Book", service: str, otherwise: str) -> "tuple[int, list[str]]":
    """Return what to tell of the service of a heartbeat, where those alarms are noted whose raise was lost."""
    count = len(book.get(service, {}))
    if not count:
        return 0, [otherwise]
    alarms, them = ("1 alarm stands that was", "it") if count == 1 else (f"{count} alarms stand that were", "them")
    return 1, [f"{alarms} not told here: zcs-exporter alerts shows {them}, trap replay sends {them}"]


def compare(book: "Book", heartbeat: str, standing: "Numbers") -> "tuple[dict[str, str], int]":
    """Bring the book to what a heartbeat says; return texts for services that lost an alarm, and how many it lacks.

    What has no number is not from zcs-exporter and stays. Where a raise was lost, its number is noted below the
    service ``heartbeat``.
    """
    count, (first, *rest), raised = standing
    named = {first, *rest}
    lost = book.pop(heartbeat, {})
    noted = [(service, key) for service, alarms in book.items() for key in alarms if key.isdecimal()]
    # The next heartbeat may name others where not all fit.
    lost = {key: each for key, each in lost.items() if key.isdecimal() and not first <= int(key) <= rest[-1]}
    news = sorted(raised - {int(key) for _, key in noted})
    lost.update((str(each), (1, "")) for each in news[: max(0, MOST_ALARMS - len(lost))])
    gone = [(service, key) for service, key in noted if first <= int(key) <= rest[-1] and int(key) not in named]
    strangers = max(0, count - (len(noted) - len(gone)))
    over = {}
    for service, key in gone:
        _, text = book[service].pop(key)
        if text.startswith(DOUBTFUL):
            text = text[len(DOUBTFUL) :]
        if strangers:
            book[service][key] = (3, (DOUBTFUL + text)[:255])
        else:
            over[service] = "Over, without its clear: " + text
    if lost:
        book[heartbeat] = lost
    return over, strangers


def load(place: str) -> "Book":
    """Return the alarms that stand by service and by what ties them together; none where nothing is known."""
    try:
        with open(place, encoding="utf-8") as file:
            return {
                str(service): {
                    str(alarm): (state_of(str(state)), str(text)) for alarm, (state, text) in standing.items()
                }
                for service, standing in json.load(file).items()
            }
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, TypeError) as exc:
        # Alarms that still stand are told again before long.
        syslog.syslog(syslog.LOG_WARNING, f"zcs-submit: {place} is damaged and begun anew: {exc!r}")
        return {}


def save(place: str, book: "Book") -> None:
    """Replace what ``load`` reads in one step."""
    with open(place + ".new", "w", encoding="utf-8") as file:
        json.dump(book, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(place + ".new", place)


def shown(standing: "Standing", otherwise: str) -> "tuple[int, list[str]]":
    """Return the worst of the alarms and a line for each, worst first."""
    ordered = sorted(standing.values(), key=lambda each: RANK.index(each[0]), reverse=True)
    if not ordered:
        return 0, [otherwise]
    lines = [text for _, text in ordered]
    return ordered[0][0], lines if len(lines) == 1 else [f"{len(lines)} alarms: {lines[0]}", *lines[1:]]


def tell(settings: configparser.ConfigParser, host: str, told: "Told") -> None:
    """Hand the results to whatever is configured."""
    if not settings.has_section("nagios") and not settings.has_section("icinga2"):
        raise ValueError("neither [nagios] nor [icinga2] is configured")
    if settings.has_section("nagios"):
        tell_nagios(settings["nagios"]["command_file"], host, told)
    if settings.has_section("icinga2"):
        tell_icinga(settings["icinga2"], host, told)


def tell_nagios(command_file: str, host: str, told: "Told") -> None:
    """Write one external command for each service."""
    # Without a reader this fails at once instead of hanging, and it never makes a file.
    pipe = os.open(command_file, os.O_WRONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISFIFO(os.fstat(pipe).st_mode):
            raise ValueError(command_file + " is no pipe")
        for service, (state, lines) in told.items():
            output = "\\n".join(lines)[:MOST_OCTETS]
            result = f"[{int(time.time())}] PROCESS_SERVICE_CHECK_RESULT;{host};{service};{state};{output}\n"
            if not select.select([], [pipe], [], PATIENCE)[1]:
                raise OSError("Nagios does not read " + command_file)
            os.write(pipe, result.encode("ascii"))
    finally:
        os.close(pipe)


def tell_icinga(settings: configparser.SectionProxy, host: str, told: "Told") -> None:
    """Post one result for all services that are alike."""
    url = urllib.parse.urlsplit(settings["url"])
    if url.scheme != "https" or not url.hostname:
        raise ValueError("url has to begin with https://")
    context = ssl.create_default_context(cafile=settings.get("ca"))
    user = f"{settings['user']}:{settings['password']}"
    headers = {
        "Accept": "application/json",
        "Content-Type": "application/json",
        "Authorization": "Basic " + base64.b64encode(user.encode()).decode(),
    }
    alike = {}  # type: dict[tuple[int, str], list[str]]
    for service, (state, lines) in told.items():
        alike.setdefault((state, "\n".join(lines)), []).append(service)
    server = http.client.HTTPSConnection(url.hostname, url.port or 5665, timeout=PATIENCE, context=context)
    try:
        for (state, output), services in alike.items():
            request = {
                "type": "Service",
                "filter": "host.name == zcs_host && service.name in zcs_services",
                "filter_vars": {"zcs_host": host, "zcs_services": services},
                "exit_status": state,
                "plugin_output": output,
            }
            server.request("POST", "/v1/actions/process-check-result", json.dumps(request), headers)
            answer = server.getresponse()
            body = answer.read()
            if answer.status != 200:
                # That is how it says that it has none of them, or none that this user may speak for.
                nothing = b'"results":[]' in body.replace(b" ", b"")
                detail = "no such service for this user" if nothing else body[:200].decode("ascii", "replace")
                raise ValueError(f"Icinga answers {answer.status}: {detail}")
    finally:
        server.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
