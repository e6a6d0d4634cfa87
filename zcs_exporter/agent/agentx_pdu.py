"""The messages of AgentX, by which snmpd shares its port with other programs: those that a read-only session has.

Source: RFC 2741, section 6.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from zcs_exporter.snmp.smi import Oid


class CloseReason(IntEnum):
    """Why a session ends."""

    OTHER = 1
    PARSE_ERROR = 2
    PROTOCOL_ERROR = 3
    TIMEOUTS = 4
    SHUTDOWN = 5
    BY_MANAGER = 6


class ErrorStatus(IntEnum):
    """What can be wrong with a request: the errors of SNMP that we answer with, and those of AgentX."""

    NO_ERROR = 0
    GEN_ERR = 5
    COMMIT_FAILED = 14
    NOT_WRITABLE = 17
    OPEN_FAILED = 256
    NOT_OPEN = 257
    INDEX_WRONG_TYPE = 258
    INDEX_ALREADY_ALLOCATED = 259
    INDEX_NONE_AVAILABLE = 260
    INDEX_NOT_ALLOCATED = 261
    UNSUPPORTED_CONTEXT = 262
    DUPLICATE_REGISTRATION = 263
    UNKNOWN_REGISTRATION = 264
    UNKNOWN_AGENT_CAPS = 265
    PARSE_ERROR = 266
    REQUEST_DENIED = 267
    PROCESSING_ERROR = 268


class ValueType(IntEnum):
    """The types of values, and the three ways to have none."""

    INTEGER = 2
    OCTET_STRING = 4
    NULL = 5
    OBJECT_IDENTIFIER = 6
    IP_ADDRESS = 64
    COUNTER32 = 65
    GAUGE32 = 66
    TIME_TICKS = 67
    OPAQUE = 68
    COUNTER64 = 70
    NO_SUCH_OBJECT = 128
    NO_SUCH_INSTANCE = 129
    END_OF_MIB_VIEW = 130


class Variable(NamedTuple):
    """A name and its value: a number, octets, an object identifier, or None for the types that have no value."""

    type: ValueType
    name: Oid
    value: int | bytes | Oid | None = None


class SearchRange(NamedTuple):
    """Where to look.

    Attributes:
        start: The name to find, or the one to find the next of.
        include: Whether ``start`` itself may be the next.
        end: The first name that may not; empty where all may.
    """

    start: Oid
    include: bool = False
    end: Oid = ()


@dataclass(frozen=True, slots=True)
class Open:
    """Begins a session.

    Attributes:
        identity: An object identifier for the program that asks; empty for none.
        timeout: Seconds the master shall wait for answers; 0 for as long as it likes.
    """

    identity: Oid
    description: bytes
    timeout: int = 0


@dataclass(frozen=True, slots=True)
class Close:
    """Ends a session, and with it all that was registered."""

    reason: CloseReason


@dataclass(frozen=True, slots=True)
class Register:
    """Asks for all requests below a subtree.

    Attributes:
        timeout: As in ``Open``.
        priority: Among those who ask for the same subtree; the lowest number gets it.
        part: Which part of ``subtree``, from 1, stands for a range of numbers; 0 for none.
        last: The last number of that range.
    """

    subtree: Oid
    timeout: int = 0
    priority: int = 127
    part: int = 0
    last: int = 0


@dataclass(frozen=True, slots=True)
class Get:
    """Asks for the values of the names at which ranges start."""

    ranges: tuple[SearchRange, ...]


@dataclass(frozen=True, slots=True)
class GetNext:
    """Asks for the first value in each range."""

    ranges: tuple[SearchRange, ...]


@dataclass(frozen=True, slots=True)
class GetBulk:
    """Asks for the first value in some ranges, and for several of each of the others."""

    non_repeaters: int
    max_repetitions: int
    ranges: tuple[SearchRange, ...]


@dataclass(frozen=True, slots=True)
class TestSet:
    """Asks whether values could be written."""

    __test__ = False  # not one of ours, whatever its name looks like to pytest
    variables: tuple[Variable, ...]


@dataclass(frozen=True, slots=True)
class CommitSet:
    """Has the values of the ``TestSet`` before it written."""


@dataclass(frozen=True, slots=True)
class UndoSet:
    """Has undone what a ``CommitSet`` did."""


@dataclass(frozen=True, slots=True)
class CleanupSet:
    """Ends what a ``TestSet`` began; it alone is not answered."""


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks whether the other end is there."""


@dataclass(frozen=True, slots=True)
class Response:
    """Answers any of the others.

    Attributes:
        error: One of ``ErrorStatus``, or another error of SNMP.
        index: Number of the variable that ``error`` is about, from 1; 0 for none.
        uptime: The master's, in hundredths of a second; 0 in answers of ours.
    """

    variables: tuple[Variable, ...] = ()
    error: int = ErrorStatus.NO_ERROR
    index: int = 0
    uptime: int = 0


Pdu = Open | Close | Register | Get | GetNext | GetBulk | TestSet | CommitSet | UndoSet | CleanupSet | Ping | Response


@dataclass(frozen=True, slots=True)
class Packet:
    """One message with its header.

    Attributes:
        session: Given by the master when it answers ``Open``.
        transaction: Names the SNMP request behind it.
        number: An answer has that of its question.
        context: Whose objects are meant; empty for the default, the only one that we serve.
        little_endian: Whether its numbers are written with their lowest octet first.
    """

    pdu: Pdu
    session: int = 0
    transaction: int = 0
    number: int = 0
    context: bytes = b""
    little_endian: bool = False

    def answer(self, response: Response) -> "Packet":
        """Return the message that answers this one, in its byte order."""
        return Packet(response, self.session, self.transaction, self.number, little_endian=self.little_endian)
