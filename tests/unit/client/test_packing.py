"""Packs: which of them hold small files that will probably be read soon."""

import pytest

from ringfs.base.limits import KIB, MIB
from ringfs.client.dirty import Flight
from ringfs.client.packing import Pack


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
