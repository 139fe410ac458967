"""The map as a steward goes by it: when it may only add parts, and when it may take some away. No decisions about objects here.

Who looks after an object changes with the map, and two stewards that see different maps must not both take away what each believes
the other copy to be. So parts are dropped, and forms changed, only under a map that was the newest a moment ago, and not in the
first seconds of one: by then whoever went by the one before has ended.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from ringfs.base.errors import ConnectionLost, Refused, again, kept
from ringfs.data.steward.reach import Reach
from ringfs.ring.healing import KnownNodes
from ringfs.ring.placement import Ring
from ringfs.wire.messages.cluster import ClusterMap

#: Nothing is taken away so long after a new map.
CALM_S = 10.0
#: And only if the leader has said so lately that the map is the newest; a drop is given up after a timeout.
CONFIRMED_S = 3.0
DROP_TIMEOUT_S = 5.0
#: A node that had no room is given nothing for so long.
_FULL_S = 60.0
assert CALM_S > CONFIRMED_S + DROP_TIMEOUT_S, "what was begun under the old map has ended"


@dataclass(frozen=True, slots=True)
class Outlook:
    """One map, its ring, and since when (trio's clock) it is known here."""

    map: ClusterMap
    ring: Ring
    since_s: float


class Outlooks:
    """The newest one, and which nodes are full."""

    def __init__(self, reach: Reach, follow: Callable[[ClusterMap], None]) -> None:
        """follow is told each new map."""
        self._reach = reach
        self._follow = follow
        self._latest: Outlook | None = None
        self._full_until_s: dict[int, float] = {}

    def latest(self) -> Outlook:
        """By the newest map that was heard of; once the node has joined."""
        cluster_map = self._reach.member.map
        assert cluster_map is not None, "asked once the node has joined"
        if self._latest is None or cluster_map.epoch != self._latest.map.epoch:
            self._latest = Outlook(cluster_map, Ring(cluster_map), trio.current_time())
            self._follow(cluster_map)
        return self._latest

    def is_latest(self, outlook: Outlook) -> bool:
        """Whether there is no newer one."""
        return self.latest() is outlook

    async def run_while_latest(self, outlook: Outlook, work: Callable[[], Awaitable[None]]) -> None:
        """Do something that a newer map cuts short. Raises what it raises of Refused, ConnectionLost."""
        failure: Refused | ConnectionLost | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cancel_when_replaced, outlook, nursery.cancel_scope)
            try:
                await work()
            except (Refused, ConnectionLost) as error:
                # Out of the nursery by value: it would wrap it.
                failure = kept(error)
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise again(failure)

    async def _cancel_when_replaced(self, outlook: Outlook, scope: trio.CancelScope) -> None:
        await self._reach.member.wait_map(outlook.map.epoch)
        scope.cancel()

    def may_take_away(self, outlook: Outlook) -> bool:
        """See the module."""
        now_s = trio.current_time()
        is_confirmed = now_s - self._reach.member.confirmed_s < CONFIRMED_S
        return self.is_latest(outlook) and is_confirmed and now_s - outlook.since_s >= CALM_S

    def note_full(self, node: int) -> None:
        """It refused a part for want of space."""
        self._full_until_s[node] = trio.current_time() + _FULL_S

    def nodes(self, outlook: Outlook, silent: frozenset[int]) -> KnownNodes:
        """What is known of the nodes, some of which did not say what they hold."""
        now_s = trio.current_time()
        full = [node for node, until_s in self._full_until_s.items() if until_s > now_s]
        return KnownNodes.of(outlook.map, outlook.ring, silent, full)
