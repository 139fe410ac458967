"""Files that lost their last name a moment ago and are open nowhere here: somebody may have looked them up just before.

The kernel opens what it looked up; if the name was replaced in between, the old file is as good an answer, as on a local file
system, where both are one step. (ESTALE makes it look the name up again, but only once.) Kept for a moment are files whose bytes
are all here or in objects that are known. Then what is dirty is forgotten, instead of being committed for nobody.
"""

from collections.abc import Callable

import trio

from ringfs.client.inodes import Inode, InodeTable
from ringfs.client.writer import Writer

#: How long a file is kept at least; how many at most, and how many dirty bytes of each.
KEPT_NS = 10**9
_KEPT_MAX = 1024
_DIRTY_BYTES_MAX = 64 * 1024


class RecentlyRemoved:
    """See the module."""

    def __init__(self, inodes: InodeTable, writer: Writer, monotonic_ns: Callable[[], int]) -> None:
        self._inodes = inodes
        self._writer = writer
        self._monotonic_ns = monotonic_ns
        #: Inode → when its last name went, in that order.
        self._kept: dict[Inode, int] = {}

    def add(self, inode: Inode) -> None:
        """Its last name went, and it is not open."""
        self.forget_old()
        self._kept[inode] = self._monotonic_ns()
        if inode.dirty.live.size_bytes > _DIRTY_BYTES_MAX:
            self._forget(inode)
        elif len(self._kept) > _KEPT_MAX:
            self._forget(next(iter(self._kept)))

    def may_be_opened(self, inode: Inode) -> bool:
        """Whether an inode without name, open nowhere here, can be opened all the same."""
        size_bytes = inode.attributes.size_bytes
        return inode in self._kept and not (size_bytes and inode.extents.missing_chunks(0, size_bytes))

    async def run(self) -> None:
        """Let go of what has been kept long enough, for ever."""
        while True:
            await trio.sleep(KEPT_NS / 1e9)
            self.forget_old()

    def forget_old(self) -> None:
        """Let go of what has been kept long enough."""
        before_ns = self._monotonic_ns() - KEPT_NS
        while self._kept:
            inode, since_ns = next(iter(self._kept.items()))
            if since_ns > before_ns:
                return
            self._forget(inode)

    def _forget(self, inode: Inode) -> None:
        del self._kept[inode]
        if inode.open_count:
            return
        if inode.delegated:
            # Nobody else has it open either.
            self._writer.discard(inode, 0)
            inode.times.clear()
        self._inodes.drop(inode.number)
