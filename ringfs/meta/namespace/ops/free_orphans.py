"""FreeOrphans: a session keeps some inodes alive no longer. Those that it does not keep are passed over; nothing is refused."""

from ringfs.meta.namespace.removal import free_orphan
from ringfs.meta.namespace.system import FreeOrphans
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.common import Done


def apply(work: Work, op: FreeOrphans) -> Done:
    """See the module."""
    for number in op.inodes:
        free_orphan(work, op.session, number)
    return Done()
