"""Which benchmarks there are, and what was promised."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bench:
    """One benchmark.

    Attributes:
        name: As on the command line.
        module: In this package, with ``measure``.
        about: What it measures.
        limit: Seconds after which it is given up.
        lab: Whether it needs the lab's programs and namespaces.
        budgets: What its lines are about.
    """

    name: str
    module: str
    about: str
    limit: float
    budgets: tuple[str, ...]
    lab: bool = True


BENCHES = {
    bench.name: bench
    for bench in (
        Bench("rendering", "rendering", "the text of the page beside generate_latest", 600, ("G5",), lab=False),
        Bench("jvm", "jvm", "a JVM's counters beside JMX and jstat", 600, ("G9",)),
        Bench("mysql", "mysql", "the database's status beside mysqld_exporter", 600, ("G10",)),
        Bench("scrape", "scrape", "the page beside three exporters", 1200, ("G1", "G2", "G3", "G4")),
        Bench("queue", "queues", "Postfix's queues beside postfix_exporter and postqueue", 1200, ("G6", "G7")),
        Bench("logs", "logs", "whole logs beside mtail and pflogsumm", 1500, ("G8",), lab=False),
        Bench("attack", "attack", "5,000 failed logins a second from a million addresses", 600, (), lab=False),
        Bench("memory", "memory", "memory beside four exporters", 600, ("G11",)),
        Bench("start", "start", "from start to the first whole page", 600, ("G12",)),
        Bench("idle", "idle", "CPU while nothing happens", 600, ("G13",)),
        Bench("faults", "faults", "the page while something hangs, is dead or floods us", 900, ("G14",)),
        Bench("notify", "notify", "from a fault to its notification", 400, ("G15",)),
    )
}

BUDGETS = {
    "G1": "whole page with 100,000 deferred messages, live: 300 times faster than node + mysqld + postfix exporters "
    "added up; p99 under 50 ms",
    "G2": "the same without Postfix: 3 times faster, a fifth of the CPU",
    "G3": "the page as it is served: 25 times faster than node_exporter's",
    "G4": "at 32 scrapers: 50 times prometheus_client's own server",
    "G5": "rendering: 15 times generate_latest, equal after parsing",
    "G6": "queue count at 100,000: 60 times postfix_exporter; an unchanged queue 3,000 times",
    "G7": "queue with ages and sizes: 4 times showq; a million messages after 100 changes under 5 ms of CPU",
    "G8": "logs: 10 times mtail per CPU second with every matcher on, 15 times on the failures path",
    "G9": "JVM counters: 300 times a kept JMX connection, 10,000 times jstat",
    "G10": "MySQL: all rows 2.5 times, chosen rows 15 times mysqld_exporter",
    "G11": "memory: at most 0.75 of node + mysqld + postfix exporters + mtail with SNMP off, and at most 0.75 of all "
    "the peers it replaces with everything on",
    "G12": "first whole page within 0.4 s of start, and within 0.25 of postfix_exporter's time at 100,000",
    "G13": "idle CPU under 0.3 % of a core",
    "G14": "hung mount, dead MariaDB, 1 GB of log at once, 200,000 messages: page p99 at most twice its healthy value",
    "G15": "fault to notification on the wire: under 2 s for log events, one interval + 1 s for sampled ones",
}

WHY: dict[str, str] = {
    "G1": "collected anew for each page, 16 ms of CPU: by the readings below about 7 are the queue's round "
    "after its 100 changes (see G6) and 6 the collectors of G2; the rest are those that logs feed. This "
    "sum was not profiled as a whole.",
    "G2": "in a profile of single rounds, the best of twenty each, file systems cost 1.3 ms of CPU (a thread "
    "for each mount), MySQL, JVMs and services 0.7 to 0.8 each, and 1.2 went to the daemon's own series "
    "and the page. Making a sample costs 2 µs and checking it 0.8.",
    "G4": "in a profile of the server alone with 700 series, a fifth of a request is the kernel's send, a "
    "quarter our own checks and handler, the rest aiohttp. In CPU a page the ratio is about 30.",
    "G5": "names and labels are kept while the series stay the same. Of 0.33 to 0.39 µs a series in a tight "
    "loop about two thirds are the formatting of numbers; the result crosses the limit from run to run.",
    "G6": "the first look reads files for up to a second before it tells the count. In a profile of the idle "
    "daemon, nine tenths of the look at an unchanged queue is reading known files anew, in search of ids "
    "that were used again.",
    "G7": "of 26 µs a file at the first walk, 8 are the kernel's, 8 the parsing of the envelope with sender and "
    "recipient, the rest listing and books. A round after 100 changes costs the 3 ms of an unchanged one "
    "and 37 µs for each change.",
    "G8": "what is compared is not the same work: mtail counts, while a failure also goes into windows, "
    "rankings and replay for every check. With nothing but failures a quarter of the profile is `expire` "
    "in `collectors/auth/spread.py`, a seventh `add` there. With few failures, about half a second of our "
    "time is the start of the interpreter and imports.",
    "G9": "a reading takes 4 to 6 µs, of which 2 are the system call; the JMX side varies between 1.3 and 1.6 "
    "ms, so the result crosses the limit from run to run.",
    "G10": "the query of chosen rows takes 0.27 ms of our CPU at best and the whole collection 1.1: the rest "
    "counts servers in `/proc`, hops to a thread and back, and makes, checks and renders series. Of all "
    "rows, reading them through PyMySQL is a third of the collector's CPU.",
    "G11": "54 MiB are resident once everything is imported and nothing runs yet (the interpreter with aiohttp "
    "alone has 37, with pydantic alone 17). What the rest is was not profiled.",
    "G12": "the first page comes after 0.6 to 0.8 s of CPU, nearly all of it imports (aiohttp 0.3). With 100,000 "
    "messages the page is whole only after the queue's first round, 1.4 to 1.7 s; with an empty queue 0.3 "
    "s after the first page.",
    "G13": "roughly, from 161 samples: a quarter is waking the loop from a collector's thread, a fifth reading "
    "known queue files anew, a fifth the engine's turn.",
}
"""Why a budget is missed: what profiles and readings show, or that there is no profile.

The figures were taken on a busy machine and do not change with a new run; take them anew when the table does.
"""
