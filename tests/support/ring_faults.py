"""What goes wrong with a ring, drawn from a seed: never more at one time than the class promises to survive.

A budget counts what cannot be read just now: nodes that are down, stopped or full, and losses (of a disk, of a part's bytes) until
every live object has all its tolerance again. Slow nodes, links that are cut or garble, another leader and changes of the map cost
nothing.
"""

import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import trio

from ringfs.base.errors import Code, ConnectionLost, Refused
from ringfs.ring.classes import ServiceClass, parse_class
from ringfs.ring.shares import domains_with_share, width_in_use
from ringfs.wire.messages.cluster import STANDING_DRAINING, STANDING_IN, STANDING_MAINTENANCE, STANDING_OUT
from ringfs.wire.messages.heal import RemoveNode, ReplaceDisk, SetStanding, SetWeight
from tests.support.ring_losses import Losses
from tests.support.ring_world import RingNode, RingWorld
from tests.support.world import META

_PAUSE_S = (2.0, 10.0)
_NODES_MAX = 13
_CHECK_S = 1.0
#: A bit flips within so many: in frames' heads and in what they carry.
_GARBLED_BYTES = 100_000


class RingFaults:
    """See the module. `story` says what was done, and when."""

    def __init__(self, world: RingWorld, draw: random.Random, promised: ServiceClass, widest: int) -> None:
        """widest: failure domains that any class needs that files may be given."""
        self._world = world
        self._draw = draw
        self._promised = promised
        self._widest = widest
        self.story: list[str] = []
        #: Nodes that cannot be read just now.
        self._away: set[str] = set()
        #: What is not made good yet.
        self._losses = Losses(world)
        #: Nodes that never come back.
        self._dead: set[str] = set()
        #: Nodes that somebody does something with, so that nobody else does.
        self._busy: set[str] = set()
        self._is_over = False
        world.on_removed = self._check_one
        self._actions: list[tuple[Callable[[RingNode], Awaitable[None]], int]] = [
            (self._crash, 6),
            (self._lose_disk, 4),
            (self._die, 1),
            (self._rot, 3),
            (self._freeze, 3),
            (self._isolate, 3),
            (self._fill, 2),
            (self._slow, 3),
            (self._cut, 2),
            (self._garble, 2),
            (self._restart_meta, 1),
            (self._add, 2),
            (self._drain, 2),
            (self._take_out, 2),
            (self._maintain, 1),
            (self._weigh, 2),
        ]

    async def run(self, seconds: float) -> None:
        """Faults for that long; then everything is mended that does not mend itself, and all nodes run."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            async with trio.open_nursery() as acts:
                end_s = trio.current_time() + seconds
                while trio.current_time() < end_s:
                    await trio.sleep(self._draw.uniform(*_PAUSE_S))
                    node = self._some()
                    if node is not None:
                        acts.start_soon(self._act, self._draw.choices(*zip(*self._actions, strict=True))[0], node)
                self._is_over = True
            nursery.cancel_scope.cancel()

    async def _act(self, action: Callable[[RingNode], Awaitable[None]], node: RingNode) -> None:
        self._busy.add(node.name)
        try:
            await action(node)
        finally:
            self._busy.discard(node.name)

    def _some(self) -> RingNode | None:
        taken = self._busy | self._dead
        free = [node for node in self._world.ring if node.name not in taken and not node.is_removed]
        return self._draw.choice(free) if free else None

    def _tell(self, what: str) -> None:
        self.story.append(f"{trio.current_time():7.1f} s: {what}")

    # --- the budget -----------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """The law that holds at every moment; and when losses have been made good."""
        while True:
            await trio.sleep(_CHECK_S)
            self.check()

    def check(self) -> None:
        """Nothing survives less than it must."""
        findings = self._losses.too_few()
        assert not findings, "\n".join(findings)
        if self._losses.count:
            before = self._losses.count
            self._losses.settle()
            if not self._losses.count:
                self._tell(f"{before} losses are made good")

    def _check_one(self, oid: bytes) -> None:
        """The same law in the moment in which a part was taken away: what follows a second later may have made it good."""
        if self._world.meta_is_up:
            findings = self._losses.too_few(oid)
            assert not findings, "a part was taken away: " + "\n".join(findings)

    def _may_lose(self, node: RingNode) -> bool:
        """Whether the budget has room, and without the node enough domains are left to take what is written."""
        left = {each.domain for each in self._world.ring if each.is_alive and each.name not in self._away and each is not node}
        classes = self._world.handler.live.nodes.map.classes
        needed = 1 + max((parse_class(each).tolerance for each in classes), default=self._promised.tolerance)
        return len(self._away) + self._losses.count < self._promised.tolerance and len(left) >= needed

    def _may_shrink(self) -> bool:
        """Whether a node can lose its share and the widest form still has room, whatever else is away."""
        return self._spare_domains() > width_in_use(self._world.handler.live.nodes.map)

    def _spare_domains(self) -> int:
        """How many there are to have parts, if as many are away as may be."""
        nodes = self._world.handler.live.nodes.map.nodes
        return len(domains_with_share([node for node in nodes if node.name not in self._dead])) - self._promised.tolerance

    async def _wait(self, low_s: float, high_s: float) -> None:
        """Unless it is over."""
        end_s = trio.current_time() + self._draw.uniform(low_s, high_s)
        while not self._is_over and trio.current_time() < end_s:  # noqa: ASYNC110 -- virtual time
            await trio.sleep(0.5)

    # --- nodes ----------------------------------------------------------------------------------------------------------

    async def _crash(self, node: RingNode) -> None:
        if not self._may_lose(node):
            return
        self._away.add(node.name)
        self._tell(f"{node.name} is killed")
        self._world.kill(node)
        await self._wait(0.5, self._draw.choice((4, 15, 60)))
        await self._world.start(node)
        self._tell(f"{node.name} runs again")
        self._away.discard(node.name)

    async def _lose_disk(self, node: RingNode) -> None:
        """A killed node's disk is gone; another one takes its place, at once or once the node is lost."""
        if not self._may_lose(node):
            return
        self._away.add(node.name)
        self._tell(f"{node.name} is killed, and its disk lost")
        self._world.kill(node)
        self._losses.lose_disk(node)
        self._away.discard(node.name)
        await self._wait(1, self._draw.choice((10, 70)))
        await self._ask_until_done(ReplaceDisk(node.name))
        await self._world.start(node)
        self._tell(f"{node.name} has another disk")

    async def _die(self, node: RingNode) -> None:
        """It is killed with its disk, and nobody does anything about it."""
        await trio.lowlevel.checkpoint()
        if self._dead or not self._may_lose(node) or self._spare_domains() <= self._widest:
            return
        self._dead.add(node.name)
        self._tell(f"{node.name} dies for good")
        self._world.kill(node)
        self._losses.lose_disk(node)

    async def _freeze(self, node: RingNode) -> None:
        """It takes requests, and does not answer; it still says that it is up."""
        network = self._world.network
        change = partial(_either, partial(network.freeze, node.address), partial(network.thaw, node.address))
        await self._unread(node, "answers nobody", "answers again", change, 25)

    async def _isolate(self, node: RingNode) -> None:
        """Between it and the metadata server nothing arrives: it goes by the map that it has, and others by newer ones."""
        change = partial(_either, partial(node.port.blacken, META), node.port.whiten)
        await self._unread(node, "is not heard by the metadata server", "is heard again", change, self._draw.choice((10, 40)))

    async def _fill(self, node: RingNode) -> None:
        await self._unread(node, "is full", "has space", partial(setattr, node.disk, "is_full"), 40)

    async def _unread(self, node: RingNode, begins: str, ends: str, change: Callable[[bool], None], longest_s: float) -> None:
        """Change something of a node, which cannot be relied upon until it is changed back."""
        if not self._may_lose(node):
            return
        self._away.add(node.name)
        self._tell(f"{node.name} {begins}")
        change(True)
        await self._wait(1, longest_s)
        change(False)
        self._tell(f"{node.name} {ends}")
        self._away.discard(node.name)

    async def _slow(self, node: RingNode) -> None:
        """Its disk, and the links that there are to it."""
        disk, network = node.disk, self._world.network
        disk.get_s, disk.put_s, delay_s = self._draw.random(), 2 * self._draw.random(), self._draw.random() ** 2
        self._tell(f"{node.name} is slow: {disk.get_s:.2f} s, {disk.put_s:.2f} s, messages {delay_s:.2f} s")
        for link in network.links_to(node.address):
            link.delay(delay_s)
        await self._wait(5, 30)
        disk.get_s = disk.put_s = 0.0
        for link in network.links_to(node.address):
            link.delay(network.delay_s)

    async def _rot(self, node: RingNode) -> None:
        if not self._may_lose(node) or not node.disk.held:
            return
        await trio.lowlevel.checkpoint()
        held = self._losses.rot(node, self._draw)
        self._tell(f"{held.stored} on {node.name} rots")

    async def _cut(self, node: RingNode) -> None:
        await trio.lowlevel.checkpoint()
        self._tell(f"links to {node.name} are cut")
        self._world.network.cut(node.address)

    async def _garble(self, node: RingNode) -> None:
        """A bit flips in what is sent next on each link to it, one way or the other."""
        await trio.lowlevel.checkpoint()
        self._tell(f"links to {node.name} garble")
        for link in self._world.network.links_to(node.address):
            direction = self._draw.choice(link.directions())
            direction.flip_at = direction.sent_bytes + self._draw.randrange(_GARBLED_BYTES)

    async def _restart_meta(self, _node: RingNode) -> None:
        self._tell("the metadata server starts anew")
        await self._world.restart_meta(self._draw.uniform(0.1, 4))

    # --- the map --------------------------------------------------------------------------------------------------------

    async def _add(self, _node: RingNode) -> None:
        if len(self._world.ring) < _NODES_MAX:
            added = await self._world.add_node()
            self._tell(f"{added.name} is new")

    async def _drain(self, node: RingNode) -> None:
        """And remove it, if that is wanted before long."""
        if not self._may_shrink() or not await self._ask(SetStanding(node.name, STANDING_DRAINING, 0)):
            return
        self._tell(f"{node.name} is drained")
        await self._wait(30, 120)
        if await self._ask(RemoveNode(node.name)):
            self._tell(f"{node.name} is removed")
            node.is_removed = True
            self._world.kill(node)
            node.disk.held.clear()
        else:
            await self._ask_until_done(SetStanding(node.name, STANDING_IN, 0))
            self._tell(f"{node.name} is in again")

    async def _take_out(self, node: RingNode) -> None:
        if not self._may_shrink() or not await self._ask(SetStanding(node.name, STANDING_OUT, 0)):
            return
        self._tell(f"{node.name} is taken out")
        await self._wait(5, 60)
        await self._ask_until_done(SetStanding(node.name, STANDING_IN, 0))
        self._tell(f"{node.name} is in again")

    async def _maintain(self, node: RingNode) -> None:
        if await self._ask(SetStanding(node.name, STANDING_MAINTENANCE, 20)):
            self._tell(f"{node.name} is maintained")
            await self._crash(node)
            await self._ask_until_done(SetStanding(node.name, STANDING_IN, 0))

    async def _weigh(self, node: RingNode) -> None:
        weight = self._draw.choice((50, 100, 200))
        if await self._ask(SetWeight(node.name, weight)):
            self._tell(f"{node.name} weighs {weight}")

    async def _ask(self, wish: object) -> bool:
        """Whether the leader has done it."""
        try:
            await self._world.ask(wish)
        except (Refused, ConnectionLost) as error:
            self._tell(f"{wish} was refused: {error}")
            return False
        return True

    async def _ask_until_done(self, wish: object) -> None:
        while True:
            with suppress(ConnectionLost):
                try:
                    await self._world.ask(wish)
                except Refused as refused:
                    if refused.code is not Code.BUSY:
                        raise
                else:
                    return
            await trio.sleep(1)


def _either(begin: Callable[[], None], end: Callable[[], None], begins: bool) -> None:
    """One of the two."""
    (begin if begins else end)()
