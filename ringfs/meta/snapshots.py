"""Snapshots for the checker: the state at one journal position, read page by page while the service goes on.

A snapshot holds back the reuse of disk space in the store, so there are few, they belong to a connection, and they grow old.
"""

from collections.abc import Callable

from ringfs.base.clock import Clock
from ringfs.base.errors import Code, Refused
from ringfs.base.kv.store import Snapshot, StoreFull
from ringfs.base.kv.view import ReadView
from ringfs.base.limits import KIB
from ringfs.meta.leader import Leader
from ringfs.wire.messages.cluster import CloseSnapshot, Pair, ReadSnapshot, SnapshotOpened, SnapshotPage
from ringfs.wire.messages.common import Done
from ringfs.wire.rpc import Peer, Request

SNAPSHOTS_MAX = 4
SNAPSHOT_LIFE_NS = 600 * 10**9
#: A page takes the event loop about a millisecond: less than messages/cluster.py allows.
PAGE_PAIRS_MAX = 1024
PAGE_BYTES_MAX = 256 * KIB

#: Past every key of the namespace (namespace/keys.py: families are ASCII letters).
_END = b"\xff"


class _Open:
    """A snapshot somebody reads."""

    __slots__ = ("end_ns", "peer", "view")

    def __init__(self, view: Snapshot, peer: Peer, end_ns: int) -> None:
        self.view = view
        self.peer = peer
        #: When it is closed, whoever reads it.
        self.end_ns = end_ns


class SnapshotService:
    """OpenSnapshot, ReadSnapshot, CloseSnapshot."""

    def __init__(self, leader: Leader, clock: Clock) -> None:
        self._leader = leader
        self._clock = clock
        self._open: dict[int, _Open] = {}
        self._opened_count = 0
        #: Snapshots that are being made; with the open ones at most SNAPSHOTS_MAX.
        self._making_count = 0

    def open(self, request: Request) -> None:
        """OpenSnapshot: SnapshotOpened, after a checkpoint."""
        if len(self._open) + self._making_count >= SNAPSHOTS_MAX:
            raise Refused(Code.OVERLOADED, f"{SNAPSHOTS_MAX} snapshots are open")
        if request.peer.start_soon(self._make, request):
            self._making_count += 1

    async def _make(self, request: Request) -> None:
        try:
            position, view = await self._leader.snapshot()
        except StoreFull as error:
            request.refuse(Code.NO_SPACE, f"no checkpoint can be made: {error}")
            return
        finally:
            self._making_count -= 1
        self._opened_count += 1
        self._open[self._opened_count] = _Open(view, request.peer, self._clock.monotonic_ns() + SNAPSHOT_LIFE_NS)
        request.reply(SnapshotOpened(self._opened_count, position))

    def read(self, request: Request) -> None:
        """ReadSnapshot: SnapshotPage."""
        message: ReadSnapshot = request.message
        view = self._of(request, message.snapshot).view
        request.reply(_page(view, message.after, min(message.limit, PAGE_PAIRS_MAX)))

    def close(self, request: Request) -> None:
        """CloseSnapshot: Done."""
        message: CloseSnapshot = request.message
        self._of(request, message.snapshot)
        self._close(message.snapshot)
        request.reply(Done())

    def connection_lost(self, peer: Peer) -> None:
        """Close what the peer had open."""
        self._close_where(lambda each: each.peer is peer)

    def close_old(self, now_ns: int) -> None:
        """Close what has been open for SNAPSHOT_LIFE_NS."""
        self._close_where(lambda each: now_ns >= each.end_ns)

    def close_all(self) -> None:
        """The server stops."""
        self._close_where(lambda _each: True)

    def _of(self, request: Request, number: int) -> _Open:
        found = self._open.get(number)
        if found is None or found.peer is not request.peer:
            raise Refused(Code.INVALID, f"snapshot {number} is not open on this connection")
        return found

    def _close_where(self, condition: Callable[[_Open], bool]) -> None:
        for number in [number for number, each in self._open.items() if condition(each)]:
            self._close(number)

    def _close(self, number: int) -> None:
        self._open.pop(number).view.close()


def _page(view: ReadView, after: bytes, limit: int) -> SnapshotPage:
    """Up to limit pairs after a key, at most about PAGE_BYTES_MAX."""
    pairs: list[Pair] = []
    size_bytes = 0
    for key, value in view.scan(after + b"\0", _END):
        size_bytes += len(key) + len(value)
        if pairs and (len(pairs) >= limit or size_bytes > PAGE_BYTES_MAX):
            return SnapshotPage(pairs, True)
        pairs.append(Pair(key, value))
    return SnapshotPage(pairs, False)
