"""Who is to be called with the lines of a log: the same for the daemon that follows it and for a scan of old files."""

from collections.abc import Callable, Collection, Sequence

from zcs_exporter.contract import Clock, LogBlock, LogSubscription, Subscription, SyslogSubscription
from zcs_exporter.syslog import SyslogReader

Feed = Callable[[LogBlock], None]


def feeds_of(
    subscriptions: Sequence[Subscription], names: Collection[bytes] | None, previous: int, clock: Clock
) -> tuple[list[Feed], SyslogReader | None]:
    """Return what is to be called with each block of one log for all wishes, and the syslog reader among it.

    Args:
        subscriptions: All wishes for the log.
        names: The host's in syslog; None for any.
        previous: Time of the last line that was read before.
        clock: Dates syslog's stamps.
    """
    feeds: list[Feed] = [each.feed for each in subscriptions if isinstance(each, LogSubscription)]
    wishes = [each for each in subscriptions if isinstance(each, SyslogSubscription)]
    if not wishes:
        return feeds, None
    syslog = SyslogReader(wishes, names, previous, clock)
    return [*feeds, syslog.feed], syslog
