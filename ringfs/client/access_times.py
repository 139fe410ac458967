"""Access times: what reading does to atime, as mount(8) names it: relatime, strictatime, noatime.

Reads that reach this process count, and listings; what the kernel answers from its page cache moves nothing. Times are gathered
here and told a moment later, many files in one transaction, which changes nothing else of them: another mount sees it when it next
asks. So a crash loses the last seconds' worth, and no more than that.
"""

from dataclasses import replace
from enum import Enum

import structlog
import trio

from ringfs.base.clock import Clock
from ringfs.base.errors import Refused
from ringfs.base.limits import ACCESSES_MAX
from ringfs.client.inodes import Inode
from ringfs.client.metadata import MetadataLink
from ringfs.wire.messages.files import FLAG_NOATIME, NoteAccesses

log = structlog.get_logger("ringfs.client")

#: How long times gather; relatime moves an atime at least so often.
_INTERVAL_S = 5.0
_DAY_NS = 24 * 3600 * 10**9


class Policy(Enum):
    """When reading moves atime: if it is not after mtime and ctime, or a day old; always; never."""

    RELATIME = "relatime"
    STRICTATIME = "strictatime"
    NOATIME = "noatime"


class AccessTimes:
    """See the module. `run` must be running for times to be told."""

    def __init__(self, link: MetadataLink, clock: Clock, policy: Policy) -> None:
        self._link = link
        self._clock = clock
        self._policy = policy
        #: Whether a read need not be noted if the inode's attributes are those of the last one.
        self.is_lazy = policy is not Policy.STRICTATIME
        #: Inodes whose accessed_ns is to be told.
        self._untold: dict[Inode, None] = {}
        self._is_full = trio.Event()

    def note(self, inode: Inode) -> None:
        """It is being read."""
        if self._policy is Policy.NOATIME or inode.attributes.flags & FLAG_NOATIME:
            return
        now_ns = self._clock.wall_ns()
        if self._policy is Policy.RELATIME and not _is_due(inode, now_ns):
            return
        inode.accessed_ns = now_ns
        self._untold[inode] = None
        if len(self._untold) >= ACCESSES_MAX:
            self._is_full.set()

    async def run(self) -> None:
        """Tell what has gathered, for ever."""
        while True:
            with trio.move_on_after(_INTERVAL_S):
                await self._is_full.wait()
            self._is_full = trio.Event()
            await self.flush()

    async def flush(self) -> None:
        """Tell it now."""
        while self._untold:
            told = [self._untold.popitem()[0] for _ in range(min(len(self._untold), ACCESSES_MAX))]
            # Set by utimensat meanwhile: that one counts.
            accesses = [(inode, inode.accessed_ns) for inode in told if inode.accessed_ns]
            try:
                await self._link.mutate(NoteAccesses([inode.number for inode, _ in accesses], [at_ns for _, at_ns in accesses]))
            except Refused as refused:
                log.info("access times were not taken", reason=str(refused))
                return
            for inode, at_ns in accesses:
                _told(inode, at_ns)


def _told(inode: Inode, at_ns: int) -> None:
    """The service has it, as it would say if it was asked for the attributes."""
    if inode.accessed_ns == at_ns:
        inode.accessed_ns = 0
        inode.attributes = replace(inode.attributes, atime_ns=max(inode.attributes.atime_ns, at_ns))


def _is_due(inode: Inode, now_ns: int) -> bool:
    """fs/inode.c, relatime_need_update."""
    known = inode.merged()
    return known.atime_ns <= max(known.mtime_ns, known.ctime_ns) or now_ns - known.atime_ns >= _DAY_NS
