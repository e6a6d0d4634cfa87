"""Postfix's spool: messages as queue files that move from queue to queue.

Format of a queue file: records of a type, a length as a varint and the data, envelope first.
"""

import os
from dataclasses import dataclass

from zcs_exporter.contract import Clock
from zcs_exporter.demo.files import Tree

SPOOL = "/opt/zimbra/data/postfix/spool"
QUEUES = ("maildrop", "incoming", "active", "deferred", "hold", "corrupt")
_RETRY = 300.0

_MASTER = """\
smtp      inet  n       -       n       -       1       postscreen
smtpd     pass  -       -       n       -       -       smtpd
[127.0.0.1]:10025 inet n  -       n       -       -  smtpd
    -o content_filter=
    -o syslog_name=postfix/amavisd
[127.0.0.1]:10030 inet n  -       n       -       -  smtpd
    -o content_filter=
    -o syslog_name=postfix/dkimmilter
"""


@dataclass(slots=True)
class Mail:
    """One message.

    Attributes:
        number: Counts the messages that were accepted.
        queue_id: As in logs.
        login: As whom it was sent with authentication; empty for mail from outside.
        accepted: Monotonic time of its arrival.
        place: Its queue file.
        first: Its queue id before the content filter; empty until it has passed that.
    """

    number: int
    queue_id: str
    sender: str
    recipient: str
    size: int
    login: str
    accepted: float
    place: str
    first: str = ""

    @property
    def queue(self) -> str:
        """The queue that it is in."""
        return self.place.removeprefix(SPOOL + "/").partition("/")[0]


class Spool:
    """Does with queue files what Postfix's daemons do."""

    def __init__(self, tree: Tree, clock: Clock) -> None:
        """Begin with empty queues."""
        self._tree = tree
        self._clock = clock
        self._accepted = 0
        for queue in QUEUES:
            tree.make(f"{SPOOL}/{queue}", 0o700)
        settings = (f"queue_directory = {SPOOL}", "mail_owner = postfix", "maximal_queue_lifetime = 5d")
        tree.write("/opt/zimbra/common/conf/main.cf", "".join(f"{line}\n" for line in settings))
        tree.write("/opt/zimbra/common/conf/master.cf", _MASTER)

    def accept(self, sender: str, recipient: str, size: int, login: str = "", age: float = 0.0) -> Mail:
        """Take a message in, as cleanup does: its mode says when it is complete."""
        arrival = self._clock.wall() - age
        # Named after its inode, so it gets a name only when it exists.
        fresh = f"{SPOOL}/incoming/{os.getpid()}.{arrival:.6f}"
        descriptor = os.open(self._tree.path(fresh), os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, queue_file(sender, recipient, size, arrival, login))
            queue_id = f"{int(arrival % 1 * 1e6):05X}{os.fstat(descriptor).st_ino:X}"
            place = f"{SPOOL}/incoming/{queue_id}"
            os.rename(self._tree.path(fresh), self._tree.path(place))
            os.fchmod(descriptor, 0o700)
        finally:
            os.close(descriptor)
        self._accepted += 1
        return Mail(self._accepted, queue_id, sender, recipient, size, login, self._clock.monotonic(), place)

    def pass_on(self, mail: Mail) -> Mail:
        """Take a message back from the content filter: it gets another queue id and is active at once."""
        passed = self.accept(mail.sender, mail.recipient, mail.size, mail.login)
        passed.first = mail.queue_id
        self.activate(passed)
        self.remove(mail)
        return passed

    def activate(self, mail: Mail) -> None:
        """Move a message to where it is delivered from."""
        self._move(mail, f"{SPOOL}/active/{mail.queue_id}")

    def defer(self, mail: Mail) -> None:
        """Put a message off; its file's time is that of the next attempt."""
        place = f"{SPOOL}/deferred/{mail.queue_id[0]}/{mail.queue_id}"
        self._tree.make(os.path.dirname(place), 0o700)
        retry = self._clock.wall() + _RETRY
        os.utime(self._tree.path(mail.place), (retry, retry))
        self._move(mail, place)

    def remove(self, mail: Mail) -> None:
        """Remove a message that was delivered, or that an administrator deleted."""
        os.unlink(self._tree.path(mail.place))

    def _move(self, mail: Mail, place: str) -> None:
        os.rename(self._tree.path(mail.place), self._tree.path(place))
        mail.place = place


def queue_file(sender: str, recipient: str, size: int, arrival: float, login: str) -> bytes:
    """Return the content of a queue file; ``size`` is what its envelope says, the text is short."""
    seconds, micros = int(arrival), int(arrival % 1 * 1e6)
    parts = [
        _record("C", f"{size:15d} {650:15d} {1:15d} {0:15d} {size:15d} {0:15d}"),
        _record("T", f"{seconds} {micros}"),
        _record("A", f"create_time={seconds}"),
        _record("A", "rewrite_context=local"),
        _record("S", sender),
        _record("A", "log_client_name=unknown"),
    ]
    if login:
        parts += [_record("A", "sasl_method=PLAIN"), _record("A", f"sasl_username={login}")]
    parts += [_record("O", recipient), _record("R", recipient), _record("M", "")]
    parts += [_record("N", line) for line in ("Subject: a message of the demo", "", "Nothing to read here.")]
    parts += [_record("X", ""), _record("E", "")]
    return b"".join(parts)


def _record(kind: str, text: str) -> bytes:
    data = text.encode()
    length, head = len(data), kind.encode()
    while length >= 0x80:
        head += bytes([length & 0x7F | 0x80])
        length >>= 7
    return head + bytes([length]) + data
