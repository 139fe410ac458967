"""Writing: what travels inline and what in objects, how files share objects, how much may be dirty, in which order commits go."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import trio

from ringfs.base.checksums import block_table, object_id
from ringfs.base.errors import Code, Refused
from ringfs.base.limits import BLOCK_BYTES, CHUNK_BYTES, KIB, MIB, OBJECT_BYTES_MAX
from ringfs.client.blocks import BlockCache
from ringfs.client.dirty import Times
from ringfs.client.inodes import Inode, InodeTable
from ringfs.client.rewriter import Rewriter
from ringfs.client.writer import INLINE_FLUSH_BYTES, INLINE_ROOM_BYTES, Writer
from ringfs.wire.messages.common import Attributes
from ringfs.wire.messages.namespace import INLINE, Commit, Committed, CommittedFile, NewObject
from tests.support.fetching import fetched_by

EMPTY = Attributes(7, 0o100644, 0, 0, 1, 0, 0, 0, 1, 2, 3, 4, 5, 0, 0)


class Service:
    """What the writer asks: a metadata link and objects in one. Keeps files as the commits make them."""

    default_class = "replica:2"
    session = 1

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.commits: list[Commit] = []
        self.files: dict[int, bytearray] = {}
        self.changes: dict[int, int] = {}
        self.stored: dict[bytes, bytes] = {}
        self.put_s = 0.0
        #: By the object's first byte.
        self.put_delays: dict[bytes, float] = {}
        self.commit_s = 0.0
        self.refuse_put: Refused | None = None
        self.refuse_commit: Refused | None = None
        self.puts_now = 0
        self.puts_at_once_max = 0

    def class_of(self, _attributes: Attributes) -> str:
        """Of every file."""
        return self.default_class

    def holds(self, _epoch: int) -> bool:
        """The lease is always there."""
        return True

    async def put(self, parts: Sequence[memoryview], stored_class: str) -> NewObject:
        """See Objects."""
        self.puts_now += 1
        self.puts_at_once_max = max(self.puts_at_once_max, self.puts_now)
        await trio.sleep(self.put_delays.get(bytes(parts[0][:1]), self.put_s))
        self.puts_now -= 1
        if self.refuse_put is not None:
            raise self.refuse_put
        content = b"".join(parts)
        oid = object_id(len(content), block_table(content))
        self.stored[oid] = content
        return NewObject(oid, len(content), stored_class, 0, stored_class)

    async def mutate(self, commit: Commit, **_options: Any) -> Committed:
        """See MetadataLink."""
        await trio.sleep(self.commit_s)
        if self.refuse_commit is not None:
            raise self.refuse_commit
        self.commits.append(commit)
        known = {new.object for new in commit.objects}
        for file in commit.files:
            for extent in file.extents:
                assert extent.offset // CHUNK_BYTES == (extent.offset + extent.length - 1) // CHUNK_BYTES
                source = extent.source
                if extent.object_offset != INLINE:
                    assert source in known
                    source = self.stored[source][extent.object_offset :][: extent.length]
                assert len(source) == extent.length
                content = self.files.setdefault(file.inode, bytearray())
                end = extent.offset + extent.length
                content.extend(bytes(max(0, end - len(content))))
                content[extent.offset : end] = source
            self.changes[file.inode] = self.changes.get(file.inode, 5) + 1
        return Committed([CommittedFile(0, self.attributes(file.inode)) for file in commit.files])

    def mutate_soon(self, commit: Commit, on_done: Callable[[Committed | Refused], None], *, session: int) -> None:
        """See MetadataLink."""

        async def answer() -> None:
            try:
                committed: Committed | Refused = await self.mutate(commit)
            except Refused as refused:
                committed = refused
            on_done(committed)

        self.nursery.start_soon(answer)

    def attributes(self, number: int) -> Attributes:
        """As they are now."""
        return replace(EMPTY, inode=number, size_bytes=len(self.files.get(number, b"")), change=self.changes.get(number, 5))


class Desk:
    """A writer and its files."""

    def __init__(self, service: Service, inodes: InodeTable, writer: Writer) -> None:
        self.service = service
        self.inodes = inodes
        self.writer = writer

    def file(self, number: int) -> Inode:
        """An open file, empty."""
        inode = self.inodes.absorb(self.service.attributes(number), 1, own=False)
        inode.open_count = inode.write_count = 1
        inode.extents.all_loaded = True
        return inode


@asynccontextmanager
async def desk(dirty_bytes_max: int = 64 * MIB, interval_s: float = 1.0) -> AsyncIterator[Desk]:
    """A running writer."""
    async with trio.open_nursery() as nursery:
        service: Any = Service(nursery)
        inodes = InodeTable(service.holds)

        async def blocks(oid: bytes, first: int, count: int) -> memoryview:
            await trio.lowlevel.checkpoint()
            return memoryview(service.stored[oid])[first * BLOCK_BYTES : (first + count) * BLOCK_BYTES]

        async def loaded(_inode: Inode, _first: int, _count: int) -> None:
            raise AssertionError("everything is loaded")

        rewriter = Rewriter(service, service, inodes, BlockCache(fetched_by(blocks, nursery), MIB))
        writer = Writer(
            service,
            service,
            inodes,
            loaded,
            rewriter,
            lambda _inode: None,
            lambda _inode: None,
            dirty_bytes_max=dirty_bytes_max,
            commit_interval_s=interval_s,
        )
        await nursery.start(writer.run)
        yield Desk(service, inodes, writer)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("size_bytes", "inline"), [(1, True), (INLINE_FLUSH_BYTES, True), (INLINE_FLUSH_BYTES + 1, False)])
async def test_small_flushes_travel_inline(size_bytes: int, inline: bool, autojump_clock: trio.testing.MockClock) -> None:
    """Up to INLINE_FLUSH_BYTES go in the commit itself, more in an object; the bytes are right either way."""
    async with desk() as at:
        inode = at.file(1)
        at.writer.write(inode, 0, b"x" * size_bytes)
        await at.writer.flush([inode])
        (commit,) = at.service.commits
        assert {extent.object_offset == INLINE for extent in commit.files[0].extents} == {inline}
        assert at.service.files[1] == b"x" * size_bytes
        assert at.writer.dirty_bytes == 0
        assert not inode.dirty


async def test_inline_bytes_of_a_chunk_are_bounded(autojump_clock: trio.testing.MockClock) -> None:
    """However many small flushes there are, a chunk never has more inline bytes than INLINE_ROOM_BYTES."""
    async with desk() as at:
        inode = at.file(1)
        expected = b""
        for index in range(30):
            data = bytes([index]) * 9000
            at.writer.write(inode, len(expected), data)
            expected += data
            await at.writer.flush([inode])
            assert inode.extents.inline_bytes(0) <= INLINE_ROOM_BYTES
        assert at.service.files[1] == expected
        assert any(file.rewrite for commit in at.service.commits for file in commit.files), "it was destaged on the way"


async def test_flushes_that_wait_for_the_service_are_counted(autojump_clock: trio.testing.MockClock) -> None:
    """The bound counts flights under way, too: those that gather while commits take long."""
    async with desk(interval_s=0.2) as at:
        inode = at.file(1)
        at.service.commit_s = 30.0
        for index in range(100):
            at.writer.write(inode, index * 9000, b"x" * 9000)
            await trio.sleep(0.3)
            assert sum(flight.inline_bytes for flight in inode.dirty.flights) <= INLINE_ROOM_BYTES
        at.service.commit_s = 0.0
        await at.writer.flush([inode])
        assert at.service.files[1] == b"x" * 900_000


@pytest.mark.parametrize("before", [1, 100, 5 * MIB])
@pytest.mark.parametrize("after", [1, 100, 9 * MIB])
async def test_extents_end_at_chunk_boundaries(before: int, after: int, autojump_clock: trio.testing.MockClock) -> None:
    """No extent crosses a chunk's boundary, inline or not (the service checks each)."""
    async with desk() as at:
        inode = at.file(1)
        data = bytes(range(251)) * ((before + after) // 251 + 1)
        at.writer.write(inode, CHUNK_BYTES - before, data[: before + after])
        await at.writer.flush([inode])
        assert at.service.files[1][CHUNK_BYTES - before :] == data[: before + after]


async def test_small_files_share_objects(autojump_clock: trio.testing.MockClock) -> None:
    """A hundred files of 20 KiB that are flushed together need one object and one commit."""
    async with desk() as at:
        files = [at.file(number) for number in range(1, 101)]
        for inode in files:
            at.writer.write(inode, 0, bytes([inode.number]) * 20 * KIB)
        await at.writer.flush(files)
        assert len(at.service.stored) == 1
        assert len(at.service.commits) == 1
        assert all(at.service.files[inode.number] == bytes([inode.number]) * 20 * KIB for inode in files)


async def test_a_stream_becomes_whole_objects(autojump_clock: trio.testing.MockClock) -> None:
    """A sequential writer's objects are 8 MiB each, cut at multiples of that, and begun before any flush."""
    async with desk(interval_s=1000.0) as at:
        inode = at.file(1)
        for index in range(20):
            at.writer.write(inode, index * MIB, bytes([index]) * MIB)
        await trio.sleep(1)
        assert sorted(len(content) for content in at.service.stored.values()) == [OBJECT_BYTES_MAX] * 2
        assert len(at.service.files[1]) == 16 * MIB
        await at.writer.flush([inode])
        assert at.service.files[1] == b"".join(bytes([index]) * MIB for index in range(20))


async def test_a_stream_is_not_cut_because_much_is_on_its_way(autojump_clock: trio.testing.MockClock) -> None:
    """A stream that is faster than its puts waits for them, and still becomes whole objects only."""
    async with desk(dirty_bytes_max=32 * MIB) as at:
        inode = at.file(1)
        at.service.put_s = 0.5
        for index in range(96):
            await at.writer.wait_room()
            at.writer.write(inode, index * MIB, bytes([index]) * MIB)
            await trio.sleep(0.01)
        await at.writer.flush([inode])
        sizes = {new.size_bytes for commit in at.service.commits for new in commit.objects}
        assert sizes == {OBJECT_BYTES_MAX}


@pytest.mark.parametrize("write_bytes", [1000, 100_000, 3 * MIB])
async def test_what_is_dirty_is_bounded(write_bytes: int, autojump_clock: trio.testing.MockClock) -> None:
    """dirty_bytes passes its bound by one write at most, with many writers and slow nodes; puts at once are bounded, too."""
    limit = 10 * MIB
    async with desk(dirty_bytes_max=limit) as at:
        at.service.put_s = 5.0
        peak = 0

        async def write(number: int) -> None:
            nonlocal peak
            inode = at.file(number)
            for index in range(6 * MIB // write_bytes if write_bytes > 10_000 else 300):
                await at.writer.wait_room()
                at.writer.write(inode, index * write_bytes, bytes(write_bytes))
                peak = max(peak, at.writer.dirty_bytes)

        async with trio.open_nursery() as nursery:
            for number in range(1, 9):
                nursery.start_soon(write, number)
        assert peak <= limit + write_bytes
        await at.writer.flush_all()
        assert at.writer.dirty_bytes == 0
        assert at.service.puts_at_once_max <= 4


async def test_commits_of_a_file_are_in_order(autojump_clock: trio.testing.MockClock) -> None:
    """A flight that is put faster than the one before it waits for it; other files do not wait."""
    async with desk() as at:
        first, other = at.file(1), at.file(2)
        at.service.put_delays = {b"a": 10.0, b"b": 1.0, b"c": 1.0}
        at.writer.write(first, 0, b"a" * 20_000)
        await at.writer._take([first])
        at.writer.write(first, 10_000, b"b" * 20_000)
        await at.writer._take([first])
        at.writer.write(other, 0, b"c" * 20_000)
        await at.writer._take([other])
        await trio.sleep(5)
        assert set(at.service.files) == {2}
        await at.writer.flush([first])
        assert at.service.files[1] == b"a" * 10_000 + b"b" * 20_000


async def test_a_failed_put_is_an_error_of_its_files_only(autojump_clock: trio.testing.MockClock) -> None:
    """The flight is dropped and its file's handles are told; what is written later is committed."""
    async with desk() as at:
        inode, other = at.file(1), at.file(2)
        at.service.refuse_put = Refused(Code.NO_SPACE)
        at.writer.write(inode, 0, b"a" * 20_000)
        await at.writer.flush([inode])
        assert inode.error is not None
        assert (inode.error.code, inode.error_count) == (Code.NO_SPACE, 1)
        at.service.refuse_put = None
        at.writer.write(inode, 0, b"b" * 20_000)
        at.writer.write(other, 0, b"c" * 20_000)
        await at.writer.flush([inode, other])
        assert at.service.files == {1: b"b" * 20_000, 2: b"c" * 20_000}
        assert (inode.error_count, other.error_count) == (1, 0)
        assert at.writer.dirty_bytes == 0


@pytest.mark.parametrize("code", [Code.INVALID, Code.NO_SPACE, Code.IO])
async def test_a_refused_commit_ends(code: Code, autojump_clock: trio.testing.MockClock) -> None:
    """A commit that is refused for good drops its bytes and says so; nothing waits for ever, nothing stays dirty."""
    async with desk() as at:
        inode = at.file(1)
        at.service.refuse_commit = Refused(code)
        at.writer.write(inode, 0, b"a" * 20_000)
        with trio.fail_after(60):
            await at.writer.flush([inode])
        assert inode.error is not None
        assert inode.error.code is (Code.NO_SPACE if code is Code.NO_SPACE else Code.IO)
        assert at.writer.dirty_bytes == 0


async def test_objects_that_are_refused_again_and_again(autojump_clock: trio.testing.MockClock) -> None:
    """NO_OBJECT makes the writer put again a few times, not for ever."""
    async with desk() as at:
        inode = at.file(1)
        at.service.refuse_commit = Refused(Code.NO_OBJECT)
        at.writer.write(inode, 0, b"a" * 20_000)
        with trio.fail_after(60):
            await at.writer.flush([inode])
        assert inode.error is not None
        assert inode.error.code is Code.IO
        assert at.writer.dirty_bytes == 0


async def test_times_travel_with_the_commit(autojump_clock: trio.testing.MockClock) -> None:
    """Times that were set are committed without any byte, or with the bytes; the last ones count."""
    async with desk() as at:
        inode = at.file(1)
        inode.times = Times(mtime_ns=50)
        at.writer.touch(inode)
        await at.writer.flush([inode])
        assert (at.service.commits[-1].files[0].mtime_ns, at.service.commits[-1].files[0].atime_ns) == (50, -1)
        at.service.commit_s = 1.0
        for mtime_ns in (60, 70):
            inode.times.mtime_ns = mtime_ns
            at.writer.write(inode, 0, b"x")
            await at.writer._take([inode])
        await at.writer.flush([inode])
        assert at.service.commits[-1].files[0].mtime_ns == 70


async def test_many_fragments_go_in_several_commits(autojump_clock: trio.testing.MockClock) -> None:
    """Each commit fits a frame, whatever was written where."""
    async with desk() as at:
        inode = at.file(1)
        for index in range(30_000):
            at.writer.write(inode, index * 1000, b"x")
        await at.writer.flush([inode])
        assert at.service.files[1] == b"".join([b"x" + bytes(999)] * 30_000)[:-999]


async def test_discarded_bytes_are_gone(autojump_clock: trio.testing.MockClock) -> None:
    """What a truncate cut away from live bytes is neither dirty nor committed."""
    async with desk() as at:
        inode = at.file(1)
        at.writer.write(inode, 0, b"a" * 100)
        at.writer.discard(inode, 40)
        assert at.writer.dirty_bytes == 40
        await at.writer.flush([inode])
        assert at.service.files[1] == b"a" * 40


async def test_puts_are_repeated_under_a_new_session(autojump_clock: trio.testing.MockClock) -> None:
    """What was put under the old session is put again, and its commit expects the file as it was."""
    async with desk() as at:
        inode = at.file(1)
        at.service.commit_s = 100.0
        at.writer.write(inode, 0, b"a" * 20_000)
        await at.writer._take([inode])
        await trio.sleep(1)
        at.service.refuse_commit = Refused(Code.NO_SESSION)
        at.writer.session_renewed()
        assert inode.expected_change == 5
        await trio.sleep(100)
        at.service.refuse_commit, at.service.commit_s = None, 0.0
        await at.writer.flush([inode])
        assert at.service.commits[-1].files[0].expected_change == 5
        assert inode.expected_change == 0
        assert at.service.files[1] == b"a" * 20_000
