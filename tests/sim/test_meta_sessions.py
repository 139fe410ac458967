"""Sessions over restarts and silence: grace, resuming, orphans; and what is refused."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ringfs.base.errors import Code, ConnectionLost, Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.base.limits import LEASE_NS, SESSION_TIMEOUT_NS
from ringfs.meta import leader as leader_module
from ringfs.meta import sessions
from ringfs.meta.namespace import facts
from ringfs.wire.messages.cluster import GetMap, GetStatus
from ringfs.wire.messages.common import Done
from ringfs.wire.messages.namespace import Mkdir, Mknod, Rename, Unlink
from ringfs.wire.messages.queries import GetAttributes, Lookup, StatFs
from ringfs.wire.messages.session import (
    OPEN_READ,
    OPEN_WRITE,
    Close,
    Heartbeat,
    Mutate,
    Open,
    OpenInode,
    OpenSession,
    Query,
    ResumeSession,
)
from tests.support.meta_world import Client, MetaWorld, drops
from tests.support.refusals import refused

LEASE_S = LEASE_NS / 1e9
TIMEOUT_S = SESSION_TIMEOUT_NS / 1e9


def inodes(world: MetaWorld) -> int:
    count: int = facts.counters(world.leader.view).inode_count
    return count


async def gone(client: Client, inode: int) -> bool:
    answer = await client.later(Query(client.session, GetAttributes(inode))).wait()
    return isinstance(answer, Refused) and answer.code is Code.STALE


async def test_grace_lasts_until_everybody_is_back(autojump_clock: object) -> None:
    """After a restart questions wait until the last session has resumed; sessions and the cluster are served meanwhile."""
    async with MetaWorld.open() as world:
        alice, bob = [await world.client(name) for name in ("alice", "bob")]
        await world.restart()
        await alice.resume()
        asking = alice.later(Query(alice.session, GetAttributes(ROOT_INODE)))
        changing = alice.later(alice.mutation(Mkdir(ROOT_INODE, b"d", 0o755, 0, 0, 0)))
        await trio.sleep(2)
        assert not asking.is_done
        assert not changing.is_done
        assert (await alice.ask(GetMap())).epoch == 1
        assert await alice.ask(Heartbeat(alice.session)) == Done()
        await bob.resume()
        with trio.fail_after(0.1):
            assert (await asking.wait()).leased
            await changing.wait()


async def test_grace_ends_with_the_leases_of_the_missing(autojump_clock: object) -> None:
    """If somebody does not come back, the others, and new sessions, wait LEASE_NS and no longer."""
    async with MetaWorld.open() as world:
        alice, bob = [await world.client(name) for name in ("alice", "bob")]
        bob.is_ended = True
        await world.restart()
        await alice.resume()
        carol = await world.client("carol")
        start = trio.current_time()
        asking = [each.later(Query(each.session, GetAttributes(ROOT_INODE))) for each in (alice, carol)]
        for each in asking:
            await each.wait()
        assert LEASE_S - 1 < trio.current_time() - start < LEASE_S + 1


async def test_no_sessions_no_grace(autojump_clock: object) -> None:
    """After clean ends a restart makes nobody wait."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        await alice.close_session()
        await world.restart()
        bob = await world.client("bob")
        with trio.fail_after(0.1):
            await bob.query(GetAttributes(ROOT_INODE))


async def test_who_does_not_come_back_is_ended(autojump_clock: object) -> None:
    """A session that stays away after a restart is ended, and its orphans are freed."""
    async with MetaWorld.open() as world:
        alice, bob = [await world.client(name) for name in ("alice", "bob")]
        file = await bob.make_file(b"f", open_mode=OPEN_READ)
        await alice.mutate(Unlink(ROOT_INODE, b"f"))
        assert inodes(world) == 2
        bob.is_ended = True
        await world.restart()
        await alice.resume()
        await trio.sleep(TIMEOUT_S + 2)
        assert [each.session for each in (await alice.ask(GetStatus())).sessions] == [alice.session]
        assert await gone(alice, file)
        assert inodes(world) == 1


async def test_an_open_file_survives_its_last_name(autojump_clock: object) -> None:
    """Unlinked while open elsewhere: it lives until the last close, over a restart too; others cannot open it any more."""
    async with MetaWorld.open() as world:
        alice, bob = [await world.client(name) for name in ("alice", "bob")]
        file = await alice.make_file(b"f", open_mode=OPEN_WRITE)
        assert (await bob.mutate(Unlink(ROOT_INODE, b"f"))).removed.links == 0
        with refused(Code.STALE):
            await bob.query(Open(file, OPEN_READ))
        await alice.query(Open(file, OPEN_READ))
        await world.restart()
        await alice.resume([OpenInode(file, OPEN_WRITE)])
        await bob.resume()
        assert (await alice.query(GetAttributes(file))).attributes.links == 0
        await alice.query(Close([OpenInode(file, OPEN_WRITE)]))
        assert await gone(alice, file)


async def test_rename_over_an_open_file(autojump_clock: object) -> None:
    """What a rename replaces lives on for who has it open."""
    async with MetaWorld.open() as world:
        alice, bob = [await world.client(name) for name in ("alice", "bob")]
        old = await alice.make_file(b"old", open_mode=OPEN_READ)
        await bob.make_file(b"new")
        await bob.mutate(Rename(ROOT_INODE, b"new", ROOT_INODE, b"old", 0))
        assert (await alice.query(GetAttributes(old))).attributes.links == 0
        await alice.query(Close([OpenInode(old, OPEN_READ)]))
        assert await gone(alice, old)


async def test_who_has_not_resumed_may_have_anything_open(autojump_clock: object) -> None:
    """Unlinked after the grace period, before the opener resumed: the file is there when it does."""
    async with MetaWorld.open() as world:
        alice, bob = [await world.client(name) for name in ("alice", "bob")]
        file = await bob.make_file(b"f", open_mode=OPEN_READ)
        await world.restart()
        await alice.resume()
        await alice.mutate(Unlink(ROOT_INODE, b"f"))
        await bob.resume([OpenInode(file, OPEN_READ)])
        assert (await bob.query(GetAttributes(file))).attributes.links == 0


async def test_a_writer_that_resumes_late_takes_the_leases_of_others(autojump_clock: object) -> None:
    """Back after the grace period with a file open for writing that others cache by now: they drop it first."""
    async with MetaWorld.open() as world:
        alice, bob = [await world.client(name) for name in ("alice", "bob")]
        file = await bob.make_file(b"f", open_mode=OPEN_WRITE)
        await world.restart()
        await alice.resume()
        assert (await alice.query(GetAttributes(file))).leased
        alice.obeys = False
        await bob.connect()
        resuming = bob.later(ResumeSession(bob.session, [OpenInode(file, OPEN_WRITE)], False))
        await trio.sleep(1)
        assert not resuming.is_done
        assert drops(alice) == [file]
        await alice.obey(alice.recalls[0])
        await resuming.wait()
        assert (await bob.query(GetAttributes(file))).leased


async def test_orphans_that_a_session_lets_go_by_resuming(autojump_clock: object) -> None:
    """A resumed session no longer names an orphan that it kept: it is freed."""
    for with_restart in (False, True):
        async with MetaWorld.open() as world:
            alice = await world.client("alice")
            file = await alice.make_file(b"f", open_mode=OPEN_READ)
            await alice.mutate(Unlink(ROOT_INODE, b"f"))
            alice.cut()
            if with_restart:
                await world.restart()
            await alice.resume([])
            assert await gone(alice, file)
            assert inodes(world) == 1


async def test_resuming_in_several_messages(autojump_clock: object) -> None:
    """Opens gather until the last message; a series that was cut off counts for nothing."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        files = [await alice.make_file(b"%d" % number, open_mode=OPEN_READ) for number in range(3)]
        await world.restart()
        await alice.connect()
        await alice.ask(ResumeSession(alice.session, [OpenInode(99, OPEN_READ)], True))
        alice.cut()
        await alice.connect()
        for file in files[:2]:
            await alice.ask(ResumeSession(alice.session, [OpenInode(file, OPEN_READ)], True))
        asking = alice.later(Query(alice.session, GetAttributes(ROOT_INODE)))
        await wait_all_tasks_blocked()
        assert not asking.is_done
        await alice.ask(ResumeSession(alice.session, [OpenInode(files[2], OPEN_READ)], False))
        await asking.wait()
        assert sorted(world.server.live.opens.of_session(alice.session)) == files


async def test_a_resumed_session_takes_over_its_connection(autojump_clock: object) -> None:
    """The old connection is closed; requests for a session that is at home elsewhere are refused."""
    async with MetaWorld.open() as world:
        alice, bob = [await world.client(name) for name in ("alice", "bob")]
        waiting = alice.later(Query(alice.session, StatFs(1)))
        await waiting.wait()
        old = alice._rpc
        await alice.resume()
        await old.lost.wait()
        with refused(Code.BAD_REQUEST):
            await bob.ask(Query(alice.session, GetAttributes(ROOT_INODE)))


async def test_an_ended_session_is_told(autojump_clock: object) -> None:
    """Every request of a session that has ended is refused NO_SESSION."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        await alice.close_session()
        requests = [
            Query(alice.session, GetAttributes(ROOT_INODE)),
            Mutate(alice.session, 1, 1, Mkdir(ROOT_INODE, b"d", 0o755, 0, 0, 0)),
            Heartbeat(alice.session),
            ResumeSession(alice.session, [], False),
        ]
        for request in requests:
            with refused(Code.NO_SESSION):
                await alice.ask(request)


async def test_what_no_client_may_ask(autojump_clock: object) -> None:
    """A question as a transaction, a transaction as a question, an answer as a request: BAD_REQUEST, and nothing else happens."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        for request in (
            alice.mutation(GetAttributes(ROOT_INODE)),
            Query(alice.session, Mkdir(ROOT_INODE, b"d", 0o755, 0, 0, 0)),
            Done(),
        ):
            with refused(Code.BAD_REQUEST):
                await alice.ask(request)
        with refused(Code.INVALID):
            await alice.query(Open(ROOT_INODE, 8))


async def test_bounds(autojump_clock: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many sessions and too many open inodes are refused, also when they come with a Mknod; nothing was made then."""
    monkeypatch.setattr(sessions, "SESSIONS_MAX", 2)
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        await world.client("bob")
        with refused(Code.TOO_MANY_SESSIONS):
            await alice.ask(OpenSession("carol"))
        world.server.live.opens._opens_max = 2
        for name in (b"a", b"b"):
            await alice.make_file(name, open_mode=OPEN_READ)
        with refused(Code.TOO_MANY_OPEN):
            await alice.make_file(b"c", open_mode=OPEN_READ)
        assert (await alice.query(Lookup(ROOT_INODE, b"c"))).attributes is None
        with refused(Code.TOO_MANY_OPEN):
            await alice.query(Open(ROOT_INODE, OPEN_READ))


async def test_a_repeated_open_by_mknod_is_remembered(autojump_clock: object) -> None:
    """Made and opened, answered to nobody: the repeated request opens it for the session that resumed without it."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        request = alice.mutation(Mknod(ROOT_INODE, b"f", 0o100644, 0, 0, 0, 0, OPEN_WRITE, True))
        file = (await alice.ask(request)).attributes.inode
        await world.restart()
        await alice.resume()
        assert (await alice.ask(request)).attributes.inode == file
        assert world.server.live.opens.mode(alice.session, file) == OPEN_WRITE


async def test_a_process_that_stood_still_ends_nobody(autojump_clock: trio.testing.MockClock) -> None:
    """After a pause of the whole server nobody is ended for a silence that it could not have heard."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        live = world.server.live
        for session in live.sessions:
            session.heard_ns -= 10**9
        autojump_clock.jump(TIMEOUT_S * 3)
        await trio.sleep(1)
        await alice.query(GetAttributes(ROOT_INODE))


async def test_who_comes_back_while_its_end_waits_lives_on(autojump_clock: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silent too long, but its end cannot be appended yet, and it resumes meanwhile: it is not ended."""
    async with MetaWorld.open() as world:
        alice, bob = [await world.client(name) for name in ("alice", "bob")]
        bob.beats = False
        await trio.sleep(TIMEOUT_S - 4)
        monkeypatch.setattr(leader_module, "BATCH_COUNT_MAX", 1)
        world.journal.gate = trio.Event()
        for name in (b"a", b"b"):
            alice.later(alice.mutation(Mkdir(ROOT_INODE, name, 0o755, 0, 0, 0)))
        await trio.sleep(8)
        assert world.server.live.sessions.dead(world.clock.monotonic_ns())
        await bob.connect()
        resuming = bob.later(ResumeSession(bob.session, [], False))
        await wait_all_tasks_blocked()
        world.journal.gate.set()
        assert not isinstance(await resuming.wait(), Exception)
        await trio.sleep(1)
        await bob.query(GetAttributes(ROOT_INODE))


async def test_a_lost_answer_to_open_session_leaves_nothing(autojump_clock: object) -> None:
    """A session whose client never learned of it is ended by silence."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        world.journal.append_s = 0.1
        asking = alice.later(OpenSession("twice"))
        await trio.sleep(0.05)
        alice.cut()
        assert isinstance(await asking.wait(), ConnectionLost)
        await alice.resume()
        await trio.sleep(TIMEOUT_S + 3)
        assert [each.session for each in (await alice.ask(GetStatus())).sessions] == [alice.session]
