"""Clones of trees: everything that a tree is, all at once, and nothing of them if they fail."""

from typing import Any

import pytest
import trio

from ringfs.base.errors import Code
from ringfs.base.ids import ROOT_INODE
from ringfs.client.cloning import HIDDEN_PREFIX, Cloner
from ringfs.client.file_system import Caller, Changes, FileSystem
from tests.support.refusals import refused
from tests.support.world import Mounted, open_world, until

CALLER = Caller(1000, 1000, 0)


async def names(fs: FileSystem, number: int = ROOT_INODE) -> list[bytes]:
    return [entry.name for entry in (await fs.readdir(number, 0, 4096)).entries]


async def write_file(fs: FileSystem, parent: int, name: bytes, data: bytes, mode: int = 0o100644) -> int:
    handle = await fs.create(parent, name, mode, CALLER, writes=True, exclusive=True)
    await fs.write(handle, 0, data)
    await fs.release(handle)
    return handle.inode.number


async def make_tree(client: Mounted) -> int:
    """Files with several names in two directories, a symlink, a fifo, an empty directory, many entries, times of long ago."""
    fs = client.fs
    top = (await fs.mkdir(ROOT_INODE, b"tree", 0o2750, CALLER)).number
    below = (await fs.mkdir(top, b"below", 0o1777, CALLER)).number
    await fs.mkdir(below, b"empty", 0o700, CALLER)
    linked = await write_file(fs, top, b"linked", b"one" * 40_000, 0o104755)
    await fs.link_to(linked, below, b"again")
    await fs.link_to(linked, top, b"and again")
    await fs.setxattr(linked, b"user.a", b"value")
    await fs.symlink(below, b"symlink", b"../linked", CALLER)
    await fs.mknod(below, b"fifo", 0o010644, 0, CALLER)
    for index in range(600):
        await write_file(fs, below, b"%03d" % index, b"%d" % index)
    for number in (linked, below, top):
        await fs.setattr(number, Changes(mtime_ns=5 * 10**9, atime_ns=10**9))
    return top


async def described(fs: FileSystem, number: int, path: bytes = b"") -> dict[bytes, Any]:
    """All that is in a tree, by path; inodes with several names by their first path. Not atime, which looking moves."""
    found: dict[bytes, Any] = {}
    first: dict[int, bytes] = {}
    todo = [(path, number)]
    while todo:
        path, number = todo.pop(0)
        inode = await fs.getattr(number)
        seen = inode.merged()
        content: Any = None
        if seen.mode >> 12 == 0o04:
            page = (await fs.readdir(number, 0, 4096)).entries
            todo += sorted((path + b"/" + entry.name, entry.attributes.inode) for entry in page)
        elif seen.mode >> 12 == 0o10:
            handle = await fs.open(number, writes=False)
            content = bytes(await fs.read(handle, 0, 1 << 20))
            await fs.release(handle)
        elif seen.mode >> 12 == 0o12:
            content = await fs.readlink(number)
        xattrs = [(name, await fs.getxattr(number, name)) for name in await fs.listxattr(number)]
        same_as = first.setdefault(number, path)
        fields = (seen.mode, seen.uid, seen.gid, seen.links, seen.size_bytes, seen.mtime_ns)
        found[path] = (same_as, fields, content, xattrs)
    return found


async def test_a_tree(autojump_clock: trio.testing.MockClock) -> None:
    """What another client sees of it is what the source is; nothing else is left beside it."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        top = await make_tree(one)
        cloner = Cloner(two.fs)
        await cloner.clone(top, ROOT_INODE, b"clone")
        made = await one.fs.lookup(ROOT_INODE, b"clone")
        assert made.merged().atime_ns == (await one.fs.lookup(made.number, b"linked")).merged().atime_ns == 10**9
        assert await described(one.fs, made.number) == await described(one.fs, top)
        assert await names(one.fs) == [b"tree", b"clone"]
        assert (cloner.counts.files, cloner.counts.directories) == (603, 3)
        world.check()


async def test_it_appears_when_it_is_complete(autojump_clock: trio.testing.MockClock) -> None:
    """Whoever looks meanwhile finds no such name, and then all of it."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        top = await make_tree(one)
        for link in two.port.links():
            link.delay(0.05)
        looks = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Cloner(two.fs).clone, top, ROOT_INODE, b"clone")
            while b"clone" not in await names(one.fs):
                looks += 1
                await trio.sleep(0.1)
            made = await one.fs.lookup(ROOT_INODE, b"clone")
            assert await described(one.fs, made.number) == await described(one.fs, top)
        assert looks > 3


async def test_a_single_file(autojump_clock: trio.testing.MockClock) -> None:
    """And a symlink, which is not followed."""
    async with open_world(1) as world:
        client = await world.mount()
        await make_tree(client)
        tree = (await client.fs.lookup(ROOT_INODE, b"tree")).number
        below = (await client.fs.lookup(tree, b"below")).number
        cloner = Cloner(client.fs)
        await cloner.clone((await client.fs.lookup(tree, b"linked")).number, below, b"file")
        await cloner.clone((await client.fs.lookup(below, b"symlink")).number, tree, b"link")
        assert (await client.fs.lookup(below, b"file")).attributes.links == 1
        assert await client.fs.readlink((await client.fs.lookup(tree, b"link")).number) == b"../linked"


async def test_impossible(autojump_clock: trio.testing.MockClock) -> None:
    """To a name that is there, into itself, of nothing: nothing is made."""
    async with open_world(1) as world:
        client = await world.mount()
        top = await make_tree(client)
        below = (await client.fs.lookup(top, b"below")).number
        for source, parent, name, code in (
            (top, ROOT_INODE, b"tree", Code.EXISTS),
            (top, top, b"clone", Code.INVALID),
            (top, below, b"clone", Code.INVALID),
            (999_999, ROOT_INODE, b"clone", Code.STALE),
        ):
            with refused(code):
                await Cloner(client.fs).clone(source, parent, name)
        assert await names(client.fs) == [b"tree"]
        assert b"clone" not in await names(client.fs, top) + await names(client.fs, below)


async def test_a_name_that_was_taken_meanwhile(autojump_clock: trio.testing.MockClock) -> None:
    """EXISTS, and nothing of the clone is left."""
    async with open_world(1) as world:
        client = await world.mount()
        top = await make_tree(client)
        for link in client.port.links():
            link.delay(0.005)
        cloner = Cloner(client.fs)
        with pytest.RaisesGroup(pytest.RaisesExc(Exception, match="exists")):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cloner.clone, top, ROOT_INODE, b"clone")
                await until(lambda: cloner.counts.files > 100)
                await client.fs.mkdir(ROOT_INODE, b"clone", 0o755, CALLER)
                await trio.sleep_forever()
        assert await names(client.fs) == [b"tree", b"clone"]
        world.check()


async def test_leftovers(autojump_clock: trio.testing.MockClock) -> None:
    """What a killed clone leaves stays hidden while its session lives, and is removed by the next clone after that."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        top = await make_tree(one)
        session = two.fs.link.session
        for link in two.port.links():
            link.delay(0.05)
        async with trio.open_nursery() as nursery:
            cloner = Cloner(two.fs)
            nursery.start_soon(cloner.clone, top, ROOT_INODE, b"clone")
            await until(lambda: cloner.counts.files > 100)
            await two.crash()
            nursery.cancel_scope.cancel()
        hidden = b"%s%d.1" % (HIDDEN_PREFIX, session)
        assert await names(one.fs) == [b"tree", hidden]
        cloner = Cloner(one.fs)
        assert await cloner.remove_leftovers(ROOT_INODE, [session]) == 0
        await write_file(one.fs, ROOT_INODE, HIDDEN_PREFIX + b"mine", b"")
        assert await cloner.remove_leftovers(ROOT_INODE, [one.fs.link.session]) == 1
        assert await names(one.fs) == [b"tree", HIDDEN_PREFIX + b"mine"]
        world.check()
