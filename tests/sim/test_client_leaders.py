"""Clients of three metadata servers: whatever happens to the one that leads, they find the next; nothing is lost or done twice."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from ringfs.base.errors import Code
from ringfs.base.ids import ROOT_INODE
from ringfs.client.file_system import Caller, Handle
from ringfs.wire.messages.namespace import Mknod
from tests.support.refusals import refused
from tests.support.seeds import seeds
from tests.support.several_world import METAS, Deposed, SeveralWorld, open_several
from tests.support.world import Mounted, until

CALLER = Caller()
#: What etcd takes to notice that a leader is gone, about; and what a client may need beyond that.
ELECTION_S = 2.5
FOLLOW_S = 2.0


async def made(client: Mounted, name: bytes, data: bytes) -> Handle:
    """A new file of that content, durable."""
    handle = await client.fs.create(ROOT_INODE, name, 0o100644, CALLER, writes=True, exclusive=True)
    await client.fs.write(handle, 0, data)
    await client.fs.fsync(handle)
    return handle


async def content(client: Mounted, name: bytes) -> bytes:
    """What a file has, for whoever opens it now."""
    inode = await client.fs.lookup(ROOT_INODE, name)
    handle = await client.fs.open(inode.number, writes=False)
    found = bytes(await client.fs.read(handle, 0, 1 << 24))
    await client.fs.release(handle)
    return found


def is_past(world: SeveralWorld, position: int) -> bool:
    """Whether more than that is durable."""
    return world.journal.last > position


async def end_leader(world: SeveralWorld, how: str) -> None:
    await (world.stall() if how == "stall" else world.crash_meta())


@pytest.mark.parametrize("how", ["crash", "stall"])
async def test_the_next_leader_is_found(how: str, autojump_clock: trio.testing.MockClock) -> None:
    """Also by a client that asks for nothing: others wait for it. The session stays, with what it has open; leases of before are
    void, and the log says what it waited for."""
    async with open_several(1) as world:
        one, idle = await world.mount("one"), await world.mount("idle")
        handle = await made(one, b"file", b"a" * 1000)
        session, epoch = one.fs.link.session, one.fs.link.lease_epoch
        with capture_logs() as logs:
            await end_leader(world, how)
            await one.fs.write(handle, 0, b"b" * 500)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.fs.fsync, handle)
                await trio.sleep(ELECTION_S)
                await world.take_over()
                with trio.fail_after(FOLLOW_S):
                    await until(lambda: None not in (one.fs.link.live_client, idle.fs.link.live_client))
                    await until(lambda: not nursery.child_tasks)
        assert (one.fs.link.session, one.fs.link.lease_epoch > epoch) == (session, True)
        assert await content(idle, b"file") == b"b" * 500 + b"a" * 500
        await one.fs.write(handle, 1000, b"c")
        await one.fs.fsync(handle)
        events = [entry["event"] for entry in logs]
        lost = {"crash": "metadata service lost; waiting for it", "stall": "metadata service is silent, and replaced"}
        assert [event for event in events if event in lost.values()] == [lost[how]] * 2
        assert [entry["waited_s"] > 1 for entry in logs if entry["event"] == "metadata service found"] == [True] * 2
        world.check()


async def test_a_slow_leader_is_not_left(autojump_clock: trio.testing.MockClock) -> None:
    """While nobody says that there is a newer term, its connection stays, however long an answer takes."""
    async with open_several(1) as world:
        one = await world.mount("one")
        client = one.fs.link.live_client
        world.journal.append_s = 8.0
        await made(one, b"file", b"a")
        assert one.fs.link.live_client is client
        assert client is not None
        world.check()


async def test_a_leader_that_is_over_is_not_gone_to(autojump_clock: trio.testing.MockClock) -> None:
    """It comes back, and believes that it leads: who knows of a newer leader never asks it for anything."""
    async with open_several(1) as world:
        one = await world.mount("one")
        term = world.term
        await world.stall()
        await trio.sleep(ELECTION_S)
        await world.take_over()
        await made(one, b"first", b"a")
        deposed = Deposed("meta1", METAS[0], term)
        await world.come_back(deposed)
        for index in range(10):
            world.network.cut(world.meta_address)
            await made(one, b"%d" % index, b"b")
        assert deposed.asked_count
        assert not deposed.heard


async def test_a_standby_that_was_told_of_nobody(autojump_clock: trio.testing.MockClock) -> None:
    """A client that knows one address finds the leader by what the server there says, and the next one, too."""
    async with open_several(1) as world:
        await world.crash_meta()
        await world.take_over()
        standby = next(address for address in METAS if address not in (world.meta_address, *world.away))
        world.client_config = replace(world.client_config, meta=(world.client_config.meta_named(standby.partition(":")[0]),))
        one = await world.mount("one")
        await made(one, b"file", b"a")
        await world.come_back()
        await world.crash_meta()
        await world.take_over()
        assert await content(one, b"file") == b"a"


async def test_without_a_leader(autojump_clock: trio.testing.MockClock) -> None:
    """After leader_wait_s whoever waits is told EIO, fsync too, and not before. What was not acknowledged goes on being tried."""
    async with open_several(1, leader_wait_s=20.0) as world:
        one = await world.mount("one")
        handle = await made(one, b"file", b"a")
        await world.crash_meta()
        await one.fs.write(handle, 0, b"b")
        begun_s = trio.current_time()
        with capture_logs() as logs, refused(Code.IO):
            await one.fs.fsync(handle)
        assert trio.current_time() - begun_s == pytest.approx(20.0, abs=1.0)
        begun_s = trio.current_time()
        with refused(Code.IO):
            await one.fs.mkdir(ROOT_INODE, b"d", 0o755, CALLER)
        assert trio.current_time() - begun_s == pytest.approx(20.0, abs=1.0)
        waits = [entry for entry in logs if entry["event"] == "no metadata server leads; waiting for one"]
        assert waits
        assert set(waits[-1]["servers"]) == set(METAS)
        assert "standby" in "".join(waits[-1]["servers"].values())
        await world.take_over()
        await one.fs.fsync(handle)
        await one.fs.write(handle, 0, b"c")
        await one.fs.fsync(handle)
        assert await content(await world.mount("two"), b"file") == b"c"
        world.check()


async def test_a_request_keeps_its_number(autojump_clock: trio.testing.MockClock) -> None:
    """The leader ends between the journal and the answer: the next one gives the first answer, and nothing happens twice."""
    async with open_several(1) as world:
        one = await world.mount("one")
        for how in ("crash", "stall", "crash", "stall"):
            world.journal.gate_after = trio.Event()
            durable = world.journal.last
            async with trio.open_nursery() as nursery:
                answers: list[Any] = []

                async def make(name: bytes, answers: list[Any] = answers) -> None:
                    answers.append(await one.fs.link.mutate(Mknod(ROOT_INODE, name, 0o100644, 0, 0, 0, 0, 0, True)))

                nursery.start_soon(make, b"%d" % durable)
                await until(partial(is_past, world, durable))
                await end_leader(world, how)
                await trio.sleep(ELECTION_S)
                await world.take_over()
            assert len(answers) == 1
            with refused(Code.EXISTS):
                await make(b"%d" % durable)
            await world.come_back()
        world.check()


class Storm:
    """Clients at work while leaders come and go."""

    def __init__(self, world: SeveralWorld) -> None:
        self.world = world
        self.acknowledged: dict[bytes, bytes] = {}
        self.lines: dict[int, int] = {}
        self.is_over = False

    async def work(self, index: int, client: Mounted) -> None:
        """Files of its own, and lines in a log that all write."""
        draw = self.world.draw
        log = await client.fs.create(ROOT_INODE, b"log", 0o100644, CALLER, writes=True, exclusive=False)
        number = 0
        while not self.is_over:
            number += 1
            name, data = b"%d-%d" % (index, number), b"%d" % draw.randrange(10**6) * draw.choice([1, 1000])
            handle = await made(client, name, data)
            self.acknowledged[name] = data
            await client.fs.release(handle)
            await client.fs.write(log, 0, b"%d %d\n" % (index, number), appends=True)
            await client.fs.fsync(log)
            self.lines[index] = number
            if draw.random() < 0.3:
                await client.fs.names.rename(ROOT_INODE, name, ROOT_INODE, b"r" + name, 0)
                self.acknowledged[b"r" + name] = self.acknowledged.pop(name)
            await trio.sleep(draw.choice([0, 0.01, 0.3, 2]))

    async def rage(self, turns: int) -> None:
        """Leaders end, others follow, old ones return, some not knowing what happened; connections break."""
        world, draw = self.world, self.world.draw
        for _ in range(turns):
            await trio.sleep(draw.uniform(0, 4))
            if draw.random() < 0.3:
                world.network.cut(world.meta_address)
                continue
            term, name = world.term, world.meta_address.partition(":")[0]
            await end_leader(world, draw.choice(["crash", "stall"]))
            await trio.sleep(draw.uniform(0, 4))
            await world.take_over()
            if draw.random() < 0.5:
                await trio.sleep(draw.uniform(0, 4))
            deposed = Deposed(name, f"{name}:7000", term)
            address = await world.come_back(deposed if draw.random() < 0.5 else None)
            await trio.sleep(draw.uniform(0, 3))
            await world.know(address)
        self.is_over = True


@pytest.mark.parametrize("seed", seeds(12))
async def test_storms(seed: int, autojump_clock: trio.testing.MockClock) -> None:
    """What was acknowledged is there, once, whoever led when; no application sees an error."""
    async with open_several(seed) as world:
        storm = Storm(world)
        async with trio.open_nursery() as nursery:
            for index in range(3):
                nursery.start_soon(storm.work, index, await world.mount(str(index)))
            nursery.start_soon(storm.rage, 8)
        reader = await world.mount("reader")
        for name, data in storm.acknowledged.items():
            assert await content(reader, name) == data
        lines = [tuple(map(int, line.split())) for line in (await content(reader, b"log")).splitlines()]
        for index, count in storm.lines.items():
            assert [number for writer, number in lines if writer == index] == list(range(1, count + 1))
        names = {entry.name for entry in (await reader.fs.names.readdir(ROOT_INODE, 0, 4096)).entries}
        assert names == {*storm.acknowledged, b"log"}
        world.check()


async def test_the_wrong_key(autojump_clock: trio.testing.MockClock) -> None:
    """If all servers say so, a mount is refused at once, as with a single one."""
    async with open_several(1) as world:
        world.client_config = replace(world.client_config, key=bytes(32))
        with refused(Code.WRONG_CLUSTER):
            await world.mount_here()
