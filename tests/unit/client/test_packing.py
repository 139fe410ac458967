"""Packs: which of them hold small files that will probably be read soon; what goes into one object."""

from collections.abc import Sequence
from typing import Any

import pytest
import trio

from ringfs.base.limits import KIB, MIB
from ringfs.client.dirty import Flight
from ringfs.client.packing import Pack, Packer
from ringfs.wire.messages.namespace import NewObject


@pytest.mark.parametrize(
    ("flights", "places_each", "part_bytes", "remembered"),
    [
        (1, 1, 100 * KIB, True),
        (40, 1, 50 * KIB, True),
        (1, 1, 8 * MIB, False),
        (1, 1024, 4 * KIB, False),
        (2, 1024, 4 * KIB, False),
    ],
)
def test_what_is_remembered(flights: int, places_each: int, part_bytes: int, remembered: bool) -> None:
    """Small files are, alone or together; a stream's object and scattered pieces are not."""
    pack = Pack()
    for _ in range(flights):
        flight = Flight([], 0)
        for index in range(places_each):
            pack.add(flight, index * 2 * part_bytes, memoryview(bytes(part_bytes)))
    assert pack.is_of_small_files is remembered


class Storing:
    """Objects that take everything: (class, bytes) of each."""

    def __init__(self) -> None:
        self.put_now: list[tuple[str, bytes]] = []

    async def put(self, parts: Sequence[memoryview], stored_class: str) -> NewObject:
        """See Objects."""
        await trio.lowlevel.checkpoint()
        self.put_now.append((stored_class, b"".join(parts)))
        return NewObject(bytes([len(self.put_now)] * 20), len(self.put_now[-1][1]), stored_class, 0, stored_class)


async def test_one_object_has_one_class() -> None:
    """Files of a class share objects, whatever comes between them; full ones are followed by others of the class."""
    storing: Any = Storing()
    contents = [("replica:2", b"a" * 10), ("ec:4+2", b"b" * MIB), ("replica:2", b"c" * 20), ("ec:4+2", b"d" * 8 * MIB)]
    flights = [Flight([(0, memoryview(data))], len(data), stored_class) for stored_class, data in contents]
    packer = Packer(storing, lambda: None, lambda _oid, _parts: None)
    async with trio.open_nursery() as nursery:
        packer.open(nursery)
        packer.pack([*flights, Flight([], 0)])
    firm = b"b" * MIB + b"d" * 8 * MIB
    assert sorted(storing.put_now) == sorted(
        [("replica:2", b"a" * 10 + b"c" * 20), ("ec:4+2", firm[: 8 * MIB]), ("ec:4+2", firm[8 * MIB :])]
    )
    for flight, (stored_class, data) in zip(flights, contents, strict=True):
        assert flight.ready
        assert {new.stored_class for new in flight.objects} == {stored_class}
        assert sum(extent.length for extent in flight.extents) == len(data)
