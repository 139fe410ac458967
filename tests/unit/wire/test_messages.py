"""Golden bytes: messages that were ever sent are sent and read in the same way for ever."""

from typing import Any

import pytest

from ringfs.wire.messages.cluster import ClusterMap, Node
from ringfs.wire.messages.common import Attributes, Done, Refusal
from ringfs.wire.messages.content import Allocate, ChunkFound, Clone, CopyRange, FindChunk, RangeCopied
from ringfs.wire.messages.data import Get, Put
from ringfs.wire.messages.locks import LOCK_END, LockFreed, LockRange, SetLock, WaitLock
from ringfs.wire.messages.namespace import HOLE, INLINE, Commit, Entry, Extent, FileCommit, NewObject, Rmdir
from ringfs.wire.messages.queries import Lookup
from ringfs.wire.messages.session import AheadDone, AheadItem, Mutate, MutateAhead, Query
from ringfs.wire.schema import decode, encode

ATTRIBUTES = Attributes(1, 0o100644, 1000, 1000, 1, 5, 5, 0, 10, 20, 30, -1, 7, 0, 0)
OID = bytes(range(20))

GOLDEN: list[tuple[Any, str]] = [
    (Done(), "9101"),
    (Refusal(101, "a/b"), "930265a3612f62"),
    (ATTRIBUTES, "dc00110301cd81a4cd03e8cd03e8010505000a141eff07000000"),
    (Query(5, Lookup(1, b"n\xff")), "93cd02080593cd014101c4026eff"),
    (
        Entry(ATTRIBUTES, ATTRIBUTES, 2, 0),
        "95cd0121dc001001cd81a4cd03e8cd03e8010505000a141eff07000000dc001001cd81a4cd03e8cd03e8010505000a141eff070000000200",
    ),
    (Entry(None, ATTRIBUTES, 0, 1), "95cd0121c0dc001001cd81a4cd03e8cd03e8010505000a141eff070000000001"),
    (MutateAhead(5, 9, 8, [AheadItem(77, Rmdir(1, b"d"))]), "95cd021105090891924d93cd010601c40164"),
    (AheadDone([0, 101], [0x01020304, 0], True), "94cd021292006592ce0102030400c3"),
    (
        Mutate(
            5,
            9,
            8,
            Commit(
                [NewObject(OID, 65536, "replica:2", 1, "replica:2")],
                [
                    FileCommit(
                        7,
                        [Extent(0, 3, INLINE, b"abc"), Extent(4096, 1 << 20, HOLE, b""), Extent(1 << 26, 10, 0, OID)],
                        -1,
                        -1,
                        40,
                        7,
                        False,
                    )
                ],
            ),
        ),
        "95cd020705090893cd010e9195c414000102030405060708090a0b0c0d0e0f10111213ce00010000a97265706c6963613a32"
        "01a97265706c6963613a3291970793940003ffc40361626394cd1000ce00100000fec40094ce040000000a00c41400010203"
        "0405060708090a0b0c0d0e0f10111213ffff2807c2",
    ),
    (Mutate(5, 10, 9, Allocate(7, 3, 4096, 1 << 40, True)), "95cd0207050a0996cd01700703cd1000cf0000010000000000c3"),
    (CopyRange(7, 0, 8, 1 << 26, 10, False), "97cd0171070008ce040000000ac2"),
    (RangeCopied(10, 5, ATTRIBUTES), "94cd01720a05dc001001cd81a4cd03e8cd03e8010505000a141eff07000000"),
    (Clone(7, 1, b"n"), "94cd01730701c4016e"),
    (Query(5, FindChunk(7, 3)), "93cd02080593cd01740703"),
    (ChunkFound(7, -1), "93cd017507ff"),
    (
        ClusterMap(3, "6f1e1c9e-52a7-4f1b-9d63-1f0d0a6f3c11", [Node(1, "u", "data1", "h:1", "rack", 100, 1)]),
        "95cd030203d92436663165316339652d353261372d346631622d396436332d316630643061366633633131919a01a175a564"
        "61746131a3683a31a47261636b64010100a090",
    ),
    (
        Put(OID, 70000, bytes(40)),
        "96cd0401c414000102030405060708090a0b0c0d0e0f10111213ce00011170c4280000000000000000000000000000000000"
        "0000000000000000000000000000000000000000000000c403000000c400",
    ),
    (
        Mutate(5, 9, 8, SetLock(LockRange(7, 1, (1 << 64) - 1, 1, 0, LOCK_END, 4711))),
        "95cd020705090892cd0161970701cfffffffffffffffff0100cf7fffffffffffffffcd1267",
    ),
    (Query(5, WaitLock(3, LockRange(7, 2, 1, 0, 0, LOCK_END, 1), True)), "93cd02080594cd016703970702010000cf7fffffffffffffff01c3"),
    (LockFreed([3, 300]), "92cd016a9203cd012c"),
    (Get(OID, 2, 16, True), "96cd0403c414000102030405060708090a0b0c0d0e0f101112130210c3c400"),
]


@pytest.mark.parametrize(("value", "wire"), GOLDEN, ids=[type(value).__name__ for value, _ in GOLDEN])
def test_golden_bytes(value: Any, wire: str) -> None:
    """Sent as these bytes, and read from them."""
    assert encode(value).hex() == wire
    assert decode(bytes.fromhex(wire)) == value
