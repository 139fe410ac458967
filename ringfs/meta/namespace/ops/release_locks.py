"""ReleaseLocks: owners of the session give back all they have in a file, which need not exist any more. Nothing is refused."""

from ringfs.meta.namespace import locks
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.common import Done
from ringfs.wire.messages.locks import ReleaseLocks


def apply(work: Work, op: ReleaseLocks) -> Done:
    """See the module."""
    for each in op.owners:
        locks.put_ranges(work.rows, op.inode, each.space, work.session, each.owner, [])
    return Done()
