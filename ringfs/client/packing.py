"""From flights to objects: the bytes of files are packed into as few objects as possible, by class, and put on the ring.

Knows no inodes and commits nothing: a flight whose bytes are durable, or lost, is ready, and the writer is told.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import trio

from ringfs.base.errors import Refused, kept
from ringfs.base.limits import CHUNK_BYTES, OBJECT_BYTES_MAX
from ringfs.client.blocks import UNIT_BYTES
from ringfs.client.dirty import Flight
from ringfs.objects.objects import Objects
from ringfs.wire.messages.namespace import INLINE, Extent, NewObject

#: Objects being put at once: each is up to 8 MiB of somebody's dirty bytes.
_PUTS_AT_ONCE = 4


@dataclass(slots=True)
class Pack:
    """Bytes of one or many files of one class of service that become one object."""

    stored_class: str = ""
    parts: list[memoryview] = field(default_factory=list)
    size_bytes: int = 0
    #: (flight, file offset, length, offset in the object).
    places: list[tuple[Flight, int, int, int]] = field(default_factory=list)

    def add(self, flight: Flight, offset: int, part: memoryview) -> None:
        """Put part, which is the file's bytes at offset, at the end."""
        if self.places:
            last, at, length, place = self.places[-1]
            if last is flight and at + length == offset and offset % CHUNK_BYTES:
                self.places[-1] = (last, at, length + len(part), place)
                self._append(part)
                return
        self.places.append((flight, offset, len(part), self.size_bytes))
        self._append(part)

    @property
    def is_of_small_files(self) -> bool:
        """Whether it holds files rather than pieces: a stream's bytes, and scattered ones, are not worth a copy for readers."""
        flight_count = len({id(flight) for flight, *_ in self.places})
        return len(self.places) <= 2 * flight_count and (flight_count > 1 or self.size_bytes <= UNIT_BYTES)

    def _append(self, part: memoryview) -> None:
        self.parts.append(part)
        self.size_bytes += len(part)


class Packer:
    """`ready()` is called when flights are; `remember(object, parts)` when an object of small files was put."""

    def __init__(
        self,
        objects: Objects,
        ready: Callable[[], None],
        remember: Callable[[bytes, Sequence[memoryview]], None],
    ) -> None:
        self._objects = objects
        self._ready = ready
        self._remember = remember
        self._puts = trio.Semaphore(_PUTS_AT_ONCE)
        self._nursery: trio.Nursery | None = None

    def open(self, nursery: trio.Nursery) -> None:
        """Puts are tasks in that nursery."""
        self._nursery = nursery

    def pack(self, flights: list[Flight]) -> None:
        """Distribute the flights' bytes over as few objects as possible, in order, and put them."""
        packs = _packed(flights)
        for flight in flights:
            flight.packs_left = sum(any(place[0] is flight for place in pack.places) for pack in packs)
            flight.ready = not flight.packs_left
        assert self._nursery is not None, "the writer is running"
        for pack in packs:
            self._nursery.start_soon(self._put, pack)
        if any(flight.ready for flight in flights):
            self._ready()

    async def _put(self, pack: Pack) -> None:
        """Put one object and tell its flights."""
        refused: Refused | None = None
        new: NewObject | None = None
        async with self._puts:
            try:
                new = await self._objects.put(pack.parts, pack.stored_class)
                if pack.is_of_small_files:
                    self._remember(new.object, pack.parts)
            except Refused as error:
                refused = kept(error)
        touched: dict[int, Flight] = {}
        for flight, offset, length, place in pack.places:
            touched[id(flight)] = flight
            if new is not None:
                flight.extents.append(Extent(offset, length, place, new.object))
        for flight in touched.values():
            flight.packs_left -= 1
            if new is not None:
                flight.objects.append(new)
            else:
                flight.failure = flight.failure or refused
            flight.ready = flight.packs_left == 0
        self._ready()


def inline_extents(flight: Flight) -> list[Extent]:
    """The flight's bytes as they travel in a commit."""
    return [Extent(at, len(part), INLINE, bytes(part)) for begin, whole in flight.parts for at, part in _by_chunk(begin, whole)]


def _packed(flights: list[Flight]) -> list[Pack]:
    packs: list[Pack] = []
    #: By class: the pack that has room.
    open_packs: dict[str, Pack] = {}
    for flight in flights:
        for at, whole in flight.parts:
            for begin, part in _by_chunk(at, whole):
                offset, rest = begin, part
                while rest:
                    pack = open_packs.get(flight.stored_class)
                    if pack is None or pack.size_bytes == OBJECT_BYTES_MAX:
                        pack = open_packs[flight.stored_class] = Pack(flight.stored_class)
                        packs.append(pack)
                    room = OBJECT_BYTES_MAX - pack.size_bytes
                    pack.add(flight, offset, rest[:room])
                    offset, rest = offset + len(rest[:room]), rest[room:]
    return packs


def _by_chunk(at: int, whole: memoryview) -> Iterable[tuple[int, memoryview]]:
    """Cut a part where chunks end."""
    while len(whole) > CHUNK_BYTES - at % CHUNK_BYTES:
        room = CHUNK_BYTES - at % CHUNK_BYTES
        yield at, whole[:room]
        at, whole = at + room, whole[room:]
    if whole:
        yield at, whole
