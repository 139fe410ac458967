"""The line to the metadata service, against a service that does what it is told: numbers, windows, leases, recalls, order."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from ringfs.base.config import MountConfig
from ringfs.base.errors import Code, Refused
from ringfs.base.limits import LEASE_NS, REPLY_WINDOW_MAX, REQUESTS_URGENT
from ringfs.client.metadata import MetadataLink
from ringfs.wire.messages.cluster import ClusterMap, MapChanged
from ringfs.wire.messages.common import Done
from ringfs.wire.messages.namespace import Unlink
from ringfs.wire.messages.queries import GetAttributes, StatFs
from ringfs.wire.messages.session import (
    RECALL_DROP,
    CloseSession,
    Heartbeat,
    Mutate,
    OpenInode,
    OpenSession,
    Query,
    Recall,
    RecallDone,
    RecallItem,
    ResumeSession,
    SessionOpened,
)
from ringfs.wire.rpc import Peer, Request
from tests.support.meta_doubles import KEY, TrioClock
from tests.support.refusals import refused
from tests.support.streams import Network
from tests.support.world import until

META = "meta1:7000"
LEASE_S = LEASE_NS / 1e9
WAIT_S = MountConfig().leader_wait_s


class Service:
    """A Handler that answers everything Done, unless it is told otherwise."""

    def __init__(self) -> None:
        self.sessions: set[int] = set()
        self.peer: Peer
        #: What came in, in order.
        self.seen: list[Any] = []
        #: Requests of these types are kept for later, or refused.
        self.keeps: tuple[type, ...] = ()
        self.kept: list[Request] = []
        self.refuses: dict[type, Code] = {}

    def connected(self, peer: Peer) -> None:
        """See Handler."""
        self.peer = peer

    def disconnected(self, peer: Peer) -> None:
        """See Handler."""

    def handle(self, request: Request) -> None:
        """See Handler."""
        message = request.message
        self.seen.append(message)
        if type(message) in self.keeps:
            self.kept.append(request)
        elif type(message) in self.refuses:
            request.refuse(self.refuses[type(message)])
        elif isinstance(message, OpenSession):
            number = 100 + len(self.sessions)
            self.sessions.add(number)
            request.reply(SessionOpened(number, 1, "replica:2", ClusterMap(1, "", [])))
        elif message.session not in self.sessions:
            request.refuse(Code.NO_SESSION)
        elif isinstance(message, ResumeSession):
            request.reply(SessionOpened(message.session, 1, "replica:2", ClusterMap(1, "", [])))
        else:
            request.reply(Done())

    def of(self, kind: type) -> list[Any]:
        """The messages of one kind."""
        return [message for message in self.seen if isinstance(message, kind)]


class Owner:
    """What the link tells."""

    def __init__(self) -> None:
        self.opens: list[OpenInode] = []
        self.lost_count = 0
        self.renewed_count = 0
        self.recalls: list[int] = []
        self.obeys_in_s = 0.0

    def open_inodes(self) -> list[OpenInode]:
        """See Dependent."""
        return self.opens

    def leases_lost(self) -> None:
        """See Dependent."""
        self.lost_count += 1

    async def recalled(self, recall: Recall) -> None:
        """See Dependent."""
        await trio.sleep(self.obeys_in_s)
        self.recalls.append(recall.serial)

    def mistaken(self, operation: Any, refused: Refused | None) -> None:
        """See Dependent."""
        raise AssertionError(f"nothing is done ahead here: {operation} {refused}")

    def session_renewed(self) -> None:
        """See Dependent."""
        self.renewed_count += 1

    async def find_lost(self) -> None:
        """See Dependent."""


class Line:
    """A link, and both its ends."""

    def __init__(self, link: MetadataLink, service: Service, owner: Owner, network: Network) -> None:
        self.link = link
        self.service = service
        self.owner = owner
        self.network = network

    def cut(self) -> None:
        """Cut the connection; a new one can be had at once."""
        self.network.cut(META)


@asynccontextmanager
async def line() -> AsyncIterator[Line]:
    """A link with its first session."""
    network, service, owner = Network(), Service(), Owner()
    async with trio.open_nursery() as nursery:
        await nursery.start(network.serve, service, KEY, META)
        link = MetadataLink([META], KEY, "test", TrioClock(), owner, network.dial, leader_wait_s=WAIT_S)
        assert await nursery.start(link.run) is None
        yield Line(link, service, owner, network)
        nursery.cancel_scope.cancel()


def unlink(index: int) -> Unlink:
    """An operation that can be told from others."""
    return Unlink(1, b"%d" % index)


async def test_a_lost_request_is_sent_again_with_its_number(autojump_clock: trio.testing.MockClock) -> None:
    """However often the connection is lost, a mutation keeps its session and number; others get numbers of their own."""
    async with line() as at:
        at.service.keeps = (Mutate,)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(at.link.mutate, unlink(1))
            nursery.start_soon(at.link.mutate, unlink(2))
            for _ in range(3):
                await trio.sleep(1)
                at.cut()
            await trio.sleep(1)
            at.service.keeps = ()
            at.cut()
        numbers = {(message.operation.name, message.session, message.number) for message in at.service.of(Mutate)}
        assert len(numbers) == 2
        assert {number for _, _, number in numbers} == {1, 2}
        assert len(at.service.of(Mutate)) == 10


async def test_a_busy_service_is_asked_again(autojump_clock: trio.testing.MockClock) -> None:
    """OVERLOADED and NOT_LEADER are no answers: the same request goes again, with the same number."""
    async with line() as at:
        for code in (Code.OVERLOADED, Code.NOT_LEADER):
            at.service.refuses = {Mutate: code, Query: code}
            async with trio.open_nursery() as nursery:
                nursery.start_soon(at.link.mutate, unlink(1))
                nursery.start_soon(at.link.query, StatFs(1))
                await trio.sleep(1)
                at.service.refuses = {}
        assert {message.number for message in at.service.of(Mutate)} == {1, 2}


async def test_a_refusal_is_an_answer(autojump_clock: trio.testing.MockClock) -> None:
    """Anything else is raised at once, and the number is acknowledged with the next request."""
    async with line() as at:
        at.service.refuses = {Mutate: Code.EXISTS}
        with refused(Code.EXISTS):
            await at.link.mutate(unlink(1))
        at.service.refuses = {}
        await at.link.mutate(unlink(2))
        assert [(message.number, message.acknowledged) for message in at.service.of(Mutate)] == [(1, 1), (2, 2)]


async def test_the_reply_window_is_bounded(autojump_clock: trio.testing.MockClock) -> None:
    """While one request is unanswered, only so many later ones are sent, urgent ones a few more; then everything goes on."""
    async with line() as at:
        at.service.keeps = (Mutate,)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(at.link.mutate, unlink(0))
            await trio.sleep(0.1)
            at.service.keeps = ()
            for index in range(1, REPLY_WINDOW_MAX + 100):
                nursery.start_soon(at.link.mutate, unlink(index))
            await trio.sleep(1)
            assert len(at.service.of(Mutate)) == REPLY_WINDOW_MAX - REQUESTS_URGENT
            await at.link.mutate(unlink(0), urgent=True)
            at.service.kept[0].reply(Done())
        assert len(at.service.of(Mutate)) == REPLY_WINDOW_MAX + 101
        assert all(message.number - message.acknowledged < REPLY_WINDOW_MAX for message in at.service.of(Mutate))


async def test_what_is_acknowledged_was_answered(autojump_clock: trio.testing.MockClock) -> None:
    """The acknowledged number never passes a request that still waits, whatever is answered or cancelled around it."""
    async with line() as at:
        at.service.keeps = (Mutate,)
        async with trio.open_nursery() as nursery:
            for index in range(10):
                nursery.start_soon(at.link.mutate, unlink(index))
            await trio.sleep(0.1)
            with trio.move_on_after(0.5):
                await at.link.mutate(unlink(10))
            for request in at.service.kept[3:10]:
                request.reply(Done())
            await trio.sleep(0.1)
            lowest = min(request.message.number for request in at.service.kept[:3])
            nursery.start_soon(at.link.mutate, unlink(11))
            await trio.sleep(0.1)
            assert at.service.seen[-1].acknowledged == lowest
            for request in (*at.service.kept[:3], at.service.kept[-1]):
                request.reply(Done())


async def test_the_lease_begins_when_the_heartbeat_was_sent(autojump_clock: trio.testing.MockClock) -> None:
    """Answers that are late renew from the sending; if the lease ran out before they came, everything is void."""
    async with line() as at:
        epoch = at.link.lease_epoch
        assert at.link.holds(epoch)
        assert not at.link.holds(0)
        at.service.keeps = (Heartbeat,)
        await trio.sleep(LEASE_S / 3 + 5.5)
        assert at.link.holds(epoch)
        at.service.keeps = ()
        at.service.kept[0].reply(Done())
        await trio.sleep(0.1)
        sent_s = LEASE_S / 3
        assert at.link.holds(epoch)
        at.service.keeps = (Heartbeat,)
        await trio.sleep(sent_s + LEASE_S - trio.current_time() - 0.1)
        assert at.link.holds(epoch)
        await trio.sleep(0.2)
        assert not at.link.holds(epoch)
        lost = at.owner.lost_count
        at.service.kept[-1].reply(Done())
        await trio.sleep(0.1)
        assert not at.link.holds(epoch), "others may have gone on without asking us"
        assert at.owner.lost_count == lost + 1
        assert at.link.holds(at.link.lease_epoch)


async def test_a_lost_connection_voids_all_leases(autojump_clock: trio.testing.MockClock) -> None:
    """Whatever was cached under the old connection is not valid under the new one, nor in between."""
    async with line() as at:
        epoch = at.link.lease_epoch
        at.cut()
        await until(lambda: at.link.lease_epoch != epoch)
        assert not at.link.holds(epoch)
        await until(lambda: at.link.holds(at.link.lease_epoch))
        assert at.link.lease_epoch > epoch
        assert at.owner.renewed_count == 0


async def test_a_cancelled_mutation_voids_all_leases(autojump_clock: trio.testing.MockClock) -> None:
    """Nobody recalls from us what we changed ourselves, and nobody was there to take in the answer."""
    async with line() as at:
        epoch = at.link.lease_epoch
        at.service.keeps = (Mutate,)
        with trio.move_on_after(1):
            await at.link.mutate(unlink(1))
        assert not at.link.holds(epoch)
        assert at.link.holds(at.link.lease_epoch)


async def test_every_recall_is_confirmed(autojump_clock: trio.testing.MockClock) -> None:
    """Hundreds at once, obeyed at the same time: each is confirmed; each counts the moment it arrives."""
    async with line() as at:
        at.owner.obeys_in_s = 1.0
        seen = at.link.recalls_seen
        for serial in range(1, 301):
            at.service.peer.push(Recall(serial, [RecallItem(7, RECALL_DROP)]))
        await trio.sleep(0.1)
        assert at.link.recalls_seen == seen + 300
        assert not at.owner.recalls
        await trio.sleep(5)
        assert {message.serial for message in at.service.of(RecallDone)} == set(range(1, 301))


async def test_an_ended_session_is_replaced(autojump_clock: trio.testing.MockClock) -> None:
    """A question is asked again under the new session, a mutation is refused; what is open is told before either."""
    async with line() as at:
        at.owner.opens = [OpenInode(number, 1) for number in range(5000)]
        at.service.keeps = (Mutate,)
        async with trio.open_nursery() as nursery:

            async def change() -> None:
                with refused(Code.NO_SESSION):
                    await at.link.mutate(unlink(1))

            nursery.start_soon(change)
            await trio.sleep(1)
            at.service.keeps = ()
            at.service.sessions = {1, 2, 3}
            assert isinstance(await at.link.query(GetAttributes(1)), Done)
        assert at.link.session == 103
        assert at.owner.renewed_count == 1
        begun = next(index for index, message in enumerate(at.service.seen) if message == OpenSession("test") and index)
        resumed = at.service.seen[begun + 1 : begun + 3]
        assert [(type(message), message.session, len(message.opens)) for message in resumed] == [
            (ResumeSession, 103, 4096),
            (ResumeSession, 103, 904),
        ]
        await at.link.mutate(unlink(2))
        assert (at.service.seen[-1].session, at.service.seen[-1].number) == (103, 1)


async def test_an_operation_of_another_session_is_not_sent(autojump_clock: trio.testing.MockClock) -> None:
    """What was put together under one session is refused under the next."""
    async with line() as at:
        with refused(Code.NO_SESSION):
            await at.link.mutate(unlink(1), session=99)
        assert not at.service.of(Mutate)


@pytest.mark.parametrize("kind", ["query", "mutate"])
async def test_waiting_ends(kind: str, autojump_clock: trio.testing.MockClock) -> None:
    """Without a service: EIO after WAIT_S, whether the request was sent before or not."""
    async with line() as at:
        at.network.unreachable.add(META)
        at.cut()
        ask = at.link.query if kind == "query" else at.link.mutate
        for _ in range(2):
            begun_s = trio.current_time()
            with refused(Code.IO):
                await ask(unlink(1))
            assert trio.current_time() - begun_s == pytest.approx(WAIT_S)


async def test_what_is_told_stays_in_order(autojump_clock: trio.testing.MockClock) -> None:
    """Far more than the connection has room for: all are sent, in the order in which they were told; none without connection."""
    async with line() as at:
        at.service.keeps = (Query,)
        for index in range(1000):
            assert at.link.tell(GetAttributes(index))
        await trio.sleep(1)
        assert len(at.service.kept) < 300
        at.service.keeps = ()
        for request in at.service.kept:
            request.reply(Done())
        await trio.sleep(1)
        assert [message.operation.inode for message in at.service.of(Query)] == list(range(1000))
        at.network.unreachable.add(META)
        at.cut()
        await trio.sleep(1)
        assert not at.link.tell(GetAttributes(1))


async def test_maps_never_go_back(autojump_clock: trio.testing.MockClock) -> None:
    """A newer map is taken, an older one is not."""
    async with line() as at:
        taken: list[int] = []
        at.link.on_map = lambda map: taken.append(map.epoch)
        for epoch in (5, 3, 6):
            at.service.peer.push(MapChanged(ClusterMap(epoch, "", [])))
        await trio.sleep(1)
        assert taken == [5, 6]


async def test_a_clean_end(autojump_clock: trio.testing.MockClock) -> None:
    """close() ends the session, and does not wait for a service that is not there."""
    async with line() as at:
        await at.link.close()
        assert at.service.of(CloseSession)
    async with line() as at:
        at.service.keeps = (CloseSession,)
        with trio.fail_after(LEASE_S + 1):
            await at.link.close()
