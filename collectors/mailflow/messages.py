"""Which of a message's passes through Postfix is its first, in a small table by queue id.

A message that goes through the content filter comes back under another id, up to twice more. Where the SMTP
server that it comes back to has a name of its own in syslog, its arrivals are never looked at. Where the name
is the plain one, an arrival from this host or from a filter's address stays undecided until one of these:
amavis or the delivery to the filter names its id as what came back; the message goes to the filter itself;
or ``UNDECIDED_SECONDS`` of log time pass. A process of Postfix serves one port, so what is known of one of
its messages holds for all.

The table has what is on its way: an entry begins with an arrival or with the queue manager's first word, and
ends when the message is removed. Of ``MAX_MESSAGES`` the one that nothing was heard of for longest is forgotten;
its further deliveries count without bytes and without its sender.
"""

import json
from collections.abc import Callable, Iterator, Mapping

from collectors.mailflow.lines import Arrival, Queued

UNDECIDED_SECONDS = 120
MAX_MESSAGES = 20_000
_MAX_PROCESSES = 256
_MAX_RETURNED = 256
_MAX_FILTERS = 16

# What is known of a message.
ARRIVED = 1
"""It comes from outside, and is not counted yet: the queue manager has not taken it on."""
UNDECIDED = 2
"""It may come from outside or from the content filter."""
OURS = 4
"""It came from outside and was counted."""
FILTERED = 8
"""amavis handed it back."""
NULL = 16
"""It is a notification: nobody is told if it cannot be delivered."""
QUEUED = 32
"""The queue manager took it on."""
RETRIED = 64
"""The queue manager took it on again."""
DEFERRED = 128
"""An attempt to deliver it was put off."""
REMOVED = 256
"""It is gone, but not decided."""

_LOOPBACK = (b"127.0.0.1", b"::1")
_LOOPBACK_HOSTS = tuple(b"[" + address + b"]" for address in _LOOPBACK)


class Message:
    """One queue id; ``sender``, ``host``, ``pid`` and ``recipients`` matter only until it is counted."""

    sender = b""
    size = 0
    recipients = 0

    def __init__(self, flags: int, at: int = 0, host: bytes = b"", account: bytes = b"", pid: bytes = b"") -> None:
        self.flags = flags
        self.at = at
        self.host = host
        self.account = account
        self.pid = pid

    def save(self) -> str:
        """Return it as one small row."""
        texts = (self.account, self.host, self.sender, self.pid)
        fields = [self.flags, self.size, self.at, self.recipients, *(text.decode("latin-1") for text in texts)]
        while len(fields) > 1 and not fields[-1]:
            fields.pop()
        return json.dumps(fields, separators=(",", ":"))

    @classmethod
    def load(cls, saved: str) -> "Message":
        """Return what ``save`` gave."""
        found = json.loads(saved)
        flags, size, at, recipients, *texts = found + [0] * (4 - len(found))
        account, host, sender, pid = (text.encode("latin-1") for text in texts + [""] * (4 - len(texts)))
        message = cls(flags, at, host, account, pid)
        message.size, message.recipients, message.sender = size, recipients, sender
        return message


class Messages:
    """The table.

    Attributes:
        get: Returns what is known of a message by its queue id; None for nothing.
        next_due: When ``settle`` is to be called; None while nobody waits for it.
    """

    def __init__(self, received: Callable[[int, Message], None]) -> None:
        """Call ``received`` with each message that is known to have come from outside."""
        self._received = received
        self._table: dict[bytes, Message] = {}
        self.get = self._table.get
        self._undecided: dict[bytes, None] = {}
        # Ids that came back from the filter before the queue manager named them: whether amavis had it, and its login.
        self._returned: dict[bytes, tuple[bool, bytes]] = {}
        # By plain SMTP server process: whether it takes what comes back from the filter.
        self._processes: dict[bytes, bool] = {}
        self._filters: dict[bytes, None] = {}
        self._changed: set[bytes] = set()
        self._saved: set[bytes] = set()
        self._changed_small = False
        self.next_due: int | None = None
        self._plain_returns = True

    def set_plain_returns(self, possible: bool) -> None:
        """Take whether what comes back may come to an SMTP server with the plain name; it is so until told."""
        self._plain_returns = possible
        if not possible:
            for queue_id in list(self._undecided):
                self._take(queue_id, self._table[queue_id])

    def __len__(self) -> int:
        return len(self._table)

    def arrive(self, queue_id: bytes, at: int, host: bytes, account: bytes) -> None:
        """Note a message that surely comes from outside."""
        self._begin(queue_id, Message(ARRIVED, at, host, account))

    def requeue(self, former: bytes, queue_id: bytes) -> None:
        """Note that a message goes through Postfix again under another id; counted is what was not counted yet."""
        message = self._table.pop(former, None)
        self._begin(queue_id, message or Message(0))
        self._changed.add(former)
        if former in self._undecided:
            del self._undecided[former]
            self._undecided[queue_id] = None

    def arrive_plain(self, at: int, arrival: Arrival, pid: bytes) -> None:
        """Note a message that a process of the SMTP server with the plain name got."""
        queue_id, host, address, account, reinjected = arrival
        if account or not self._plain_returns or (address not in _LOOPBACK and address not in self._filters):
            if reinjected:
                self.forget(queue_id)
                return
            if self._processes.get(pid) is not False:
                self._learn(pid, False)
            self._begin(queue_id, Message(ARRIVED, at, host, account))
            return
        if reinjected:
            self._learn(pid, True)
        role = self._processes.get(pid)
        if role is None:
            self._begin(queue_id, Message(UNDECIDED, at, host, b"", pid))
            self._undecided[queue_id] = None
            due = at + UNDECIDED_SECONDS
            self.next_due = due if self.next_due is None else min(due, self.next_due)
        else:
            self._begin(queue_id, Message(0 if role else ARRIVED, at, host, b"", pid))

    def queue(self, queued: Queued, at: int, null: bool) -> None:
        """Note that the queue manager took a message on; ``null`` as in the flag."""
        queue_id, sender, size, recipients = queued
        message = self._table.get(queue_id)
        if message is None:
            message = self._table[queue_id] = Message(0)
            if len(self._table) > MAX_MESSAGES:
                self._evict()
            if queue_id in self._returned:
                amavis, message.account = self._returned.pop(queue_id)
                message.flags = FILTERED * amavis
        elif message.flags & QUEUED:
            message.flags |= RETRIED
            self._table[queue_id] = self._table.pop(queue_id)
        message.size = size
        flags = message.flags = (message.flags & ~NULL) | QUEUED | (NULL if null else 0)
        self._changed.add(queue_id)
        if flags & (ARRIVED | UNDECIDED):
            message.sender, message.recipients = sender, recipients
            if flags & ARRIVED:
                self._count(at, message)

    def came_back(self, queue_id: bytes, amavis: bool, account: bytes) -> None:
        """Note that a message is one that the content filter handed back; ``account`` is whose it is, if known."""
        message = self._table.get(queue_id)
        if message is None:
            self._returned[queue_id] = (amavis, account)
            self._changed.add(queue_id)
            if len(self._returned) > _MAX_RETURNED:
                first = next(iter(self._returned))
                del self._returned[first]
                self._note_gone(first)
        elif message.flags & UNDECIDED:
            self._settle(queue_id, message, ours=False, amavis=amavis, account=account)
            self._learn(message.pid, True)
        elif message.flags & (ARRIVED | OURS):
            # Its process was taken for one that clients speak to; the next message will be known.
            self._learn(message.pid, True)
        else:
            # Amavis tells it, and the delivery to it tells it again.
            flags = message.flags | FILTERED * amavis
            if flags != message.flags or (account and not message.account):
                message.flags = flags
                message.account = message.account or account
                self._changed.add(queue_id)

    def goes_to_filter(self, queue_id: bytes, at: int, message: Message) -> None:
        """Note that a message goes to the content filter, as one does that comes from outside."""
        if message.flags & UNDECIDED and message.flags & QUEUED:
            self._settle(queue_id, message, ours=True, at=at)
            self._learn(message.pid, False)

    def add_filter(self, host: bytes) -> None:
        """Note where a content filter is, by which what comes back is known; ``host`` is its name and address."""
        if host.endswith(_LOOPBACK_HOSTS):
            return
        address = host[host.rfind(b"[") + 1 : host.rfind(b"]")]
        if address not in self._filters:
            self._filters[address] = None
            if len(self._filters) > _MAX_FILTERS:
                del self._filters[next(iter(self._filters))]
            self._changed_small = True

    def deferred(self, queue_id: bytes, message: Message) -> None:
        """Note that an attempt was put off."""
        if not message.flags & DEFERRED:
            message.flags |= DEFERRED
            self._changed.add(queue_id)

    def remove(self, queue_id: bytes) -> None:
        """Note that Postfix is done with a message."""
        message = self._table.pop(queue_id, None)
        if message is None:
            return
        self._note_gone(queue_id)
        if message.flags & UNDECIDED:
            if message.flags & QUEUED:
                message.flags |= REMOVED
                self._table[queue_id] = message
                self._changed.add(queue_id)
            else:
                del self._undecided[queue_id]
                self._set_due()

    def forget(self, queue_id: bytes) -> None:
        """Drop an id; what was known of it is of another message."""
        if self._table.pop(queue_id, None) is not None:
            self._note_gone(queue_id)
            if queue_id in self._undecided:
                del self._undecided[queue_id]
                self._set_due()

    def settle(self, at: int) -> None:
        """Decide on messages that nobody has claimed by ``at``."""
        for queue_id in [each for each in self._undecided if at >= self._table[each].at + UNDECIDED_SECONDS]:
            if queue_id in self._undecided:  # another of the same process may have decided
                message = self._table[queue_id]
                self._take(queue_id, message)
                self._learn(message.pid, False)

    def _begin(self, queue_id: bytes, message: Message) -> None:
        former = self._table.pop(queue_id, None)
        if former is not None and former.flags & UNDECIDED:
            self._decide_late(queue_id, former)
        self._returned.pop(queue_id, None)
        self._table[queue_id] = message
        self._changed.add(queue_id)
        if len(self._table) > MAX_MESSAGES:
            self._evict()

    def _decide_late(self, queue_id: bytes, message: Message) -> None:
        """Count a message that was forgotten undecided."""
        self._undecided.pop(queue_id, None)
        self._set_due()
        if message.flags & QUEUED:
            self._count(message.at, message)

    def _settle(
        self, queue_id: bytes, message: Message, *, ours: bool, amavis: bool = False, account: bytes = b"", at: int = 0
    ) -> None:
        self._undecide(queue_id)
        if ours:
            self._count(at, message)
        else:
            message.flags = (message.flags & ~UNDECIDED) | FILTERED * amavis
            message.account = account
            message.host = message.sender = b""
        if message.flags & REMOVED:
            del self._table[queue_id]

    def _take(self, queue_id: bytes, message: Message) -> None:
        """Take a message for one from outside."""
        if message.flags & QUEUED:
            self._settle(queue_id, message, ours=True, at=message.at)
        else:
            # It was begun and never handed over, or it is on hold, or it is still being written.
            message.flags = ARRIVED
            self._undecide(queue_id)

    def _undecide(self, queue_id: bytes) -> None:
        del self._undecided[queue_id]
        self._changed.add(queue_id)
        self._set_due()

    def _count(self, at: int, message: Message) -> None:
        message.flags = (message.flags & ~(ARRIVED | UNDECIDED)) | OURS
        self._received(at, message)
        message.host = message.sender = b""
        message.recipients = message.at = 0

    def _learn(self, pid: bytes, returns: bool) -> None:
        """Note what a process is for, and decide on its other messages by it."""
        if not pid or self._processes.get(pid) is returns:
            return
        self._processes.pop(pid, None)
        self._processes[pid] = returns
        if len(self._processes) > _MAX_PROCESSES:
            del self._processes[next(iter(self._processes))]
        self._changed_small = True
        for queue_id in [each for each in self._undecided if self._table[each].pid == pid]:
            message = self._table[queue_id]
            if returns:
                self._settle(queue_id, message, ours=False)
            else:
                self._take(queue_id, message)

    def _set_due(self) -> None:
        first = min((self._table[each].at for each in self._undecided), default=None)
        self.next_due = None if first is None else first + UNDECIDED_SECONDS

    def _evict(self) -> None:
        queue_id = next(iter(self._table))
        message = self._table.pop(queue_id)
        self._note_gone(queue_id)
        if message.flags & UNDECIDED:
            self._decide_late(queue_id, message)

    def _note_gone(self, queue_id: bytes) -> None:
        """Note that an id is forgotten; most come and go in between two looks, and nobody needs to hear of these."""
        if queue_id in self._saved:
            self._changed.add(queue_id)
        else:
            self._changed.discard(queue_id)

    def changes(self) -> Iterator[tuple[str, str | None]]:
        """Yield the rows that changed since the last call."""
        for queue_id in self._changed:
            message = self._table.get(queue_id)
            returned = self._returned.get(queue_id)
            key = f"message:{queue_id.decode('ascii')}"
            if message is not None:
                self._saved.add(queue_id)
                yield key, message.save()
            elif returned is not None:
                self._saved.add(queue_id)
                yield key, json.dumps([returned[0], returned[1].decode("latin-1")])
            elif queue_id in self._saved:
                self._saved.discard(queue_id)
                yield key, None
        self._changed.clear()
        if self._changed_small:
            self._changed_small = False
            processes = {pid.decode("ascii"): returns for pid, returns in self._processes.items()}
            filters = [address.decode("latin-1") for address in self._filters]
            yield "passes", json.dumps([processes, filters], separators=(",", ":"))

    def restore(self, saved: Mapping[str, str]) -> None:
        """Take over the rows of an earlier process."""
        for key, row in saved.items():
            kind, _, name = key.partition(":")
            if kind == "message":
                queue_id = name.encode("ascii")
                self._saved.add(queue_id)
                found = json.loads(row)
                if isinstance(found[0], bool):
                    self._returned[queue_id] = (found[0], found[1].encode("latin-1"))
                    continue
                message = self._table[queue_id] = Message.load(row)
                if message.flags & UNDECIDED:
                    self._undecided[queue_id] = None
        if "passes" in saved:
            processes, filters = json.loads(saved["passes"])
            self._processes = {pid.encode("ascii"): returns for pid, returns in processes.items()}
            self._filters = {address.encode("latin-1"): None for address in filters}
        self._set_due()
