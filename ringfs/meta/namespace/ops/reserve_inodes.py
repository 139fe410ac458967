"""ReserveInodes: set numbers apart for inodes that the session will make, so that it can name them before it asks.

What was set apart before and not used is given up: inode numbers are never reused, and there are enough. Nothing is refused.
"""

from ringfs.meta.namespace import keys
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.namespace import InodesReserved, ReserveInodes
from ringfs.wire.packing import pack


def apply(work: Work, op: ReserveInodes) -> InodesReserved:
    """See the module."""
    counters = work.counters
    first = counters.next_inode
    counters.next_inode = stop = first + op.count
    work.rows.put(keys.reserved(work.session), pack((first, stop)))
    return InodesReserved(first, stop)
