"""Asking all nodes at once what they hold of an object, when what is believed of it leads nowhere."""

from typing import NamedTuple

import structlog
import trio

from ringfs.base.errors import ConnectionLost, Refused
from ringfs.objects.locating import Located, Places
from ringfs.ring.parts import unpack_part
from ringfs.wire.messages.cluster import Node
from ringfs.wire.messages.data import Have, HeldPart

log = structlog.get_logger("ringfs.objects.roll_call")

_TIMEOUT_S = 5.0


class Patience(NamedTuple):
    """How long silent nodes are waited for: if the object can be made of what the others have, and if not. In the first case only
    for those that were not doubtful before, and if that is said only until they are late."""

    enough_s: float
    most_s: float
    until_late: bool = False


BRIEFLY = Patience(0.3, 1.0, until_late=True)
LONG = Patience(0.5, 1.0)
#: Before something is given up.
VERY_LONG = Patience(_TIMEOUT_S, _TIMEOUT_S)


async def locate(places: Places, oid: bytes, patience: Patience = BRIEFLY) -> Located:
    """Who has what of an object; nodes that do not answer in time have nothing."""
    return await _RollCall(places, oid, patience).run()


class _RollCall:
    def __init__(self, places: Places, oid: bytes, patience: Patience) -> None:
        self._places = places
        self._oid = oid
        self._patience = patience
        self._order = places.order(oid)
        self._held: dict[int, list[HeldPart]] = {}
        #: Nodes that have neither answered nor failed; and those of them that should soon.
        self._silent = {node.node for node in self._order}
        self._expected = {node.node for node in self._order if not places.is_doubtful(node)}
        self._news = trio.Event()

    async def run(self) -> Located:
        begun_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            for node in self._order:
                nursery.start_soon(self._ask, node)
            while self._silent:
                is_enough = self._located().is_enough
                if is_enough and not self._expected:
                    break
                with trio.CancelScope(deadline=begun_s + (self._enough_s() if is_enough else self._patience.most_s)) as scope:
                    await self._news.wait()
                if scope.cancelled_caught:
                    self._blame_silent()
                    break
                self._news = trio.Event()
            nursery.cancel_scope.cancel()
        return self._located()

    def _enough_s(self) -> float:
        """How long to wait for those that should answer, if nobody depends on them."""
        patience_s = self._patience.enough_s
        if not self._patience.until_late:
            return patience_s
        expected = [node for node in self._order if node.node in self._expected]
        return min(patience_s, max(self._places.lane(node).read_late_s(0) for node in expected))

    async def _ask(self, node: Node) -> None:
        try:
            answer = await self._places.lane(node).call(Have([self._oid]), patience_s=_TIMEOUT_S)
            self._held[node.node] = answer.message.parts
        except (Refused, ConnectionLost) as error:
            log.debug("a node did not say what it holds", node=node.name, object=self._oid.hex(), reason=str(error))
        self._silent.discard(node.node)
        self._expected.discard(node.node)
        self._news.set()

    def _blame_silent(self) -> None:
        """Others have answered long ago."""
        for node in self._order:
            if node.node in self._expected and self._held:
                self._places.lane(node).was_overtaken()

    def _located(self) -> Located:
        """What the answers say, doubtful nodes last."""
        located = Located()
        for node in sorted((node for node in self._order if node.node in self._held), key=self._places.is_doubtful):
            for row in self._held[node.node]:
                part = unpack_part(row.part)
                if part is not None:
                    located.add(part, node)
        return located
