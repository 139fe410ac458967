"""ReleaseDoomed: the leader lets go of some extents of doomed chunks (doomed.py). Nothing is refused."""

from ringfs.meta.namespace.doomed import release_some
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.content import DoomedReleased, ReleaseDoomed


def apply(work: Work, op: ReleaseDoomed) -> DoomedReleased:
    """See the module."""
    return DoomedReleased(release_some(work, op.extents_max))
