"""Leases between sessions: who is asked to drop or flush, who waits for whom, and what ends a wait."""

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ringfs.base.errors import Code, Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.base.limits import LEASE_NS, SESSION_TIMEOUT_NS
from ringfs.meta.live import RECALL_TIMEOUT_NS, WAITING_MAX
from ringfs.wire.messages.cluster import GetStatus
from ringfs.wire.messages.namespace import (
    INLINE,
    RENAME_NOREPLACE,
    SET_MODE,
    SET_SIZE,
    Commit,
    Extent,
    FileCommit,
    Link,
    Rename,
    Setattr,
    Unlink,
)
from ringfs.wire.messages.queries import GetAttributes, Lookup, ReadDirectory, ReadExtents
from ringfs.wire.messages.session import (
    OPEN_READ,
    OPEN_WRITE,
    RECALL_DROP,
    RECALL_FLUSH,
    RECALL_RETURN,
    Close,
    Heartbeat,
    Open,
    OpenInode,
    Query,
    Recall,
)
from tests.support.meta_world import Client, MetaWorld, drops
from tests.support.refusals import refused

LEASE_S = LEASE_NS / 1e9


def chmod(inode: int, mode: int) -> Setattr:
    return Setattr(inode, SET_MODE, mode, 0, 0, 0, 0, 0, 0, False)


def write(inode: int, data: bytes, offset: int = 0) -> Commit:
    return Commit([], [FileCommit(inode, [Extent(offset, len(data), INLINE, data)], -1, -1, -1, 0, False)])


def flush_on_recall(client: Client, inode: int, data: bytes) -> None:
    """The client has data for inode that the server does not know, and commits it when asked to flush."""

    async def obey(recall: Recall) -> None:
        if RECALL_FLUSH in (item.kind for item in recall.items):
            await client.mutate(write(inode, data))

    client.on_recall = obey


def kinds(client: Client) -> list[int]:
    return [item.kind for recall in client.recalls for item in recall.items]


async def test_one_session_is_never_recalled(autojump_clock: object) -> None:
    """Whatever a lone session does, it gets every lease and no recall."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        file = await alice.make_file(b"f", open_mode=OPEN_WRITE)
        await alice.mutate(write(file, b"abc"))
        await alice.mutate(chmod(file, 0o600))
        entry = await alice.query(Lookup(ROOT_INODE, b"f"))
        assert entry.leased
        assert entry.parent_leased
        assert (await alice.query(ReadExtents(file, 0, 1))).leased
        await alice.mutate(Unlink(ROOT_INODE, b"f"))
        await alice.query(Close([OpenInode(file, OPEN_WRITE)]))
        assert not alice.recalls


async def test_a_change_waits_until_others_have_dropped(autojump_clock: object) -> None:
    """A mutation is answered after the sessions that cached what it touched have confirmed, and only they were asked."""
    async with MetaWorld.open() as world:
        alice, bob, carol = [await world.client(name) for name in ("alice", "bob", "carol")]
        file = await alice.make_file(b"f")
        assert (await bob.query(GetAttributes(file))).leased
        bob.obeys = False
        changing = alice.later(alice.mutation(chmod(file, 0o600)))
        await trio.sleep(1)
        assert not changing.is_done
        assert drops(bob) == [file]
        assert not carol.recalls
        await bob.obey(bob.recalls[0])
        assert (await changing.wait()).mode & 0o777 == 0o600
        # When bob asked, before: nobody else knew of the file.
        assert kinds(alice) == [RECALL_RETURN]


async def test_new_names_are_seen_by_who_cached_the_directory(autojump_clock: object) -> None:
    """A negative lookup is leased on the directory: making the name recalls it."""
    async with MetaWorld.open() as world:
        alice, bob = [await world.client(name) for name in ("alice", "bob")]
        missing = await bob.query(Lookup(ROOT_INODE, b"f"))
        assert missing.attributes is None
        assert missing.parent_leased
        await alice.make_file(b"f")
        assert drops(bob) == [ROOT_INODE]


async def test_nobody_gets_new_state_while_another_may_show_the_old(autojump_clock: object) -> None:
    """Until the last cacher has confirmed, a third session's question about the inode waits too."""
    async with MetaWorld.open() as world:
        alice, bob, carol = [await world.client(name) for name in ("alice", "bob", "carol")]
        file = await alice.make_file(b"f")
        await bob.query(GetAttributes(file))
        bob.obeys = False
        changing = alice.later(alice.mutation(chmod(file, 0o600)))
        await wait_all_tasks_blocked()
        asking = carol.later(Query(carol.session, GetAttributes(file)))
        await trio.sleep(1)
        assert not asking.is_done
        await bob.obey(bob.recalls[0])
        await changing.wait()
        assert (await asking.wait()).attributes.mode & 0o777 == 0o600


async def test_a_cut_off_change_that_is_repeated_still_waits(autojump_clock: object) -> None:
    """The answer from the reply window too comes only after the cachers have confirmed."""
    async with MetaWorld.open() as world:
        alice, bob = [await world.client(name) for name in ("alice", "bob")]
        file = await alice.make_file(b"f")
        await bob.query(GetAttributes(file))
        bob.obeys = False
        request = alice.mutation(chmod(file, 0o600))
        alice.later(request)
        await trio.sleep(1)
        alice.cut()
        await alice.resume()
        again = alice.later(request)
        await trio.sleep(1)
        assert not again.is_done
        await bob.obey(bob.recalls[0])
        await again.wait()


@pytest.mark.parametrize(
    "ask",
    [
        lambda client, file: Query(client.session, GetAttributes(file)),
        lambda client, file: Query(client.session, Lookup(ROOT_INODE, b"f")),
        lambda client, file: Query(client.session, ReadDirectory(ROOT_INODE, 0, 100)),
        lambda client, file: Query(client.session, ReadExtents(file, 0, 1)),
        lambda client, file: Query(client.session, Open(file, OPEN_READ)),
        lambda client, file: client.mutation(chmod(file, 0o600)),
        lambda client, file: client.mutation(Setattr(file, SET_SIZE, 0, 0, 0, 2, 0, 0, 0, False)),
        lambda client, file: client.mutation(Link(file, ROOT_INODE, b"g")),
        lambda client, file: client.mutation(Unlink(ROOT_INODE, b"f")),
        lambda client, file: client.mutation(Rename(ROOT_INODE, b"f", ROOT_INODE, b"g", RENAME_NOREPLACE)),
    ],
)
async def test_a_writer_flushes_before_others_get_an_answer(autojump_clock: object, ask: Any) -> None:
    """Whatever another session asks or does about a file that is open for writing, the writer's bytes come first."""
    async with MetaWorld.open() as world:
        alice, bob = [await world.client(name) for name in ("alice", "bob")]
        file = await alice.make_file(b"f", open_mode=OPEN_WRITE)
        flush_on_recall(alice, file, b"hello")
        before = world.leader.applied
        answer = await bob.later(ask(bob, file)).wait()
        assert not isinstance(answer, Exception), answer
        assert RECALL_FLUSH in kinds(alice)
        assert world.leader.applied > before
        assert not bob.recalls


async def test_what_is_being_written_elsewhere_is_not_leased(autojump_clock: object) -> None:
    """With another session's writer an answer shows its bytes but may not be cached; after its close it may."""
    async with MetaWorld.open() as world:
        alice, bob = [await world.client(name) for name in ("alice", "bob")]
        file = await alice.make_file(b"f", open_mode=OPEN_WRITE)
        flush_on_recall(alice, file, b"hello")
        seen = await bob.query(GetAttributes(file))
        assert seen.attributes.size_bytes == 5
        assert not seen.leased
        page = await bob.query(ReadDirectory(ROOT_INODE, 0, 100))
        assert page.leased
        assert [entry.leased for entry in page.entries] == [False]
        await alice.query(Close([OpenInode(file, OPEN_WRITE)]))
        assert (await bob.query(GetAttributes(file))).leased


async def test_opening_for_writing_takes_the_leases_of_others(autojump_clock: object) -> None:
    """A writer may dirty the file without a word: the open is answered after all cachers have dropped it."""
    async with MetaWorld.open() as world:
        alice, bob = [await world.client(name) for name in ("alice", "bob")]
        file = await alice.make_file(b"f")
        await bob.query(GetAttributes(file))
        bob.obeys = False
        opening = alice.later(Query(alice.session, Open(file, OPEN_WRITE)))
        await trio.sleep(1)
        assert not opening.is_done
        await bob.obey(bob.recalls[0])
        assert (await opening.wait()).leased


async def test_two_writers_flush_to_each_other_without_deadlock(autojump_clock: object) -> None:
    """Both write the file, both ask about it at once: each one's commit goes through while its own question waits."""
    async with MetaWorld.open() as world:
        alice, bob = [await world.client(name) for name in ("alice", "bob")]
        file = await alice.make_file(b"f", open_mode=OPEN_WRITE)
        await bob.query(Open(file, OPEN_WRITE))
        flush_on_recall(alice, file, b"alice")
        flush_on_recall(bob, file, b"bob")
        start = trio.current_time()
        asking = [each.later(Query(each.session, GetAttributes(file))) for each in (alice, bob) for _ in range(20)]
        for each in asking:
            assert not isinstance(await each.wait(), Exception)
        assert trio.current_time() - start < 1, "nobody waited for the end of a lease"


async def test_a_flush_asks_its_own_questions(autojump_clock: object) -> None:
    """A session that must look at the file to flush it is not made to wait for the file's other writers."""
    async with MetaWorld.open() as world:
        alice, bob, carol = [await world.client(name) for name in ("alice", "bob", "carol")]
        file = await alice.make_file(b"f", open_mode=OPEN_WRITE)
        await bob.query(Open(file, OPEN_WRITE))

        def look_then_write(client: Client) -> None:
            async def obey(recall: Recall) -> None:
                if RECALL_FLUSH in (item.kind for item in recall.items):
                    await client.query(ReadExtents(file, 0, 1))
                    await client.mutate(write(file, client.name.encode()))

            client.on_recall = obey

        look_then_write(alice)
        look_then_write(bob)
        start = trio.current_time()
        await carol.query(GetAttributes(file))
        assert trio.current_time() - start < 1, "nobody waited for the end of a lease"


async def test_waiting_requests_leave_room_for_what_they_wait_for(autojump_clock: object) -> None:
    """However many requests of a session wait for flushes, its own RecallDone gets in; the excess is refused OVERLOADED."""
    async with MetaWorld.open() as world:
        alice, bob = [await world.client(name) for name in ("alice", "bob")]
        theirs = await alice.make_file(b"f", open_mode=OPEN_WRITE)
        mine = await bob.make_file(b"g", open_mode=OPEN_WRITE)
        alice.obeys = False
        question = Query(bob.session, GetAttributes(theirs))
        asking = [bob.later(question) for _ in range(WAITING_MAX)]
        await wait_all_tasks_blocked()
        for _ in range(20):
            with refused(Code.OVERLOADED):
                await bob.ask(question, urgent=True)
        assert not any(each.is_done for each in asking)
        flush_on_recall(bob, mine, b"data")
        alice.obeys = True
        for recall in alice.recalls:
            world.nursery.start_soon(alice.obey, recall)
        assert (await alice.query(GetAttributes(mine))).attributes.size_bytes == 4
        for each in asking:
            await each.wait()


async def test_a_lost_session_is_waited_for_until_its_lease_ends(autojump_clock: object) -> None:
    """A cacher that vanished holds up a change for the rest of its lease, and no longer."""
    async with MetaWorld.open() as world:
        alice, bob = [await world.client(name) for name in ("alice", "bob")]
        file = await alice.make_file(b"f")
        await bob.query(GetAttributes(file))
        bob.beats = False
        await trio.sleep(3.5)
        await bob.ask(Heartbeat(bob.session))
        await trio.sleep(4)
        bob.cut()
        start = trio.current_time()
        await alice.mutate(chmod(file, 0o600))
        assert LEASE_S - 5 < trio.current_time() - start < LEASE_S - 3


async def test_a_silent_network_ends_like_a_lost_session(autojump_clock: object) -> None:
    """The connection stands but nothing arrives any more: the lease's end lets the change through."""
    async with MetaWorld.open() as world:
        alice, bob = [await world.client(name) for name in ("alice", "bob")]
        file = await alice.make_file(b"f")
        await bob.query(GetAttributes(file))
        bob.link.drop()
        start = trio.current_time()
        await alice.mutate(chmod(file, 0o600))
        assert trio.current_time() - start <= LEASE_S


async def test_resuming_gives_up_what_was_cached(autojump_clock: object) -> None:
    """A session that comes back on a new connection caches nothing: a change that waited for it goes on at once."""
    async with MetaWorld.open() as world:
        alice, bob = [await world.client(name) for name in ("alice", "bob")]
        file = await alice.make_file(b"f")
        await bob.query(GetAttributes(file))
        bob.obeys = False
        changing = alice.later(alice.mutation(chmod(file, 0o600)))
        await trio.sleep(1)
        bob.cut()
        await trio.sleep(1)
        assert not changing.is_done
        await bob.resume()
        with trio.fail_after(0.1):
            await changing.wait()


async def test_a_flush_is_asked_again_after_resuming(autojump_clock: object) -> None:
    """The recall was lost with the connection: the new one brings it, and the question that waits gets the bytes."""
    async with MetaWorld.open() as world:
        alice, bob = [await world.client(name) for name in ("alice", "bob")]
        file = await alice.make_file(b"f", open_mode=OPEN_WRITE)
        alice.cut()
        await trio.sleep(1)
        asking = bob.later(Query(bob.session, GetAttributes(file)))
        await trio.sleep(1)
        flush_on_recall(alice, file, b"hello")
        await alice.resume([OpenInode(file, OPEN_WRITE)])
        with trio.fail_after(0.1):
            assert (await asking.wait()).attributes.size_bytes == 5


async def test_who_renews_but_does_not_obey_is_ended(autojump_clock: object) -> None:
    """A session that heartbeats for ever without confirming is ended: the change goes through, the session is told."""
    async with MetaWorld.open() as world:
        alice, bob = [await world.client(name) for name in ("alice", "bob")]
        file = await alice.make_file(b"f")
        await bob.query(GetAttributes(file))
        bob.obeys = False
        start = trio.current_time()
        await alice.mutate(chmod(file, 0o600))
        assert RECALL_TIMEOUT_NS / 1e9 < trio.current_time() - start <= RECALL_TIMEOUT_NS / 1e9 + LEASE_S
        await trio.sleep(1)
        await bob.connect()
        with refused(Code.NO_SESSION):
            await bob.ask(Heartbeat(bob.session))
        assert len((await alice.ask(GetStatus())).sessions) == 1


async def test_an_answer_that_was_overtaken_by_a_recall_grants_nothing(autojump_clock: object) -> None:
    """Bob's answer waits for durability; meanwhile Alice changes the inode and Bob is recalled: what he gets then is not leased."""
    async with MetaWorld.open() as world:
        alice, bob = [await world.client(name) for name in ("alice", "bob")]
        file = await alice.make_file(b"f")
        world.journal.gate = trio.Event()
        alice.later(alice.mutation(chmod(file, 0o600)))
        await wait_all_tasks_blocked()
        asking = bob.later(Query(bob.session, GetAttributes(file)))
        await wait_all_tasks_blocked()
        changing = alice.later(alice.mutation(chmod(file, 0o640)))
        await wait_all_tasks_blocked()
        assert drops(bob) == [file]
        world.journal.gate.set()
        assert not (await asking.wait()).leased
        await changing.wait()


async def test_a_clean_end_gives_up_everything(autojump_clock: object) -> None:
    """CloseSession lets a waiting change go on at once, and answers a second time."""
    async with MetaWorld.open() as world:
        alice, bob = [await world.client(name) for name in ("alice", "bob")]
        file = await alice.make_file(b"f")
        await bob.query(Open(file, OPEN_WRITE))
        await bob.query(GetAttributes(file))
        bob.obeys = False
        changing = alice.later(alice.mutation(chmod(file, 0o600)))
        await trio.sleep(1)
        assert not changing.is_done
        await bob.close_session()
        await bob.close_session()
        with trio.fail_after(0.1):
            assert not isinstance(await changing.wait(), Refused)


async def test_a_silent_session_is_ended_after_its_time(autojump_clock: object) -> None:
    """Silent for SESSION_TIMEOUT_NS: the session ends, its opens and leases with it."""
    async with MetaWorld.open() as world:
        alice, bob = [await world.client(name) for name in ("alice", "bob")]
        file = await alice.make_file(b"f")
        await bob.query(Open(file, OPEN_WRITE))
        bob.beats = False
        await trio.sleep(SESSION_TIMEOUT_NS / 1e9 - 2)
        assert len((await alice.ask(GetStatus())).sessions) == 2
        await trio.sleep(6)
        assert [each.session for each in (await alice.ask(GetStatus())).sessions] == [alice.session]
        seen = await alice.query(GetAttributes(file))
        assert seen.leased
        assert RECALL_DROP not in kinds(bob)
