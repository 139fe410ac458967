"""`ringfs class set` over a whole cluster in memory: trees, interruptions, what stewards are told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from ringfs.base.errors import UserError
from ringfs.base.ids import ROOT_INODE
from ringfs.base.kv.prefix import scan_prefix
from ringfs.cli import class_
from ringfs.cli.class_ import Done
from ringfs.client.file_system import Caller
from ringfs.meta.namespace import keys
from ringfs.wire.messages.common import CLASS_XATTR
from ringfs.wire.packing import unpack
from ringfs.wire.rpc import RpcClient, open_client
from tests.support.meta_doubles import KEY
from tests.support.world import META, Mounted, World, open_world

CALLER = Caller()


class Quiet:
    """Nobody watches."""

    def step(self, what: str, done: int = 0, total: int | None = None) -> None:
        """See Progress."""


async def set_class(monkeypatch: pytest.MonkeyPatch, world: World, inode: int, text: str, *, recursive: bool) -> Done:
    """As the verb does it, with a client of its own."""

    @asynccontextmanager
    async def opened(*_where: Any) -> AsyncIterator[tuple[Any, int]]:
        mounted = await world.mount()
        yield mounted.fs, inode
        await mounted.close()

    @asynccontextmanager
    async def reach_leader(*_who: Any) -> AsyncIterator[RpcClient]:
        async with open_client(META, KEY, name="class", dial=world.network.dial) as client:
            yield client

    async def count(_self: Any, _inode: int) -> None:
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(class_, "_opened", opened)
    monkeypatch.setattr(class_, "reach_leader", reach_leader)
    monkeypatch.setattr(class_._Setting, "_count", count)
    setting: Any = class_._Setting(None, "tree", text, Quiet())  # type: ignore[arg-type]
    done: Done = await setting.run(inode, recursive, wait=False)
    return done


async def make_tree(client: Mounted) -> list[int]:
    """Inodes: a directory, one in it, and a file in each, with data on the ring and data that is dirty still."""
    top = (await client.fs.mkdir(ROOT_INODE, b"top", 0o755, CALLER)).number
    below = (await client.fs.mkdir(top, b"below", 0o755, CALLER)).number
    files = []
    for parent in (top, below):
        handle = await client.fs.create(parent, b"file", 0o644, CALLER, writes=True, exclusive=True)
        await client.fs.write(handle, 0, b"%d" % parent * 100_000)
        await client.fs.fsync(handle)
        await client.fs.write(handle, 1 << 20, b"dirty %d" % parent * 10_000)
        files.append(handle.inode.number)
    await client.fs.symlink(top, b"link", b"target", CALLER)
    return [top, below, *files]


def object_classes(world: World) -> set[str]:
    return {unpack(value)[2] for _, value in scan_prefix(world.leader.view, keys.OBJECT)}


async def test_a_tree(autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it, what is dirty in a mount included; stewards are to look; the second time nothing is left to do."""
    async with open_world(5) as world:
        client = await world.mount()
        inodes = await make_tree(client)
        epoch = world.handler.live.nodes.map.epoch
        done = await set_class(monkeypatch, world, inodes[0], "replica:3", recursive=True)
        assert (done.files, done.directories, done.changed_objects > 0) == (2, 2, True)
        assert world.handler.live.nodes.map.epoch == epoch + 2, "a new class, and something to do"
        assert [await client.fs.getxattr(each, CLASS_XATTR) for each in inodes] == [b"replica:3"] * 4
        await client.fs.sync()
        assert object_classes(world) == {"replica:3"}
        again = await set_class(monkeypatch, world, inodes[0], "replica:3", recursive=True)
        assert (again.changed_objects, world.handler.live.nodes.map.epoch) == (0, epoch + 2)
        await set_class(monkeypatch, world, inodes[0], "default", recursive=True)
        assert object_classes(world) == {"replica:2"}
        assert await client.fs.listxattr(inodes[3]) == []


async def test_a_directory_alone(autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in it already stays as it is."""
    async with open_world(6) as world:
        client = await world.mount()
        inodes = await make_tree(client)
        done = await set_class(monkeypatch, world, inodes[0], "replica:3", recursive=False)
        assert (done.files, done.directories, done.changed_objects) == (0, 1, 0)
        assert [await client.fs.getxattr(each, CLASS_XATTR) for each in inodes] == [b"replica:3", *[b"replica:2"] * 3]


async def test_a_file(autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its data follows."""
    async with open_world(7) as world:
        client = await world.mount()
        inodes = await make_tree(client)
        done = await set_class(monkeypatch, world, inodes[2], "replica:3", recursive=False)
        assert (done.files, done.directories, done.changed_objects > 0) == (1, 0, True)
        assert object_classes(world) == {"replica:2", "replica:3"}


async def test_too_wide(autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused for what it is, with the reason."""
    async with open_world(8) as world:
        client = await world.mount()
        inodes = await make_tree(client)
        with pytest.raises(UserError, match="needs 6 failure domains, there are 3"):
            await set_class(monkeypatch, world, inodes[0], "ec:4+2", recursive=True)
        assert await client.fs.getxattr(inodes[0], CLASS_XATTR) == b"replica:2"
