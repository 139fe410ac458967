"""Stewards and operators at the metadata server: what is live, reports of healing, standings, removal."""

from contextlib import suppress
from dataclasses import replace

import pytest
import trio

from ringfs.base.errors import Code, ConnectionLost, Refused
from ringfs.meta.nodes import LATE_COMMITS_NS
from ringfs.wire.messages.cluster import (
    NODE_DOWN,
    STANDING_DRAINING,
    STANDING_IN,
    STANDING_LOST,
    STANDING_MAINTENANCE,
    GetMap,
    GetStatus,
    JoinNode,
    MapChanged,
    NodeHeartbeat,
    Reaped,
)
from ringfs.wire.messages.common import CLASS_XATTR, Done
from ringfs.wire.messages.heal import (
    GetHeal,
    HealReport,
    ListLive,
    ListReferences,
    Reform,
    Reformed,
    RemoveNode,
    ReplaceDisk,
    SetStanding,
    SetWeight,
    Sweep,
)
from ringfs.wire.messages.namespace import Commit, Extent, FileCommit, NewObject, SetXattr
from tests.support.heal_reports import REPORT
from tests.support.meta_doubles import CONFIG
from tests.support.meta_world import Client, MetaWorld
from tests.support.refusals import refused

OID = bytes(range(20))


def report(node: int, clean_epoch: int, unhealable: int = 0, waiting: int = 0) -> HealReport:
    return replace(REPORT, node=node, clean_epoch=clean_epoch, unhealable=unhealable, waiting=waiting)


async def beat(client: Client, node: int, count: int = 7) -> None:
    await client.ask(NodeHeartbeat(node, 1, 0, 1 << 30, count, f"fs{node}", 1 << 30, ""))


async def join(client: Client, number: int) -> int:
    joined = await client.ask(JoinNode(f"uuid{number}", f"data{number}", f"host:{number}", f"domain{number}", 100))
    await beat(client, joined.node)
    node: int = joined.node
    return node


async def test_objects(autojump_clock: object) -> None:
    """A committed object is listed with its form, which stewards change; its references are found; sweeping leaves it."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        node = await join(alice, 1)
        file = await alice.make_file(b"f")
        new = NewObject(OID, 1000, "replica:2", world.clock.wall_ns(), "replica:2")
        await alice.mutate(Commit([new], [FileCommit(file, [Extent(0, 1000, 0, OID)], -1, -1, -1, 0, False)]))
        (found,) = (await alice.ask(ListLive(b"", b"", 100))).objects
        assert (found.object, found.stored_class, found.form) == (OID, "replica:2", "replica:2")
        assert (await alice.ask(Reform([Reformed(OID, "replica:2", "ec:2+1")]))).objects == [OID]
        assert (await alice.ask(ListLive(b"", b"", 100))).objects[0].form == "ec:2+1"
        assert (await alice.ask(ListReferences(OID, 0, 0, 10))).references[0].inode == file
        assert (await alice.ask(Sweep(node, [OID, bytes(20)]))).count == 1
        await world.restart()
        await alice.resume()
        assert (await alice.ask(ListLive(b"", b"", 100))).objects[0].form == "ec:2+1"


async def test_healed_is_what_all_stewards_say_of_this_epoch(autojump_clock: object) -> None:
    """Every node that is up and has a share has been through with it; another epoch, and nobody has."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        assert not (await alice.ask(GetHeal())).is_healed, "nobody is there to say so"
        nodes = [await join(alice, number) for number in (1, 2, 3)]
        epoch = (await alice.ask(GetMap())).epoch
        for node in nodes:
            assert not (await alice.ask(GetHeal())).is_healed
            assert await alice.ask(report(node, epoch)) == Done()
        status = await alice.ask(GetHeal())
        assert (status.epoch, status.is_healed, [each.node for each in status.reports]) == (epoch, True, nodes)
        changed = await alice.ask(SetStanding("data3", STANDING_DRAINING, 0))
        assert not (await alice.ask(GetHeal())).is_healed
        for node in nodes[:2]:
            await alice.ask(report(node, changed.epoch))
        assert (await alice.ask(GetHeal())).is_healed, "what drains has no share"
        with refused(Code.NOT_FOUND):
            await alice.ask(report(99, 1))


async def test_wishes_are_pushed(autojump_clock: object) -> None:
    """Each is a new map, told to sessions; what is refused is not."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        for number in (1, 2, 3):
            await join(alice, number)
        heavier = await alice.ask(SetWeight("data1", 300))
        pushed = [push.map for push in alice.pushed if isinstance(push, MapChanged)]
        assert pushed[-1] == heavier
        assert heavier.nodes[0].weight == 300
        with refused(Code.INVALID):
            await alice.ask(SetWeight("data1", 0))
        joined = await alice.ask(JoinNode("uuid1", "data1", "host:1", "domain1", 100))
        assert joined.map == heavier, "the operator's weight stays, and nothing is new"
        assert (await alice.ask(JoinNode("uuid1", "data1", "host:1", "domain1", 100, True))).map.epoch == heavier.epoch + 1


async def test_removal_waits_for_what_the_node_holds(autojump_clock: object) -> None:
    """Drained, and all stewards are through: it goes, and is not taken back. Before: BUSY, with what is to be waited for. While it
    is IN there is nothing to wait for, but something to be done, also if not all is healed."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        nodes = [await join(alice, number) for number in (1, 2, 3)]
        assert not (await alice.ask(GetHeal())).is_healed
        with pytest.raises(Refused, match="data3 is in: drain it first") as met:
            await alice.ask(RemoveNode("data3"))
        assert met.value.code is Code.INVALID
        epoch = (await alice.ask(SetStanding("data3", STANDING_DRAINING, 0))).epoch
        await alice.ask(report(nodes[0], epoch))
        with pytest.raises(Exception, match="data2"):
            await alice.ask(RemoveNode("data3"))
        await alice.ask(report(nodes[1], epoch, unhealable=3))
        with pytest.raises(Exception, match="3 objects"):
            await alice.ask(RemoveNode("data3"))
        await alice.ask(report(nodes[1], epoch, waiting=2))
        with pytest.raises(Exception, match="2 objects wait for a place"):
            await alice.ask(RemoveNode("data3"))
        await alice.ask(report(nodes[1], epoch))
        assert [node.name for node in (await alice.ask(RemoveNode("data3"))).nodes] == ["data1", "data2"]
        with refused(Code.NOT_FOUND):
            await beat(alice, nodes[2])
        with refused(Code.NODE_REMOVED):
            await join(alice, 3)


async def test_removal_waits_for_late_commits_of_single_copies(autojump_clock: object) -> None:
    """A client that has not heard of the drain may put the only copy there: stewards look once more after a minute."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        nodes = [await join(alice, number) for number in (1, 2, 3)]
        file = await alice.make_file(b"f")
        await alice.mutate(SetXattr(file, CLASS_XATTR, b"replica:1", 0, False))
        epoch = (await alice.ask(SetStanding("data3", STANDING_DRAINING, 0))).epoch
        for node in nodes:
            world.nursery.start_soon(beats, alice, node)
        for node in nodes[:2]:
            await alice.ask(report(node, epoch))
        with pytest.raises(Exception, match="may still commit"):
            await alice.ask(RemoveNode("data3"))
        await trio.sleep(LATE_COMMITS_NS / 1e9 + 1)
        with refused(Code.BUSY):
            await alice.ask(RemoveNode("data3"))
        assert (await alice.ask(GetHeal())).epoch == epoch + 1
        for node in nodes[:2]:
            await alice.ask(report(node, epoch + 1))
        await alice.ask(RemoveNode("data3"))
        alice.is_ended = True


async def test_what_never_held_anything_goes_at_once(autojump_clock: object) -> None:
    """Its own heartbeat says so; not while it is IN."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        for number in (1, 2, 3):
            await join(alice, number)
        await beat(alice, 3, count=0)
        with refused(Code.INVALID):
            await alice.ask(RemoveNode("data3"))
        await alice.ask(SetStanding("data3", STANDING_DRAINING, 0))
        assert len((await alice.ask(RemoveNode("data3"))).nodes) == 2


async def standing(client: Client, number: int) -> int:
    found: int = (await client.ask(GetMap())).nodes[number - 1].standing
    return found


async def test_silent_nodes_are_lost_and_found(autojump_clock: object) -> None:
    """After out_after_s; a restart of the server in between begins the time anew; a heartbeat brings the node back."""
    out_after_s = CONFIG.ring.out_after_s
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        nodes = [await join(alice, number) for number in (1, 2, 3)]
        for node in nodes[:2]:
            world.nursery.start_soon(beats, alice, node)
        await trio.sleep(out_after_s - 10)
        await world.restart()
        await alice.resume()
        await trio.sleep(out_after_s - 10)
        assert await standing(alice, 3) == STANDING_IN
        await trio.sleep(20)
        assert await standing(alice, 3) == STANDING_LOST
        await beat(alice, nodes[2])
        assert await standing(alice, 3) == STANDING_IN
        alice.is_ended = True


async def beats(client: Client, node: int) -> None:
    while not client.is_ended:
        with suppress(ConnectionLost):
            await beat(client, node)
        await trio.sleep(1)


async def test_maintenance_keeps_a_silent_node_and_ends(autojump_clock: object) -> None:
    """Down for the whole time, it is not lost; then it is IN, and lost like any other."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        nodes = [await join(alice, number) for number in (1, 2, 3)]
        for node in nodes[:2]:
            world.nursery.start_soon(beats, alice, node)
        await alice.ask(SetStanding("data3", STANDING_MAINTENANCE, 3600))
        await trio.sleep(3590)
        assert await standing(alice, 3) == STANDING_MAINTENANCE
        await trio.sleep(20)
        assert await standing(alice, 3) == STANDING_LOST
        maps = [push.map for push in alice.pushed if isinstance(push, MapChanged)]
        assert [each.nodes[2].standing for each in maps[-3:]] == [STANDING_MAINTENANCE, STANDING_IN, STANDING_LOST]
        alice.is_ended = True


async def test_verdicts_do_not_wait_for_who_is_lost(autojump_clock: object) -> None:
    """When a node is lost, what the others have deleted long ago is forgotten."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        nodes = [await join(alice, number) for number in (1, 2, 3)]
        for node in nodes[:2]:
            world.nursery.start_soon(beats, alice, node)
        await alice.mutate(Commit([NewObject(OID, 1000, "replica:2", world.clock.wall_ns(), "replica:2")], []))
        await trio.sleep(90)
        for node in nodes[:2]:
            await alice.ask(Reaped(node, 1))
        assert (await alice.ask(GetStatus())).dead_bytes == 1000
        await trio.sleep(CONFIG.ring.out_after_s)
        assert (await alice.ask(GetStatus())).dead_bytes == 0
        alice.is_ended = True


async def test_another_disk(autojump_clock: object) -> None:
    """Once the node is down; the new one has its number."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        node = await join(alice, 1)
        with refused(Code.BUSY):
            await alice.ask(ReplaceDisk("data1"))
        await trio.sleep(7)
        assert (await alice.ask(ReplaceDisk("data1"))).nodes[0].state == NODE_DOWN
        joined = await alice.ask(JoinNode("new", "data1", "host:1", "domain1", 100))
        assert (joined.node, joined.map.nodes[0].standing, joined.map.nodes[0].seed) == (node, STANDING_IN, "uuid1")
