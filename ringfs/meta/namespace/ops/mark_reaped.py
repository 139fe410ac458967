"""MarkReaped: a data node has deleted what was condemned up to a sequence number. What all nodes have passed is forgotten.

| refused | when |
| --- | --- |
| NOT_FOUND | there is no such node |
| INVALID | the number was never given to a verdict |
"""

from ringfs.base.errors import Code, Refused
from ringfs.meta.namespace import keys
from ringfs.meta.namespace.condemned import forget_verdict
from ringfs.meta.namespace.facts import nodes, reaped_cursor
from ringfs.meta.namespace.system import MarkReaped
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.common import Done
from ringfs.wire.packing import pack, unpack


def apply(work: Work, op: MarkReaped) -> Done:
    """See the module."""
    if work.rows.get(keys.node(op.node)) is None:
        raise Refused(Code.NOT_FOUND, f"node {op.node}")
    if op.through >= work.counters.next_condemned:
        raise Refused(Code.INVALID, f"no verdict has the number {op.through}")
    if op.through <= reaped_cursor(work.rows, op.node):
        return Done()
    work.rows.put(keys.reaped(op.node), pack(op.through))
    passed = min(reaped_cursor(work.rows, node.node) for node in nodes(work.rows))
    for key, value in list(work.rows.scan(keys.condemned(0), keys.condemned(passed + 1))):
        oid, _, size_bytes = unpack(value)
        forget_verdict(work, keys.number_at(key, 1), oid, size_bytes)
    return Done()
