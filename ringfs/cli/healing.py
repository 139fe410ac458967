"""Waiting until the ring is healed, with a bar. What a healing ring looks like: heal_view.py."""

from collections.abc import Callable

import trio

from ringfs.base.config import ClusterConfig
from ringfs.base.errors import ConnectionLost
from ringfs.cli.exits import NotReachable
from ringfs.cli.heal_view import sums_of, work_text
from ringfs.cli.output import Progress
from ringfs.cli.reach import ask_leader
from ringfs.wire.messages.heal import GetHeal, HealStatus

#: Between two looks.
LOOK_S = 0.5
#: So long nobody may answer who has answered before: what takes minutes outlives a failover.
_PATIENCE_S = 60.0


class Bar:
    """How far healing is: of all that was ever seen to be left, what is done."""

    def __init__(self, shown: Progress, what: str) -> None:
        self._shown = shown
        self._what = what
        self._most = 0

    def show(self, status: HealStatus) -> None:
        """The latest word."""
        queued = sums_of(status).queued
        self._most = max(self._most, queued)
        self._shown.step(f"{self._what}: {work_text(status)}", self._most - queued, self._most or None)


async def wait_healed(config: ClusterConfig, verb: str, epoch: int, shown: Callable[[HealStatus], None]) -> HealStatus:
    """Return once stewards have nothing left to do at that epoch of the map, or a later one. Raises Refused, and NotReachable if no
    leader answers for long, or at first."""
    reached_s = float("-inf")
    while True:
        status = await _look(config, verb, is_patient=trio.current_time() < reached_s + _PATIENCE_S)
        if status is not None:
            reached_s = trio.current_time()
            shown(status)
            if status.is_healed and status.epoch >= epoch:
                return status
        await trio.sleep(LOOK_S)


async def _look(config: ClusterConfig, verb: str, *, is_patient: bool) -> HealStatus | None:
    """None if the leader is just being replaced, or started again."""
    try:
        status: HealStatus = await ask_leader(config, verb, GetHeal())
    except ConnectionLost:
        return None
    except NotReachable:
        if not is_patient:
            raise
        return None
    return status
