"""``zcs-exporter demo``: the true daemon on a made-up Zimbra host, with incidents on a script.

No program is started. The host is a directory: logs, a spool, ``/proc`` and JVM counters that a script
keeps alive. Only what a directory cannot show comes from an object in place of ``Host``.
"""

import asyncio
import signal
import sys
import tempfile

from zcs_exporter.config import ConfigError
from zcs_exporter.contract import Clock
from zcs_exporter.demo.screen import Screen
from zcs_exporter.demo.services import HOSTNAME
from zcs_exporter.demo.settings import free_port
from zcs_exporter.demo.stage import Stage
from zcs_exporter.demo.story import Pace
from zcs_exporter.logs import configure_logging


def run_demo(port: int, seconds: float | None) -> int:
    """Run the demo and return the exit status.

    Args:
        port: Of the page; another one is taken where it is not free.
        seconds: How long; None until it is interrupted.
    """
    clock = Clock()
    begun = clock.monotonic()
    screen = Screen(sys.stdout, lambda: clock.monotonic() - begun)
    # SIGTERM must leave nothing behind either.
    former = signal.signal(signal.SIGTERM, signal.default_int_handler)
    end_log = configure_logging("warning", "text")
    try:
        with tempfile.TemporaryDirectory(prefix="zcs-demo-") as directory:
            screen.heading(f"zcs-exporter demo: the daemon watches a made-up Zimbra host, {HOSTNAME}")
            screen.say(f"It lies in {directory}; nothing of this machine is looked at. Ctrl-C ends it and removes all.")
            free = free_port(port)
            if port not in (0, free):
                screen.say(f"Port {port} is taken, so the page is on {free}.")
            screen.say()
            asyncio.run(Stage(directory, free, screen, clock, Pace()).perform(seconds))
    except ConfigError as exc:
        print(f"zcs-exporter: {exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, former)
        end_log()
    screen.say("The demo is over; nothing of it is left.")
    return 0
