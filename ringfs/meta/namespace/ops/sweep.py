"""Sweep: a node holds these objects for long; those that metadata does not know are condemned now. Nothing is refused.

Nobody says how much of such an object is where: its verdict has the size 0, and does not vouch for copies (condemned.py).
"""

from ringfs.meta.namespace import condemned
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.heal import Sweep, SweepDone


def apply(work: Work, op: Sweep) -> SweepDone:
    """See the module."""
    return SweepDone(sum(condemned.sweep(work, oid) for oid in op.objects))
