"""Moving bytes to a better place never changes them, whatever is committed meanwhile."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from ringfs.base.checksums import block_table, object_id
from ringfs.base.errors import Code
from ringfs.base.limits import BLOCK_BYTES, MIB
from ringfs.client.blocks import BlockCache
from ringfs.client.extents import ExtentMap
from ringfs.client.inodes import Inode, InodeTable
from ringfs.client.rewriter import Rewriter
from ringfs.wire.messages.common import Attributes
from ringfs.wire.messages.namespace import INLINE, Commit, Committed, CommittedFile, Extent, NewObject
from tests.support.fetching import fetched_by


class Service:
    """One file at the service, and objects; a rewrite of anything but its present state is refused."""

    default_class = "replica:2"

    def __init__(self) -> None:
        self.extents = ExtentMap()
        self.extents.all_loaded = True
        self.change = 5
        self.size_bytes = 0
        self.stored: dict[bytes, bytes] = {}
        self.puts_now = 0
        self.puts_at_once_max = 0
        self.rewrites = 0

    def class_of(self, _attributes: Attributes) -> str:
        """Of every file."""
        return self.default_class

    def holds(self, epoch: int) -> bool:
        """Leases are of epoch 1."""
        return epoch == 1

    def store(self, content: bytes) -> bytes:
        """The object's id."""
        oid = object_id(len(content), block_table(content))
        self.stored[oid] = content
        return oid

    async def put(self, parts: Sequence[memoryview], stored_class: str) -> NewObject:
        """See Objects."""
        self.puts_now += 1
        self.puts_at_once_max = max(self.puts_at_once_max, self.puts_now)
        await trio.sleep(1)
        self.puts_now -= 1
        content = b"".join(parts)
        return NewObject(self.store(content), len(content), stored_class, 0, stored_class)

    async def fetch(self, oid: bytes, first: int, count: int) -> memoryview:
        """See BlockCache."""
        await trio.sleep(1)
        return memoryview(self.stored[oid])[first * BLOCK_BYTES : (first + count) * BLOCK_BYTES]

    async def mutate(self, commit: Commit, **_options: Any) -> Committed:
        """See MetadataLink."""
        (file,) = commit.files
        assert file.rewrite
        await trio.sleep(1)
        if file.expected_change != self.change:
            return Committed([CommittedFile(Code.CHANGED.number, None)])
        self.rewrites += 1
        self.extents.apply(file.extents)
        return Committed([CommittedFile(0, self.attributes())])

    def commit(self, *extents: Extent) -> None:
        """Somebody's commit."""
        self.extents.apply(extents)
        self.change += 1
        self.size_bytes = max(self.size_bytes, *(extent.offset + extent.length for extent in extents))

    def attributes(self, number: int = 7) -> Attributes:
        """As they are now."""
        return Attributes(number, 0o100644, 0, 0, 1, self.size_bytes, 1, 0, 1, 2, 3, 4, self.change, 0, 0)

    def content(self, extents: ExtentMap) -> bytes:
        """What extents stand for."""
        whole = bytearray(self.size_bytes)
        for piece in extents.pieces(0, self.size_bytes):
            source, offset = piece.source, 0
            if piece.object_offset != INLINE:
                source, offset = self.stored[piece.source], piece.object_offset
            whole[piece.start : piece.stop] = source[offset : offset + piece.length]
        return bytes(whole)


@asynccontextmanager
async def at_work() -> AsyncIterator[tuple[Any, Rewriter, InodeTable]]:
    """A service, a rewriter on it, and its inodes."""
    service: Any = Service()
    async with trio.open_nursery() as nursery:
        inodes = InodeTable(service.holds)
        yield service, Rewriter(service, service, inodes, BlockCache(fetched_by(service.fetch, nursery), MIB)), inodes
        nursery.cancel_scope.cancel()


def known(service: Service, inodes: InodeTable) -> Inode:
    """The file as a client knows it that has just asked."""
    inode = inodes.absorb(service.attributes(), 1, own=False)
    inode.extents.load(0, 1, [piece.to_extent() for piece in service.extents.chunk_pieces(0)], service.change)
    return inode


def inline(offset: int, data: bytes) -> Extent:
    """An inline extent."""
    return Extent(offset, len(data), INLINE, data)


async def test_inline_bytes_move_into_an_object(autojump_clock: trio.testing.MockClock) -> None:
    """The bytes stay, here and at the service, and are not inline any more."""
    async with at_work() as (service, rewriter, inodes):
        service.commit(inline(0, b"a" * 10_000), inline(20_000, b"b" * 10_000))
        inode = known(service, inodes)
        expected = service.content(service.extents)
        await rewriter.destage(inode, 0)
        assert service.content(service.extents) == service.content(inode.extents) == expected
        assert service.extents.inline_bytes(0) == inode.extents.inline_bytes(0) == 0


async def test_scattered_pieces_move_together(autojump_clock: trio.testing.MockClock) -> None:
    """A scattered window becomes one object, or a few."""
    async with at_work() as (service, rewriter, inodes):
        oid = service.store(bytes(range(200)) * 100)
        service.commit(*(Extent(at * 3000, 100, at * 7 % 10_000, oid) for at in range(3000)))
        inode = known(service, inodes)
        expected = service.content(service.extents)
        await rewriter.compact(inode, 0)
        assert service.rewrites == 1, "the second window is not worth it"
        assert service.content(service.extents) == service.content(inode.extents) == expected
        assert not service.puts_now


@pytest.mark.parametrize("after_s", [0.5, 1.5])
async def test_a_commit_in_between_wins(after_s: float, autojump_clock: trio.testing.MockClock) -> None:
    """A rewrite of what was changed meanwhile is given up."""
    async with at_work() as (service, rewriter, inodes):
        service.commit(inline(0, b"a" * 10_000))
        inode = known(service, inodes)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rewriter.destage, inode, 0)
            await trio.sleep(after_s)
            service.commit(inline(5000, b"b"))
        assert service.content(service.extents) == b"a" * 5000 + b"b" + b"a" * 4999
        assert not service.rewrites


async def test_what_was_committed_here_meanwhile_stays_and_the_rest_moves(autojump_clock: trio.testing.MockClock) -> None:
    """A file that is written and synced all the time is destaged nevertheless: what changed since keeps its newer bytes."""
    async with at_work() as (service, rewriter, inodes):
        service.commit(inline(0, b"a" * 4000), inline(4000, b"b" * 4000), inline(8000, b"c" * 4000))
        inode = known(service, inodes)

        async def commit(*extents: Extent) -> None:
            await rewriter.turn.take()
            service.commit(*extents)
            inode.extents.apply(extents)
            inode.extents.change = service.change
            inodes.absorb(service.attributes(), 0, own=True)
            rewriter.turn.give()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(rewriter.destage, inode, 0)
            await trio.sleep(0.5)
            await commit(inline(4500, b"new"), inline(12_000, b"d" * 100))
            await trio.sleep(1)
            nursery.start_soon(commit, inline(0, b"newest"))
        assert service.rewrites == 1
        expected = b"newest" + b"a" * 3994 + b"b" * 500 + b"new" + b"b" * 3497 + b"c" * 4000 + b"d" * 100
        assert service.content(service.extents) == service.content(inode.extents) == expected
        assert service.extents.inline_bytes(0) == inode.extents.inline_bytes(0) == 4000 + 100 + 6


async def test_attributes_ahead_of_extents(autojump_clock: trio.testing.MockClock) -> None:
    """If a stat has shown a commit whose own answer is still on its way, a rewrite does not put back what was there before."""
    async with at_work() as (service, rewriter, inodes):
        service.commit(inline(0, b"a" * 10_000))
        inode = known(service, inodes)
        service.commit(inline(0, b"b" * 10_000))
        inodes.absorb(service.attributes(), 1, own=False)
        await rewriter.destage(inode, 0)
        assert service.content(service.extents) == b"b" * 10_000
        inode.extents.clear()
        inode.extents.load(0, 1, [piece.to_extent() for piece in service.extents.chunk_pieces(0)], service.change)
        await rewriter.destage(inode, 0)
        assert service.rewrites == 1
        assert service.content(service.extents) == b"b" * 10_000


async def test_a_change_while_others_are_rewritten(autojump_clock: trio.testing.MockClock) -> None:
    """Rewrites wait for each other, few hold bytes at a time, and what changed while one waited is not put back."""
    async with at_work() as (service, rewriter, inodes):
        service.commit(inline(0, b"a" * 10_000))
        inode = known(service, inodes)
        others = []
        for number in range(100, 120):
            other = inodes.absorb(service.attributes(number), 1, own=False)
            other.extents.load(0, 1, [inline(0, b"c" * number)], service.change)
            others.append(other)
        async with trio.open_nursery() as nursery:
            for other in others:
                nursery.start_soon(rewriter.destage, other, 0)
            await trio.sleep(0.5)
            nursery.start_soon(rewriter.destage, inode, 0)
            await trio.sleep(0.1)
            service.extents.apply([inline(0, b"b" * 10_000)])
            service.change += 1
            inode.extents.apply([inline(0, b"b" * 10_000)])
            inode.extents.change = service.change
            inodes.absorb(service.attributes(), 0, own=True)
        assert service.puts_at_once_max <= 2
        assert service.content(service.extents)[:10_000] == b"b" * 10_000


async def test_without_a_lease_nothing_is_rewritten(autojump_clock: trio.testing.MockClock) -> None:
    """What is known may be old then."""
    async with at_work() as (service, rewriter, inodes):
        service.commit(inline(0, b"a" * 10_000))
        inode = known(service, inodes)
        inode.lease_epoch = 0
        await rewriter.destage(inode, 0)
        assert not service.stored
