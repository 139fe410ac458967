"""Which ids a steward looks after: the range of 160-bit ids that its rank among the nodes at work gives it. Pure."""

from typing import NamedTuple

from ringfs.base.limits import HASH_BYTES
from ringfs.wire.messages.cluster import NODE_UP, STANDING_IN, STANDING_MAINTENANCE, ClusterMap

#: How many ids there are.
ALL_IDS = 1 << (8 * HASH_BYTES)


class Share(NamedTuple):
    """The ids with after < id < stop, b"" being no bound, as in ListLive."""

    after: bytes
    stop: bytes

    @property
    def bounds(self) -> tuple[int, int]:
        """The same as numbers: start ≤ id < stop."""
        return _number(self.after) + 1 if self.after else 0, _number(self.stop) if self.stop else ALL_IDS

    def has(self, oid: bytes) -> bool:
        """Whether it is an id of the share."""
        start, stop = self.bounds
        return start <= _number(oid) < stop

    def permille(self, oid: bytes) -> int:
        """How much of the share lies before an id of it, in thousandths."""
        start, stop = self.bounds
        return max(0, min(1000, (_number(oid) - start) * 1000 // max(1, stop - start)))


def share_of(cluster_map: ClusterMap, number: int) -> Share | None:
    """The node's share, or None if it has none to look after. The shares of all nodes together are all ids, each once."""
    at_work = sorted(
        node.node for node in cluster_map.nodes if node.state == NODE_UP and node.standing in (STANDING_IN, STANDING_MAINTENANCE)
    )
    if number not in at_work:
        return None
    rank, count = at_work.index(number), len(at_work)
    return share_between(rank * ALL_IDS // count, (rank + 1) * ALL_IDS // count)


def share_between(start: int, stop: int) -> Share:
    """The ids with start ≤ id < stop."""
    return Share(_id(start - 1) if start else b"", _id(stop) if stop < ALL_IDS else b"")


def before(oid: bytes) -> bytes:
    """The id before an id, as the `after` of a list that is to begin with it."""
    number = _number(oid)
    return _id(number - 1) if number else b""


def behind(oid: bytes) -> bytes:
    """The id behind an id, as the `stop` of a list that is to end with it."""
    number = _number(oid) + 1
    return _id(number) if number < ALL_IDS else b""


def _number(oid: bytes) -> int:
    return int.from_bytes(oid, "big")


def _id(number: int) -> bytes:
    return number.to_bytes(HASH_BYTES, "big")
