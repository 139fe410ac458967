"""The engine on etcd passes the journal's contract over the model; it is fenced, and survives lost answers and large entries."""

import pytest
import trio

from ringfs.base.limits import JOURNAL_ENTRY_BYTES_MAX, MIB
from ringfs.meta.election import Election, LeaderName, Leadership
from ringfs.meta.etcd.interface import Delete, Get, Put, prefix_end
from ringfs.meta.journal.batches import keys_from
from ringfs.meta.journal.etcd import EtcdJournal, journal_prefix, open_journal
from ringfs.meta.journal.interface import Journal, JournalDamaged, JournalFailed
from tests.contract.journal_contract import JournalContract, OpenJournal, replayed
from tests.support.etcd_model import EtcdModel, ModelClient
from tests.support.journals import entries
from tests.support.meta_doubles import TrioClock

PREFIX = b"/ringfs/"
JOURNAL = journal_prefix(PREFIX)


async def lead(etcd: ModelClient) -> Leadership:
    """Be elected, whoever led before having resigned."""
    election = Election(etcd, PREFIX, LeaderName("meta1", "meta1:7000"), TrioClock(), lease_s=2)
    await etcd.transact([], [Delete(election.key)])
    leadership = await election.campaign(0, 0)
    assert leadership is not None
    return leadership


class TestEtcdJournal(JournalContract):
    """Over the model of etcd, each opening by a new leader."""

    @pytest.fixture
    def open_journal(self, autojump_clock: object) -> OpenJournal:
        """The journal in one etcd."""
        etcd = ModelClient(EtcdModel())

        async def reopen() -> Journal:
            return await opened(etcd)

        return reopen


async def opened(etcd: ModelClient) -> EtcdJournal:
    """By a new leader, and everything is in a snapshot."""
    journal = await open_journal(etcd, PREFIX, await lead(etcd))
    journal.snapshot_position = 1 << 60
    return journal


async def test_only_what_a_snapshot_has_is_trimmed(autojump_clock: object) -> None:
    """A checkpoint of this server helps no other."""
    etcd = ModelClient(EtcdModel())
    journal = await opened(etcd)
    for position in range(1, 5):
        await journal.append(1, entries(position, 1))
    journal.snapshot_position = 2
    await journal.trim(4)
    assert journal.first == 3
    assert await replayed(journal, 2) == list(enumerate(entries(3, 2), 3))


async def test_trims_at_once(autojump_clock: object) -> None:
    """After a checkpoint and after a snapshot: together they let go of what is in both, and of nothing twice."""
    etcd = ModelClient(EtcdModel())
    journal = await opened(etcd)
    for position in range(1, 11):
        await journal.append(1, entries(position, 1))
    journal.snapshot_position = 3
    async with trio.open_nursery() as nursery:
        nursery.start_soon(journal.trim, 3)
        nursery.start_soon(journal.trim, 3)
    assert journal.first == 4
    assert await replayed(journal, 3) == list(enumerate(entries(4, 7), 4))
    assert journal.held_bytes == (await opened(etcd)).held_bytes


async def test_a_lost_answer_is_found_out(autojump_clock: object) -> None:
    """What took effect although nobody said so is there once, and the journal goes on."""
    etcd = ModelClient(EtcdModel())
    journal = await opened(etcd)
    etcd.answers_to_lose = 1
    assert await journal.append(5, entries(1, 3)) == 3
    journal = await opened(etcd)
    assert await journal.append(5, entries(4, 1)) == 4
    assert await replayed(await opened(etcd), 0) == list(enumerate(entries(1, 4), 1))


async def test_a_deposed_leader_appends_nothing(autojump_clock: object) -> None:
    """Whatever it had under way: the new leader's journal is as it found it."""
    model = EtcdModel()
    old, new = ModelClient(model), ModelClient(model)
    journal = await opened(old)
    await journal.append(1, entries(1, 1))
    await journal.append(1, entries(2, 1))
    follower = await opened(new)
    with pytest.raises(JournalFailed, match="deposed"):
        await journal.trim(1)
    with pytest.raises(JournalFailed, match="deposed"):
        await journal.append(1, entries(3, 1))
    with pytest.raises(JournalFailed, match="failed before"):
        await journal.append(1, entries(3, 1))
    assert await follower.append(9, entries(3, 1)) == 3
    assert await replayed(await opened(new), 0) == list(enumerate(entries(1, 3), 1))


async def test_no_quorum_for_long_ends_the_leadership(autojump_clock: object) -> None:
    """The append fails in the end, rather than never; a short loss it survives."""
    model = EtcdModel()
    etcd = ModelClient(model)
    journal = await opened(etcd)
    model.has_quorum = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(journal.append, 1, entries(1, 1))
        await trio.sleep(3)
        model.regain_quorum()
    assert journal.last == 1
    model.has_quorum = False
    with pytest.raises(JournalFailed, match="did not answer"):
        await journal.append(1, entries(2, 1))


async def test_large_entries_are_cut_and_put_together(autojump_clock: object) -> None:
    """An entry of the greatest size takes several batches; trimming keeps what an entry needs."""
    etcd = ModelClient(EtcdModel())
    journal = await opened(etcd)
    large = bytes(range(256)) * (JOURNAL_ENTRY_BYTES_MAX // 256)
    written = [b"a", large, b"b", large[: MIB + 1], b"c"]
    await journal.append(1, written[:3])
    await journal.append(1, written[3:])
    journal = await opened(etcd)
    assert await replayed(journal, 0) == list(enumerate(written, 1))
    await journal.trim(1)
    assert journal.first == 2
    await journal.trim(2)
    assert await replayed(await opened(etcd), 2) == list(enumerate(written, 1))[2:]


async def test_what_a_leader_did_not_finish_is_dropped(autojump_clock: object) -> None:
    """The beginning of an entry without its end was never acknowledged: the next leader writes another one there."""
    etcd = ModelClient(EtcdModel())
    journal = await opened(etcd)
    await journal.append(1, [b"a", bytes(2 * MIB)])
    (newest,) = (await etcd.transact([], [Get(JOURNAL, prefix_end(JOURNAL), limit=1, last_first=True)])).found[0]
    await etcd.transact([], [Delete(newest.key)])
    journal = await opened(etcd)
    assert (journal.first, journal.last) == (1, 1)
    assert await replayed(journal, 0) == [(1, b"a")]
    assert await journal.append(2, [b"b", b"c"]) == 3
    assert await replayed(await opened(etcd), 0) == [(1, b"a"), (2, b"b"), (3, b"c")]


async def test_a_gap_is_damage(autojump_clock: object) -> None:
    """A batch that is missing between others is said, and nothing is served."""
    etcd = ModelClient(EtcdModel())
    journal = await opened(etcd)
    for position in range(1, 5):
        await journal.append(1, entries(position, 1))
    await etcd.transact([], [Delete(keys_from(JOURNAL, 2), keys_from(JOURNAL, 3))])
    with pytest.raises(JournalDamaged, match="batch 2 is missing"):
        await opened(etcd)


async def test_a_flipped_bit_is_damage(autojump_clock: object) -> None:
    """A value that does not match its code is not read."""
    etcd = ModelClient(EtcdModel())
    journal = await opened(etcd)
    await journal.append(1, entries(1, 1))
    await journal.append(1, entries(2, 1))
    pairs = (await etcd.transact([], [Get(JOURNAL, prefix_end(JOURNAL))])).found[0]
    await etcd.transact([], [Put(pairs[0].key, pairs[0].value[:-1] + b"\0")])
    with pytest.raises(JournalDamaged, match="code"):
        await opened(etcd)


async def test_a_full_database_holds_appends_up(autojump_clock: object) -> None:
    """Until there is space again; nothing is acknowledged meanwhile, and is_full says why."""
    model = EtcdModel()
    etcd = ModelClient(model)
    election = Election(etcd, PREFIX, LeaderName("meta1", ""), TrioClock(), lease_s=2)
    leadership = await election.campaign(0, 0)
    assert leadership is not None
    journal = await open_journal(etcd, PREFIX, leadership)
    model.quota_bytes = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(election.keep, leadership)
        appended = trio.Event()

        async def append() -> None:
            await journal.append(1, entries(1, 1))
            appended.set()

        nursery.start_soon(append)
        await trio.sleep(60)
        assert journal.is_full
        assert not appended.is_set()
        model.quota_bytes = 1 << 20
        model.disarm()
        await appended.wait()
        assert not journal.is_full
        nursery.cancel_scope.cancel()
