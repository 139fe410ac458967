"""A steward moves bytes of a file to another object, without a session: whoever caches the file hears of it first."""

from typing import Any

from ringfs.base.errors import Code
from ringfs.wire.messages.common import NOT_LEASED
from ringfs.wire.messages.heal import ListLive
from ringfs.wire.messages.namespace import Commit, Extent, FileCommit, NewObject
from ringfs.wire.messages.queries import ReadExtents
from ringfs.wire.messages.session import RECALL_DROP, RECALL_RETURN
from ringfs.wire.messages.sharing import Rewrite
from ringfs.wire.pieces import digest
from tests.support.meta_world import Client, MetaWorld
from tests.support.refusals import refused
from tests.support.world import until

OLD, NEW = bytes(range(20)), bytes(range(1, 21))
PIECES = [[0, 100, OLD, 900]]


async def file_with_old(world: MetaWorld, client: Client) -> int:
    """A file of the last 100 bytes of an object of 1000."""
    file = await client.make_file(b"f")
    new = NewObject(OLD, 1000, "replica:2", world.clock.wall_ns(), "replica:2")
    await client.mutate(Commit([new], [FileCommit(file, [Extent(0, 100, 900, OLD)], 100, -1, -1, 0, False)]))
    return file


def rewrite_of(world: MetaWorld, file: int, pieces: list[list[Any]] = PIECES) -> Rewrite:
    """The same bytes in an object of their own."""
    new = NewObject(NEW, 100, "replica:2", world.clock.wall_ns(), "replica:2")
    return Rewrite(file, [new], [Extent(0, 100, 0, NEW)], digest(pieces))


async def live(client: Client) -> list[bytes]:
    """Ids of the live objects."""
    return [row.object for row in (await client.ask(ListLive(b"", b"", 10))).objects]


async def test_compare_and_swap(autojump_clock: object) -> None:
    """It is done once, durably, if what was read is still there; the object that nothing points to is dead."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        file = await file_with_old(world, alice)
        read = await alice.ask(ReadExtents(file, 0, 1))
        assert [(each.offset, each.length, each.source, each.object_offset) for each in read.extents] == [(0, 100, OLD, 900)]
        assert read.leased == NOT_LEASED
        with refused(Code.CHANGED):
            await alice.ask(rewrite_of(world, file, [[0, 100, OLD, 800]]))
        assert await live(alice) == [OLD]
        assert (await alice.ask(rewrite_of(world, file))).inode == file
        with refused(Code.CHANGED):
            await alice.ask(rewrite_of(world, file))
        await world.restart()
        await alice.resume()
        assert await live(alice) == [NEW]
        with refused(Code.STALE):
            await alice.ask(rewrite_of(world, 999))


async def test_who_caches_the_extents_forgets_them(autojump_clock: object) -> None:
    """The answer comes once that was confirmed: nobody goes to an object that may be deleted."""
    async with MetaWorld.open() as world:
        alice, bob = await world.client("alice"), await world.client("bob")
        file = await file_with_old(world, alice)
        await bob.query(ReadExtents(file, 0, 1))
        bob.obeys = False
        asked = alice.later(rewrite_of(world, file))
        await until(lambda: bool(bob.recalls))
        (recall,) = bob.recalls
        assert [(item.inode, item.kind) for item in recall.items] == [(file, RECALL_DROP)]
        assert not asked.is_done
        await bob.obey(recall)
        assert (await asked.wait()).inode == file


async def test_a_delegation_is_given_back_before(autojump_clock: object) -> None:
    """What a client did ahead on the file is there before the rewrite looks; then it forgets what it cached."""
    async with MetaWorld.open() as world:
        alice, bob = await world.client("alice"), await world.client("bob")
        file = await file_with_old(world, alice)
        alice.obeys = False
        asked = bob.later(rewrite_of(world, file))
        for kind in (RECALL_RETURN, RECALL_DROP):
            await until(lambda: bool(alice.recalls))
            (recall,) = alice.recalls
            assert [(item.inode, item.kind) for item in recall.items] == [(file, kind)]
            assert await live(bob) == ([OLD] if kind == RECALL_RETURN else [NEW])
            assert not asked.is_done
            alice.pushed.clear()
            await alice.obey(recall)
        assert (await asked.wait()).inode == file
