"""Which benchmarks there are, and the budgets that the project set itself."""

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
    "G1": "everything anew is 8 to 11 ms of CPU: 2.5 to 3.7 are the collectors of G2, 1.3 to 2 those that logs feed, "
    "and the rest the queue, where 100 messages come and go before each page (see G7). The exporters' side is "
    "nearly all one walk of the queue, 2 to 4 s by what else the machine has to do: the ratio moves with it.",
    "G2": "a round with its page costs 2.5 to 3.7 ms of CPU, by how busy the machine is: MySQL, JVMs and services "
    "0.6 each at best, file systems 0.5, the rest the release, the tables of mailboxd, the daemon's own series and "
    "the page. A call in a thread costs 40 to 70 µs when it is alone, most of it two wake-ups; they share one.",
    "G4": "without compression a page is 100 kB, which is copied three times between here and a scraper: of some 130 "
    "µs of CPU a page a quarter is the kernel's, and the scraper takes the other core. Ours are 11 µs in a "
    "tight loop. Prometheus asks for gzip; then the page is a tenth of that.",
    "G5": "names and labels are kept while the series stay the same. Of 0.4 µs a series half is the formatting of "
    "numbers, for which Python has nothing faster, and a quarter sees that the series are the same; the result "
    "moves around the limit from run to run.",
    "G6": "the first look at more than 2,000 messages counts their names, 0.7 µs each, of which listing alone is "
    "0.4. An unchanged queue costs a round of 1.3 ms, be it of 100 messages or of a million; a third of it is "
    "asking 22 directories for their times of change, the rest the round itself. postfix_exporter's walk, to "
    "which this is held, took from 1.9 to 4 s from run to run.",
    "G7": "of 18 µs a file at the first walk (20 and more while others use the machine), 6 to 7 are the kernel's "
    "(open, fstat, read, close), 3 the parsing of the envelope, 3 the books, 2.5 listing and indexing the "
    "names. Here the rounds follow each other; the daemon reads for a quarter of each second, so that 100,000 "
    "messages are known after 8 s. Who is neither root nor the owner cannot keep the kernel from writing each "
    "deferred file's time of access, either. A round after 100 changes costs the 1.3 ms of an unchanged one "
    "and 30 to 50 µs for each change.",
    "G8": "what is compared is not the same work: mtail counts, while a failure also goes into windows, "
    "rankings and replay for every check. With nothing but failures half of a profile is the sketches of the "
    "slow checks (`add` and `expire` in `collectors/auth/spread.py`) and a quarter reading the lines; with one "
    "login in ten refused these are a quarter and a third. A plain success is one regular expression for about "
    "half a microsecond. Of a day of all three logs most is zimbra.log: 4 to 5 µs for each line of Postfix and "
    "amavis that is followed, message by message.",
    "G9": "a reading takes 4 to 6 µs, of which 2 are the system call; the JMX side varies between 1.3 and 1.6 "
    "ms, so the result crosses the limit from run to run.",
    "G10": "the server alone takes 0.45 to 0.85 ms of CPU for the chosen rows, about as much as the whole collection "
    "may take. Ours are 0.6 to 0.7 at best, of which 0.1 are the query and its rows and 0.1 counting servers in "
    "`/proc`, while the server works; 0.1 is handing over to a thread and back, the rest making, checking and "
    "rendering the series. With nothing else to do for the machine a collection took 1.0 ms; where processes wait "
    "for a core, each hand-over waits with them.",
    "G11": "of 54 MiB (RSS) without SNMP 9 are the bare interpreter, 25 what is imported on top of it (5 of these "
    "are OpenSSL, for which asyncio and hashlib ask), 2 what renders the page, 5 collectors that are ready, "
    "12 what a minute of logs and queues leaves. The agent and a target take 17 more: 7 are cryptography, 3 "
    "two engines of pysnmp, 3 the rest of it.",
    "G12": "0.3 s of CPU from exec to the first whole page, of which a fifth makes dataclasses, a tenth each "
    "compiles regular expressions and loads byte code, and a quarter is the collectors' first rounds. With "
    "100,000 messages in the queue the page is whole 0.15 s later than with none: the queue's first round "
    "costs 0.07 s of CPU, and the disk has its say.",
    "G13": "of 0.2 % of a core (2 ms a second) the engine's turns are a fifth, 2 ms every 5 s, half of it the rules; "
    "the look at the quiet logs each second is 0.12 ms on the event loop, and as much again in its thread; most "
    "of the rest is the collectors' rounds. So says a profile of the event loop, in which the kernel's share of "
    "waking threads does not show.",
    "G14": "only 200,000 messages that come at once, where the page's worst hundredth went from 0.8 to 2.3 ms: while "
    "names are listed and files are read, the interpreter's lock is asked for by two. Before the daemon was "
    "made lighter, 13 ms were the healthy value.",
}
"""Why a budget is missed: what profiles and readings show, or that there is no profile.

The figures do not change with a new run; take them anew when the table does.
"""
