"""Two clients see each other's changes: nothing is served from a cache that a lease does not cover."""

import pytest
import trio

from ringfs.base.errors import Code, Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.client.file_system import Caller, Changes, Handle
from tests.support.seeds import seeds
from tests.support.world import META, Mounted, open_world

CALLER = Caller()


async def made(client: Mounted, name: bytes = b"file", data: bytes = b"content") -> Handle:
    """A file, open for writing, with something in it that is committed."""
    handle = await client.fs.create(ROOT_INODE, name, 0o100644, CALLER, writes=True, exclusive=True)
    await client.fs.write(handle, 0, data)
    await client.fs.fsync(handle)
    return handle


async def content(client: Mounted, name: bytes = b"file") -> bytes:
    """What an application reads that opens the file by its name now."""
    inode = await client.fs.lookup(ROOT_INODE, name)
    handle = await client.fs.open(inode.number, writes=False)
    found = bytes(await client.fs.read(handle, 0, 1 << 24))
    await client.fs.release(handle)
    return found


async def exists(client: Mounted, name: bytes) -> bool:
    """Whether a lookup finds it."""
    try:
        await client.fs.lookup(ROOT_INODE, name)
    except Refused as refused:
        if refused.code is not Code.NOT_FOUND:
            raise
        return False
    return True


async def test_the_answer_of_a_change_is_no_lease(autojump_clock: trio.testing.MockClock) -> None:
    """A client that changed attributes, xattrs or names of what it has no lease of asks again the next time."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        number = (await made(two)).inode.number
        await one.fs.setattr(number, Changes(mode=0o600))
        await two.fs.setattr(number, Changes(mode=0o640))
        assert (await one.fs.getattr(number)).attributes.mode == 0o100640
        await one.fs.setxattr(number, b"user.a", b"1")
        await two.fs.setattr(number, Changes(mode=0o644))
        assert (await one.fs.getattr(number)).attributes.mode == 0o100644
        await one.fs.link_to(number, ROOT_INODE, b"other")
        await one.fs.unlink(ROOT_INODE, b"other")
        await two.fs.mknod(ROOT_INODE, b"new", 0o100644, 0, CALLER)
        assert (await one.fs.getattr(ROOT_INODE)).attributes.size_bytes == (await two.fs.getattr(ROOT_INODE)).attributes.size_bytes
        await one.fs.rename(ROOT_INODE, b"new", ROOT_INODE, b"newer", 0)
        await two.fs.unlink(ROOT_INODE, b"newer")
        assert not await exists(one, b"newer")


async def test_names_from_before_a_lost_connection(autojump_clock: trio.testing.MockClock) -> None:
    """A change of ours in a directory does not bring back what was cached of it before its lease was lost."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        directory = (await one.fs.mkdir(ROOT_INODE, b"d", 0o755, CALLER)).number
        await one.fs.mknod(directory, b"old", 0o100644, 0, CALLER)
        one.port.cut(META)
        await trio.sleep(0.01)
        await two.fs.mknod(directory, b"foreign", 0o100644, 0, CALLER)
        await two.fs.unlink(directory, b"old")
        await trio.sleep(1)
        await one.fs.mknod(directory, b"own", 0o100644, 0, CALLER)
        await one.fs.lookup(directory, b"foreign")
        with pytest.raises(Refused):
            await one.fs.lookup(directory, b"old")


async def test_extents_from_before_a_lost_connection(autojump_clock: trio.testing.MockClock) -> None:
    """A change of ours does not bring back extents that were cached before the lease was lost."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        theirs = await made(two, data=b"a" * 1000)
        await two.fs.release(theirs)
        await trio.sleep(5)
        assert await content(one) == b"a" * 1000
        one.port.cut(META)
        await trio.sleep(0.01)
        theirs = await two.fs.open(theirs.inode.number, writes=True)
        await two.fs.write(theirs, 0, b"b" * 500)
        await two.fs.fsync(theirs)
        await two.fs.release(theirs)
        await trio.sleep(5)
        await one.fs.setattr(theirs.inode.number, Changes(size_bytes=900))
        await one.fs.getattr(theirs.inode.number)
        expected = b"b" * 500 + b"a" * 400
        assert await content(one) == expected
        assert await content(two) == expected


@pytest.mark.parametrize("seed", seeds(5))
async def test_changes_of_one_directory_at_once(seed: int, autojump_clock: trio.testing.MockClock) -> None:
    """Tasks that make and remove the same names at once leave the cache as the directory is, in whatever order they get answers."""
    async with open_world(seed) as world:
        client, other = await world.mount(), await world.mount("other")
        directory = (await client.fs.mkdir(ROOT_INODE, b"d", 0o755, CALLER)).number
        names = [b"%d" % index for index in range(4)]

        async def churn() -> None:
            for _ in range(15):
                name, onto = world.draw.choice(names), world.draw.choice(names)
                try:
                    match world.draw.randrange(3):
                        case 0:
                            await client.fs.mknod(directory, name, 0o100644, 0, CALLER)
                        case 1:
                            await client.fs.unlink(directory, name)
                        case 2:
                            await client.fs.rename(directory, name, directory, onto, 0)
                except Refused as refused:
                    if refused.code not in (Code.EXISTS, Code.NOT_FOUND):
                        raise

        for _ in range(10):
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(churn)
            for name in names:
                found = []
                for each in (client, other):
                    try:
                        found.append((await each.fs.lookup(directory, name)).number)
                    except Refused:
                        found.append(0)
                assert found[0] == found[1], f"seed {seed}: {name!r} is {found[0]} in the cache, and {found[1]} in the directory"


async def test_rename_of_one_name_of_an_inode_onto_another(autojump_clock: trio.testing.MockClock) -> None:
    """rename(2): if both names stand for the same inode, nothing happens."""
    async with open_world(1) as world:
        client = await world.mount()
        handle = await made(client)
        await client.fs.link_to(handle.inode.number, ROOT_INODE, b"other")
        await client.fs.rename(ROOT_INODE, b"file", ROOT_INODE, b"other", 0)
        assert [await exists(client, name) for name in (b"file", b"other")] == [True, True]
        await client.fs.rename(ROOT_INODE, b"file", ROOT_INODE, b"file", 0)
        assert await exists(client, b"file")


async def test_extents_that_another_client_moved(autojump_clock: trio.testing.MockClock) -> None:
    """A client that cached extents reads on after another one moved the bytes, and the old object was deleted everywhere."""
    async with open_world(1, cache_bytes_max=100_000) as world:
        one, two = await world.mount("one"), await world.mount("two")
        handle = await made(one, data=b"x" * 200_000)
        expected = bytearray(b"x" * 200_000)
        await one.fs.release(handle)
        await trio.sleep(3)
        reading = await two.fs.open(handle.inode.number, writes=False)
        assert await two.fs.read(reading, 0, 1 << 20) == expected
        await move_bytes(one, handle.inode.number)
        await trio.sleep(200)
        assert world.nodes[0].held or world.nodes[1].held
        assert await two.fs.read(reading, 0, 1 << 20) == expected


async def move_bytes(client: Mounted, number: int) -> None:
    """Rewrite a file's first chunk, as the client does when it is scattered."""
    inode = await client.fs.getattr(number)
    await client.fs.reader.load(inode, 0, 1)
    rewriter = client.fs.writer._rewriter
    pieces = inode.extents.chunk_pieces(0)
    middle = pieces[0].stop // 2
    await rewriter._exclusively(inode, 0, [pieces[0].cut(0, middle)])
    await rewriter._exclusively(inode, 0, [pieces[0].cut(middle, pieces[0].stop)])
    assert len(inode.extents.chunk_pieces(0)) == 2, "it was moved"
