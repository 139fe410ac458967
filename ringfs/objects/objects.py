"""Objects on the ring: put in the form that their class asks for, read from any holders, always verified. The parts put together.

Knows no files. How an object is put: putting.py; where it is: locating.py; read the short way: fetching.py; the long way:
reading.py.
"""

from collections.abc import Sequence

from ringfs.base.clock import Clock
from ringfs.objects.asking import Asker
from ringfs.objects.coding import Job
from ringfs.objects.fetching import Fetcher, OnContent
from ringfs.objects.locating import Places
from ringfs.objects.moving import Mover
from ringfs.objects.nodes import DataNodes
from ringfs.objects.putting import Putter, RunInThread
from ringfs.objects.racing import Budget
from ringfs.objects.reading import LongReader, Peek
from ringfs.ring.classes import ServiceClass
from ringfs.ring.parts import Part
from ringfs.wire.messages.cluster import ClusterMap, Node
from ringfs.wire.messages.namespace import NewObject

__all__ = ["Objects", "OnContent", "RunInThread"]


class Objects:
    """See the module."""

    def __init__(self, nodes: DataNodes, run_in_thread: RunInThread, clock: Clock) -> None:
        self.places = Places(nodes)
        budget = Budget()
        asker = Asker(self.places)
        self._putter = Putter(self.places, run_in_thread, clock)
        self._long_reader = LongReader(self.places, asker, budget, run_in_thread)
        self._fetcher = Fetcher(self.places, asker, self._long_reader, budget)
        self._mover = Mover(self.places, asker, self._long_reader, run_in_thread)

    def follow(self, map: ClusterMap) -> None:
        """Use this map from now on."""
        self.places.follow(map)

    def peek_by(self, peek: Peek) -> None:
        """Before bytes are fetched only to decode others from them, somebody may have them at hand."""
        self._long_reader.peek = peek

    async def put(self, pieces: Sequence[memoryview], stored_class: str) -> NewObject:
        """Make an object of the pieces one after the other (1 byte to 8 MiB), durable on as many failure domains as its class asks.

        They must not change any more: a node that is slow may be sent them after this has returned. Raises Refused: NO_SPACE if
        too few domains have space, IO if too few answer.
        """
        return await self._putter.put(pieces, stored_class)

    def fetch_soon(self, oid: bytes, first_block: int, block_count: int, on_content: OnContent) -> None:
        """Get what read_blocks gives, or its refusal, to on_content. If all is well, no task is involved: the holder is asked, and
        what it answers is verified and handed on where it is received."""
        self._fetcher.fetch_soon(oid, first_block, block_count, on_content)

    async def read_blocks(self, oid: bytes, first_block: int, block_count: int) -> memoryview:
        """The verified bytes of whole blocks (clamped to the object's end). Raises Refused IO if no holders have them right."""
        return await self._long_reader.read(oid, first_block, block_count)

    # --- for stewards -----------------------------------------------------------------------------------------------

    async def make_part(self, oid: bytes, part: Part, target: Node) -> int:
        """Have a node hold a part of an object, made of whatever other nodes hold, and verified: how many bytes were sent to it.
        Durable then. Raises Refused: IO if it cannot be made or put, NO_SPACE if the node is full."""
        return await self._mover.make_part(oid, part, target)

    async def make_job(self, oid: bytes, part: Part, holders: Sequence[Node]) -> Job:
        """What a node is to be sent that is to hold a part: as a holder has it, if any are given, else made of other parts.
        Raises Refused IO if it cannot be made."""
        return await self._mover.job(oid, part, holders)

    async def make_all(self, oid: bytes, form: ServiceClass, targets: Sequence[Node]) -> int:
        """The same for all parts of a form, the i-th on the i-th target: how many bytes were sent to all of them."""
        return await self._mover.make_all(oid, form, targets)
