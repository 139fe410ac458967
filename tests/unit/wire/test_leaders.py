"""Finding and leaving leaders, among servers that say what they are told to. In a whole cluster: sim/test_client_leaders.py."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from ringfs.base.errors import Code, ConnectionLost, Refused
from ringfs.wire.leaders import Leaders
from ringfs.wire.messages.cluster import ROLE_LEADER, ROLE_STANDBY, ROLE_STARTING, GetServer, ServerStatus
from ringfs.wire.messages.session import Heartbeat
from ringfs.wire.rpc import Peer, Request, RpcClient, open_client
from tests.support.refusals import refused
from tests.support.streams import Network

KEY = bytes(32)
ADDRESSES = ["one:1", "two:1", "three:1"]
PAUSES_S = (0.1, 1.0, 5.0)


class Telling:
    """A Handler that tells a status, and answers nothing else."""

    def __init__(self, address: str) -> None:
        self.status = ServerStatus(address, ROLE_STANDBY, 1, 0, "", "", [], 0, "")
        self.asked_count = 0
        self.kept: list[Request] = []

    def connected(self, peer: Peer) -> None:
        """See Handler."""

    def disconnected(self, peer: Peer) -> None:
        """See Handler."""

    def handle(self, request: Request) -> None:
        """See Handler."""
        if isinstance(request.message, GetServer):
            self.asked_count += 1
            request.reply(self.status)
        else:
            self.kept.append(request)

    def leads(self, term: int) -> None:
        """From now on."""
        self.status.role, self.status.term = ROLE_LEADER, term


class Cluster:
    """Servers, and who looks for the leader among them."""

    def __init__(self, nursery: trio.Nursery, known: list[str]) -> None:
        self.network = Network()
        self.servers = {address: Telling(address) for address in ADDRESSES}
        self.nursery = nursery
        self.connect = partial(open_client, key=KEY, name="test", dial=self.network.dial)
        self.leaders = Leaders(known, self.connect, PAUSES_S)

    async def next(self) -> str:
        """What comes next, if that takes no more than ten minutes."""
        with trio.fail_after(600):
            return await self.leaders.next()

    @asynccontextmanager
    async def followed(self, address: str) -> AsyncIterator[RpcClient]:
        """A connection that is left when its server is replaced."""
        async with self.connect(address) as client:
            self.nursery.start_soon(self.leaders.leave_when_replaced, client, address)
            yield client


@asynccontextmanager
async def cluster(known: list[str] = ADDRESSES) -> AsyncIterator[Cluster]:
    """All servers running."""
    async with trio.open_nursery() as nursery:
        made = Cluster(nursery, known)
        for address, server in made.servers.items():
            await nursery.start(made.network.serve, server, KEY, address)
        yield made
        nursery.cancel_scope.cancel()


async def test_the_one_that_leads(autojump_clock: trio.testing.MockClock) -> None:
    """Whichever it is; who is frozen, gone or starting does not hold it up; nobody who leads in an older term is gone to again."""
    async with cluster() as at:
        at.network.freeze("one:1")
        at.network.unreachable.add("two:1")
        at.servers["three:1"].leads(4)
        assert (await at.next(), at.leaders.term, trio.current_time()) == ("three:1", 4, 0.0)
        at.network.unreachable.clear()
        at.network.thaw("one:1")
        at.servers["one:1"].leads(3)
        at.servers["two:1"].status.role = ROLE_STARTING
        at.servers["two:1"].status.term = 9
        for _ in range(5):
            assert await at.next() == "three:1"


async def test_nobody_leads(autojump_clock: trio.testing.MockClock) -> None:
    """All are asked again soon, later less often, and the log says what they said, until one leads."""
    async with cluster() as at:
        at.servers["two:1"].status.trouble = "etcd does not answer"
        at.network.unreachable.add("three:1")
        with capture_logs() as logs:
            at.nursery.start_soon(at.next)
            await trio.sleep(9.9)
            asked = at.servers["one:1"].asked_count
            assert asked == 40
            await trio.sleep(10.2)
            assert at.servers["one:1"].asked_count - asked == 11
            at.servers["one:1"].leads(2)
            await trio.sleep(1.1)
            assert at.leaders.term == 2
        assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == [
            "no metadata server leads; waiting for one"
        ] * 2
        assert logs[0]["servers"] == {
            "one:1": "one:1 is a standby",
            "two:1": "two:1 is a standby: etcd does not answer",
            "three:1": "cannot connect to three:1: connection refused",
        }


async def test_one_address(autojump_clock: trio.testing.MockClock) -> None:
    """Nobody is asked anything; after failures there are pauses; the log tells of the first, of some more, and of the end."""
    async with cluster(["one:1"]) as at:
        with capture_logs() as logs:
            times = []
            for _ in range(6):
                assert await at.next() == "one:1"
                times.append(trio.current_time())
                at.leaders.failed("one:1", ConnectionLost("gone"))
            assert [later - sooner for sooner, later in pairwise(times)] == pytest.approx([0.1, 1, 5, 5, 5])
            at.leaders.found("one:1")
        assert at.servers["one:1"].asked_count == 0
        assert [entry["event"] for entry in logs] == [
            "metadata service lost; waiting for it",
            "metadata service lost; waiting for it",
            "metadata service found",
        ]
        assert logs[-1]["waited_s"] == pytest.approx(16.1)


async def test_pauses_are_short_when_there_are_several(autojump_clock: trio.testing.MockClock) -> None:
    """A leader that is found but lets nobody in."""
    async with cluster() as at:
        at.servers["one:1"].leads(1)
        for _ in range(10):
            await at.next()
            at.leaders.failed("one:1", ConnectionLost("gone"))
        assert trio.current_time() <= 0.1 + 8 * 0.25


@pytest.mark.parametrize("hint", ["refusal", "status"])
async def test_hints(hint: str, autojump_clock: trio.testing.MockClock) -> None:
    """Servers that are not in the configuration are found by what others say; nonsense is no hint."""
    async with cluster(["one:1"] if hint == "refusal" else ["one:1", "gone:1"]) as at:
        at.servers["three:1"].leads(1)
        at.servers["two:1"].status.leader_address = "three:1"
        at.servers["one:1"].status.leader_address = "two:1"
        if hint == "refusal":
            for nonsense in ("", "who knows", "host:port"):
                at.leaders.failed("one:1", Refused(Code.NOT_LEADER, nonsense))
                assert not at.leaders.are_several
            at.leaders.failed("one:1", Refused(Code.OVERLOADED, "two:1"))
            assert not at.leaders.are_several
            at.leaders.failed("one:1", Refused(Code.NOT_LEADER, "two:1"))
        assert await at.next() == "three:1"


async def test_the_wrong_key(autojump_clock: trio.testing.MockClock) -> None:
    """Refused if all servers say so, not if one does."""
    async with cluster() as at:
        at.connect = partial(open_client, key=bytes(31) + b"x", name="test", dial=at.network.dial)
        with refused(Code.WRONG_CLUSTER):
            await Leaders(ADDRESSES, at.connect, PAUSES_S).next()
        at.network.unreachable.add("one:1")
        with trio.move_on_after(60):
            await Leaders(ADDRESSES, at.connect, PAUSES_S).next()
            raise AssertionError("one that is not reached may be the right one")


@pytest.mark.parametrize("who", [ROLE_LEADER, ROLE_STANDBY])
async def test_a_silent_leader(who: int, autojump_clock: trio.testing.MockClock) -> None:
    """It is left once anybody knows of a newer term, not before, and not while it answers."""
    async with cluster() as at:
        at.servers["one:1"].leads(3)
        async with at.followed(await at.next()) as client:
            at.servers["two:1"].leads(3)
            at.servers["three:1"].status.term = 3
            client.call_soon(Heartbeat(1), ignore)
            await trio.sleep(30)
            assert not client.lost.is_set()
            asked = at.servers["two:1"].asked_count
            at.servers["one:1"].kept[0].reply(GetServer())
            await trio.sleep(30)
            assert at.servers["two:1"].asked_count <= asked + 1
            at.servers["three:1"].status.term, at.servers["three:1"].status.role = 4, who
            await trio.sleep(30)
            assert not client.lost.is_set(), "it has answered everything"
            client.call_soon(Heartbeat(1), ignore)
            await trio.sleep(0.5)
            assert not client.lost.is_set()
            await trio.sleep(1.5)
            assert client.lost.is_set()
        assert at.leaders.term == 4


async def test_it_let_us_in_too_late(autojump_clock: trio.testing.MockClock) -> None:
    """A server that lets us in under a term that is over is no leader; with a single address terms are its own business."""
    async with cluster() as at:
        at.servers["one:1"].leads(7)
        await at.next()
        with pytest.raises(ConnectionLost, match="term 6"):
            at.leaders.check(6)
        at.leaders.check(8)
        assert at.leaders.term == 8
    async with cluster(["one:1"]) as at:
        at.leaders.check(8)
        at.leaders.check(6)


def ignore(_answer: Any) -> None:
    """Whatever the answer is."""
