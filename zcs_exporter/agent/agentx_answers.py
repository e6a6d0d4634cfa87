"""What we answer to the requests that snmpd passes on; nothing of ours can be written."""

from collections.abc import Sequence

from zcs_exporter.agent.agentx_pdu import (
    CommitSet,
    ErrorStatus,
    Get,
    GetBulk,
    GetNext,
    Ping,
    Response,
    SearchRange,
    TestSet,
    UndoSet,
    ValueType,
    Variable,
)
from zcs_exporter.agent.view import MibView
from zcs_exporter.snmp.smi import Oid, Syntax, VarBind

MOST_VARIABLES = 1000
"""In the answer to one GetBulk, which RFC 3416 lets us cut; whoever wants more asks again."""

MOST_RANGES = 2000
"""In one request: more than any manager asks for, and few enough that nobody's request holds us for long."""

_TYPES = dict.fromkeys(Syntax, ValueType.INTEGER) | {
    Syntax.UNSIGNED: ValueType.GAUGE32,
    Syntax.GAUGE: ValueType.GAUGE32,
    Syntax.COUNTER: ValueType.COUNTER64,
    Syntax.TEXT: ValueType.OCTET_STRING,
    Syntax.TIME: ValueType.OCTET_STRING,
}


Request = Get | GetNext | GetBulk | TestSet | CommitSet | UndoSet | Ping
"""What a master can ask."""


def answer(request: Request, view: MibView) -> Response:
    """Return the answer to a request of the master's."""
    match request:
        case Get(ranges) | GetNext(ranges) | GetBulk(ranges=ranges) if len(ranges) > MOST_RANGES:
            return Response(error=ErrorStatus.GEN_ERR, index=1)
        case GetNext(ranges):
            return Response(tuple(_next(view, each) for each in ranges))
        case Get(ranges):
            return Response(tuple(_exact(view, each.start) for each in ranges))
        case GetBulk(non_repeaters, max_repetitions, ranges):
            first = [_next(view, each) for each in ranges[:non_repeaters]]
            return Response((*first, *_repeat(view, ranges[non_repeaters:], max_repetitions)))
        case TestSet(variables):
            return Response(error=ErrorStatus.NOT_WRITABLE, index=min(1, len(variables)))
        case CommitSet():
            return Response(error=ErrorStatus.COMMIT_FAILED)
        case UndoSet() | Ping():
            return Response()


def _exact(view: MibView, name: Oid) -> Variable:
    found = view.get(name)
    if found is not None:
        return _variable(found)
    missing = ValueType.NO_SUCH_INSTANCE if view.has_object(name) else ValueType.NO_SUCH_OBJECT
    return Variable(missing, name)


def _next(view: MibView, where: SearchRange) -> Variable:
    start, include, end = where
    found = (view.get(start) if include else None) or view.after(start)
    if found is None or (end and found.oid >= end):
        return Variable(ValueType.END_OF_MIB_VIEW, start)
    return _variable(found)


def _repeat(view: MibView, ranges: Sequence[SearchRange], times: int) -> list[Variable]:
    found: list[Variable] = []
    for _ in range(min(times, MOST_VARIABLES // max(1, len(ranges)) or 1)):
        row = [_next(view, each) for each in ranges]
        found += row
        if all(each.type is ValueType.END_OF_MIB_VIEW for each in row):
            break
        ranges = [SearchRange(each.name, end=where.end) for each, where in zip(row, ranges, strict=True)]
    return found


def _variable(found: VarBind) -> Variable:
    return Variable(_TYPES[found.syntax], found.oid, found.value)
