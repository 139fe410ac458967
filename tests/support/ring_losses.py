"""What a ring has lost and has to make good: disks, and bytes of parts; and what that has cost each object.

An object is worth what its class promises, less the losses that were its own, until it is whole again. So what nothing was lost of
is worth all of it at every moment, whatever happens to others.
"""

import random
from collections import Counter

from tests.support.ring_checks import parts_held, rotten, too_few
from tests.support.ring_store import Held
from tests.support.ring_world import RingNode, RingWorld


class Losses:
    """See the module."""

    def __init__(self, world: RingWorld) -> None:
        self._world = world
        #: Disks and parts since everything was whole.
        self.count = 0
        #: By object: one that is not live may be about to be committed.
        self._of: Counter[bytes] = Counter()

    def lose_disk(self, node: RingNode) -> None:
        """That of a node that was killed, with all that it holds."""
        self.count += 1
        self._of.update({held.stored.object for held in node.disk.held.values()})
        self._world.lose_disk(node)

    def rot(self, node: RingNode, draw: random.Random) -> Held:
        """Some part that the node has."""
        self.count += 1
        key = draw.choice(sorted(node.disk.held))
        node.disk.rot(draw, key)
        held = node.disk.held[key]
        self._of[held.stored.object] += 1
        return held

    def too_few(self, oid: bytes = b"") -> list[str]:
        """The live objects, or that one, that are worth less than they have to be just now."""
        return list(too_few(self._world, self._of, oid).values())

    def settle(self) -> None:
        """Forget what was made good, or belongs to nothing any more."""
        spoiled = {stored.object for _, stored in rotten(self._world)}
        short, there = too_few(self._world).keys() | spoiled, parts_held(self._world)
        live = {row.object for row in self._world.live_objects()}
        for oid in list(self._of):
            if oid not in short and (oid in live or oid not in there):
                del self._of[oid]
        if not short:
            self.count = 0
