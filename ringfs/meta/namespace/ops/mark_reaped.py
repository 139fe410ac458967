"""MarkReaped: a data node has deleted what was condemned up to a sequence number. What all nodes have passed is forgotten.

| refused | when |
| --- | --- |
| NOT_FOUND | there is no such node |
| INVALID | the number was never given to a verdict |
"""

from ringfs.base.errors import Code, Refused
from ringfs.meta.namespace import keys
from ringfs.meta.namespace.condemned import forget_passed
from ringfs.meta.namespace.facts import reaped_cursor
from ringfs.meta.namespace.system import MarkReaped
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.common import Done
from ringfs.wire.packing import pack


def apply(work: Work, op: MarkReaped) -> Done:
    """See the module."""
    if work.rows.get(keys.node(op.node)) is None:
        raise Refused(Code.NOT_FOUND, f"node {op.node}")
    if op.through >= work.counters.next_condemned:
        raise Refused(Code.INVALID, f"no verdict has the number {op.through}")
    if op.through > reaped_cursor(work.rows, op.node):
        work.rows.put(keys.reaped(op.node), pack(op.through))
        forget_passed(work)
    return Done()
