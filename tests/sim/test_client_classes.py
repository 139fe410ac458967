"""Classes of service as applications see and set them: the attribute, inheritance, what new bytes are stored as."""

import pytest
import trio

from ringfs.base.errors import Code
from ringfs.base.ids import ROOT_INODE
from ringfs.base.kv.prefix import scan_prefix
from ringfs.client.file_system import Caller, Handle
from ringfs.meta.namespace import keys
from ringfs.wire.messages.common import CLASS_XATTR
from ringfs.wire.packing import unpack
from tests.support.refusals import refused
from tests.support.world import Mounted, World, open_world

CALLER = Caller()


async def directory(client: Mounted, name: bytes, text: bytes = b"") -> int:
    """Made, with a class."""
    made = await client.fs.mkdir(ROOT_INODE, name, 0o755, CALLER)
    if text:
        await client.fs.setxattr(made.number, CLASS_XATTR, text)
    return made.number


async def written(client: Mounted, parent: int, name: bytes, data: bytes) -> Handle:
    handle = await client.fs.create(parent, name, 0o644, CALLER, writes=True, exclusive=True)
    await client.fs.write(handle, 0, data)
    return handle


def content(parent: int, index: int) -> bytes:
    return (b"%d %d " % (parent, index)).ljust(100, b".") * 300


def classes_of_objects(world: World) -> dict[int, set[str]]:
    """By inode, the classes of the objects that it points to."""
    found: dict[int, set[str]] = {}
    for key, _ in scan_prefix(world.leader.view, keys.REFERENCE):
        row = world.leader.view.get(keys.object_row(key[1:21]))
        assert row is not None
        found.setdefault(keys.number_at(key, 21), set()).add(unpack(row)[2])
    return found


async def test_shown_inherited_and_removed(autojump_clock: trio.testing.MockClock) -> None:
    """Also to another client that had cached what was before; listed only where it was set."""
    async with open_world(3) as world:
        client, other = await world.mount(), await world.mount()
        top = await directory(client, b"top")
        assert await other.fs.getxattr(top, CLASS_XATTR) == b"replica:2"
        assert await other.fs.listxattr(top) == []
        await client.fs.setxattr(top, CLASS_XATTR, b"ec:2+1")
        for each in (client, other):
            assert await each.fs.getxattr(top, CLASS_XATTR) == b"ec:2+1"
            assert await each.fs.listxattr(top) == [CLASS_XATTR]
        below = await client.fs.mkdir(top, b"below", 0o755, CALLER)
        handle = await client.fs.create(below.number, b"file", 0o644, CALLER, writes=True, exclusive=True)
        found = await other.fs.lookup((await other.fs.lookup(top, b"below")).number, b"file")
        assert found.number == handle.inode.number
        for each in (client, other):
            assert await each.fs.getxattr(found.number, CLASS_XATTR) == b"ec:2+1"
        await other.fs.removexattr(handle.inode.number, CLASS_XATTR)
        for each in (client, other):
            assert await each.fs.getxattr(handle.inode.number, CLASS_XATTR) == b"replica:2"
            assert await each.fs.listxattr(handle.inode.number) == []
        with refused(Code.NO_XATTR):
            await client.fs.removexattr(handle.inode.number, CLASS_XATTR)


@pytest.mark.parametrize("text", [b"gold", b"ec:4+2"])
async def test_refused(autojump_clock: trio.testing.MockClock, text: bytes) -> None:
    """What is no class, and what needs more domains than three; nothing changes."""
    async with open_world(3) as world:
        client = await world.mount()
        top = await directory(client, b"top")
        with refused(Code.INVALID):
            await client.fs.setxattr(top, CLASS_XATTR, text)
        assert await client.fs.getxattr(top, CLASS_XATTR) == b"replica:2"


async def test_new_bytes_are_stored_in_the_files_class(autojump_clock: trio.testing.MockClock) -> None:
    """Files of two classes that are flushed together share no object; after a change, new bytes have the new class."""
    async with open_world(3) as world:
        client = await world.mount()
        plain, firm = await directory(client, b"plain"), await directory(client, b"firm", b"replica:3")
        handles = [
            await written(client, parent, b"%d" % index, content(parent, index)) for index in range(4) for parent in (plain, firm)
        ]
        await client.fs.sync()
        inodes = [handle.inode.number for handle in handles]
        assert classes_of_objects(world) == dict(zip(inodes, [{"replica:2"}, {"replica:3"}] * 4, strict=True))
        await client.fs.setxattr(inodes[0], CLASS_XATTR, b"replica:3")
        await client.fs.write(handles[0], 30_000, b"z" * 30_000)
        await client.fs.fsync(handles[0])
        assert classes_of_objects(world)[inodes[0]] == {"replica:2", "replica:3"}
        assert bytes(await client.fs.read(handles[0], 29_990, 20)) == b"." * 10 + b"z" * 10


async def test_a_class_that_is_new_while_the_service_was_away(autojump_clock: trio.testing.MockClock) -> None:
    """It is known after a restart, and to clients that come back."""
    async with open_world(3) as world:
        client, other = await world.mount(), await world.mount()
        top = await directory(client, b"top", b"replica:3")
        await world.restart_meta()
        assert await other.fs.getxattr(top, CLASS_XATTR) == b"replica:3"
        handle = await written(other, top, b"file", b"x" * 100_000)
        await other.fs.fsync(handle)
        assert classes_of_objects(world)[handle.inode.number] == {"replica:3"}
