"""LeaseTable: what a recall takes away, who waits for what, bounds; and random runs against what clients believe."""

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from ringfs.meta.leases import LeaseTable, Ticket
from ringfs.meta.opens import OpenTable
from ringfs.wire.messages.common import DELEGATED, LEASED, NOT_LEASED
from ringfs.wire.messages.session import OPEN_READ, OPEN_WRITE, RECALL_DROP, RECALL_FLUSH, RECALL_RETURN

ALICE, BOB, CAROL = 1, 2, 3


def tables(**bounds: Any) -> tuple[OpenTable, LeaseTable]:
    opens = OpenTable()
    return opens, LeaseTable(opens, **bounds)


def grant(leases: LeaseTable, session: int, inode: int) -> int:
    """As the server does it: what is delegated to another is taken back first."""
    for ticket in leases.take_back(session, [inode]):
        leases.confirm(ticket.session, ticket.serial)
    leases.poll_recalls()
    return leases.grant(session, inode)


def test_who_is_alone_with_an_inode_has_it_delegated() -> None:
    """Not beside another cacher, nor beside another who has it open; and again when these have gone."""
    opens, leases = tables()
    assert leases.grant(ALICE, 10) == DELEGATED
    assert leases.is_delegated(ALICE, 10)
    opens.open(BOB, 11, OPEN_READ)
    assert leases.grant(ALICE, 11) == LEASED
    assert grant(leases, BOB, 10) == LEASED
    assert leases.grant(ALICE, 10) == LEASED
    (ticket,) = leases.drop(ALICE, [10])
    assert leases.grant(ALICE, 10) == LEASED, "while bob may still show it"
    leases.confirm(BOB, ticket.serial)
    assert leases.grant(ALICE, 10) == DELEGATED
    opens.close(BOB, 11)
    assert leases.grant(ALICE, 11) == DELEGATED
    leases.check_invariants()


def test_a_delegation_is_taken_back_before_anybody_else_is_answered() -> None:
    """One RETURN for all who wait; the grant stays; until it is confirmed, no new delegation, no grant to others."""
    _, leases = tables()
    leases.grant(ALICE, 10)
    assert not leases.take_back(ALICE, [10])
    assert not leases.others_delegated(ALICE)
    assert leases.others_delegated(BOB)
    (ticket,) = leases.take_back(BOB, [10, 10, 11])
    assert (ticket.session, ticket.kind, ticket.inodes) == (ALICE, RECALL_RETURN, [10])
    assert leases.take_back(CAROL, [10]) == [ticket]
    assert leases.poll_recalls() == [ticket]
    assert leases.grant(BOB, 10) == NOT_LEASED
    assert leases.grant(ALICE, 10) == LEASED
    leases.check_invariants()
    leases.confirm(ALICE, ticket.serial)
    assert leases.is_granted(ALICE, 10)
    assert not leases.is_delegated(ALICE, 10)
    assert not leases.others_delegated(BOB)
    leases.check_invariants()


@pytest.mark.parametrize("end", ["lapse", "resume", "void", "forget"])
def test_a_delegation_ends_with_its_holder(end: str) -> None:
    """Nobody waits for who cannot be asked."""
    _, leases = tables()
    leases.grant(ALICE, 10)
    (ticket,) = leases.take_back(BOB, [10])
    getattr(leases, end)(ALICE)
    assert ticket.settled
    assert not leases.is_delegated(ALICE, 10)
    leases.check_invariants()


def test_what_was_made_ahead_is_granted_past_the_bound() -> None:
    """Its maker takes it for delegated already; others are recalled to make room."""
    _, leases = tables(per_session_max=16)
    for inode in range(16):
        leases.grant(ALICE, inode)
    leases.grant_made(ALICE, 100)
    assert leases.is_delegated(ALICE, 100)
    assert leases.poll_recalls()
    leases.check_invariants()


def test_a_drop_asks_the_others_that_cache_it() -> None:
    """Not the asker, not who caches something else, and nobody twice while the recall is outstanding."""
    _, leases = tables()
    for session in (ALICE, BOB):
        assert grant(leases, session, 10)
    assert leases.grant(CAROL, 11)
    (ticket,) = leases.drop(ALICE, [10])
    assert (ticket.session, ticket.kind, ticket.inodes) == (BOB, RECALL_DROP, [10])
    assert leases.poll_recalls() == [ticket]
    assert leases.drop(ALICE, [10]) == [ticket]
    assert leases.drop(CAROL, [10])[0] is ticket
    assert [each.session for each in leases.poll_recalls()] == [ALICE]
    leases.confirm(BOB, ticket.serial)
    assert ticket.settled
    assert not leases.is_granted(BOB, 10)
    leases.check_invariants()


def test_a_grant_after_a_recall_outlives_its_confirmation() -> None:
    """The session asked again before it confirmed: what it got then is newer than the recall, and needs one of its own."""
    _, leases = tables()
    leases.grant(BOB, 10)
    (first,) = leases.drop(ALICE, [10])
    assert leases.grant(BOB, 10)
    (outstanding, second) = leases.drop(ALICE, [10])
    assert outstanding is first
    assert second.serial > first.serial
    leases.confirm(BOB, first.serial)
    assert leases.is_granted(BOB, 10)
    leases.confirm(BOB, second.serial)
    assert not leases.is_granted(BOB, 10)
    leases.check_invariants()


def test_a_flush_does_not_stand_for_a_drop() -> None:
    """A change never waits for a flush, which may wait for the change: the cacher gets a drop beside it."""
    opens, leases = tables()
    opens.open(BOB, 10, OPEN_WRITE)
    leases.grant(BOB, 10)
    (flush,) = leases.flush(ALICE, [10], set())
    assert flush.kind == RECALL_FLUSH
    (drop,) = leases.drop(ALICE, [10])
    assert drop.kind == RECALL_DROP
    assert not leases.outstanding_drops(BOB, [10])
    assert leases.outstanding_drops(CAROL, [10]) == [drop]


def test_a_request_flushes_each_writer_once() -> None:
    """What a request remembers as flushed is not flushed again for it; another request's flush is its own."""
    opens, leases = tables()
    opens.open(BOB, 10, OPEN_WRITE)
    flushed: set[tuple[int, int]] = set()
    assert len(leases.flush(ALICE, [10], flushed)) == 1
    assert not leases.flush(ALICE, [10], flushed)
    assert len(leases.flush(ALICE, [10], set())) == 1
    assert not leases.flush(BOB, [10], set())


def test_who_flushes_does_not_wait_for_flushes_of_the_same() -> None:
    """A session with an outstanding FLUSH of an inode is not made to wait for the inode's other writers."""
    opens, leases = tables()
    for session in (ALICE, BOB):
        opens.open(session, 10, OPEN_WRITE)
        opens.open(session, 11, OPEN_WRITE)
    assert {ticket.session for ticket in leases.flush(CAROL, [10], set())} == {ALICE, BOB}
    assert not leases.flush(ALICE, [10], set())
    assert leases.flush(ALICE, [10], set(), may_be_part_of_flush=False), "an open sees what the other has dirty"
    assert leases.flush(ALICE, [11], set())


def test_no_lease_beside_another_writer() -> None:
    """What another session writes is not granted; what only the asker writes is."""
    opens, leases = tables()
    opens.open(BOB, 10, OPEN_WRITE)
    assert not leases.grant(ALICE, 10)
    assert leases.grant(BOB, 10)
    assert leases.grant(ALICE, 11)


def test_waiters_are_called_once() -> None:
    """However a recall is settled, whoever waits for it hears once."""
    _, leases = tables()
    settlements: list[Callable[[int], object]] = [
        lambda serial: leases.confirm(BOB, serial),
        lambda _serial: leases.lapse(BOB),
        lambda _serial: leases.resume(BOB),
        lambda _serial: leases.forget(BOB),
    ]
    for settle in settlements:
        leases.grant(BOB, 10)
        (ticket,) = leases.drop(ALICE, [10])
        heard: list[int] = []
        ticket.waiters.append(partial(heard.append, 1))
        settle(ticket.serial)
        leases.confirm(BOB, ticket.serial)
        assert heard == [1]
        assert not leases.is_granted(BOB, 10)
        leases.check_invariants()


def test_a_lapse_keeps_other_grants_known() -> None:
    """A session whose lease revives must have been sent every recall, so what was not recalled stays known; resuming forgets it."""
    _, leases = tables()
    leases.grant(BOB, 10)
    leases.grant(BOB, 11)
    leases.drop(ALICE, [10])
    leases.lapse(BOB)
    assert leases.is_granted(BOB, 11)
    assert leases.resume(BOB) == []
    assert leases.count == 0


def test_flushes_survive_resuming() -> None:
    """They are given back to be sent again; drops are void."""
    opens, leases = tables()
    opens.open(BOB, 10, OPEN_WRITE)
    leases.grant(BOB, 10)
    (flush,) = leases.flush(ALICE, [10], set())
    (drop,) = leases.drop(ALICE, [10])
    assert leases.resume(BOB) == [flush]
    assert drop.settled
    assert not flush.settled


def test_past_the_bound_the_oldest_are_recalled() -> None:
    """The longest held sixteenth goes, once; until it is confirmed nothing new is granted, what is granted stays so."""
    _, leases = tables(per_session_max=32, may_delegate=lambda _inode: False)
    for inode in range(32):
        assert leases.grant(ALICE, inode)
    assert not leases.grant(ALICE, 100)
    assert not leases.grant(ALICE, 101)
    (ticket,) = leases.poll_recalls()
    assert ticket.inodes == [0, 1]
    assert leases.grant(ALICE, 31)
    assert leases.was_recalled(ALICE, 0)
    leases.confirm(ALICE, ticket.serial)
    assert leases.count == 30
    assert leases.grant(ALICE, 100)
    leases.check_invariants()


def test_what_is_delegated_is_taken_back_before_it_is_dropped() -> None:
    """A DROP may be confirmed while what was done ahead is on its way; so none is sent for what is delegated."""
    _, leases = tables(per_session_max=32, may_delegate=lambda inode: inode != 0)
    for inode in range(32):
        leases.grant(ALICE, inode)
    assert not leases.grant(ALICE, 100)
    returning, dropping = leases.poll_recalls()
    assert (returning.kind, returning.inodes, dropping.kind, dropping.inodes) == (RECALL_RETURN, [1], RECALL_DROP, [0])
    leases.confirm(ALICE, dropping.serial)
    leases.confirm(ALICE, returning.serial)
    assert leases.is_granted(ALICE, 1)
    assert leases.grant(ALICE, 100)
    assert not leases.grant(ALICE, 101)
    returning, dropping = leases.poll_recalls()
    assert (returning.inodes, dropping.inodes) == ([2], [1])
    leases.check_invariants()


def test_a_flush_does_not_stand_for_a_return() -> None:
    """Whoever asks between the two confirmations waits for the second: what was done ahead may still be on its way."""
    opens, leases = tables()
    leases.grant(ALICE, 10)
    opens.open(ALICE, 10, OPEN_WRITE)
    (returning,) = leases.take_back(BOB, [10])
    (flushing,) = leases.flush(BOB, [10], set())
    leases.confirm(ALICE, flushing.serial)
    assert leases.others_delegated(CAROL)
    assert leases.take_back(CAROL, [10]) == [returning]
    leases.check_invariants()
    leases.confirm(ALICE, returning.serial)
    assert not leases.take_back(CAROL, [10])
    leases.check_invariants()


def test_what_may_not_be_delegated_any_more_is_answered_so() -> None:
    """Although it still is, in the table; but what was made ahead is delegated in any case."""
    forbidden: set[int] = set()
    _, leases = tables(may_delegate=lambda inode: inode not in forbidden)
    leases.grant(ALICE, 10)
    forbidden |= {10, 11}
    assert leases.grant(ALICE, 10) == LEASED
    assert leases.is_delegated(ALICE, 10)
    leases.grant_made(ALICE, 11)
    assert leases.is_delegated(ALICE, 11)
    leases.check_invariants()


def test_past_the_common_bound_who_holds_most_gives() -> None:
    """All sessions together are bounded too: the largest holder is asked."""
    _, leases = tables(per_session_max=100, total_max=40)
    for inode in range(35):
        leases.grant(ALICE, inode)
    for inode in range(50, 55):
        leases.grant(BOB, inode)
    assert not leases.grant(CAROL, 100)
    (ticket,) = leases.poll_recalls()
    assert ticket.session == ALICE


@pytest.mark.parametrize("seed", range(40))
def test_no_session_believes_more_than_the_table_knows(seed: int) -> None:
    """Whatever crosses on the way: what a client may still serve is granted in the table or under an outstanding recall,
    so that no change is answered before the client knows."""
    draw = random.Random(seed)
    opens, leases = tables(per_session_max=8, total_max=14)
    sessions = (ALICE, BOB, CAROL)
    believed: dict[int, set[int]] = {session: set() for session in sessions}
    delegated: dict[int, set[int]] = {session: set() for session in sessions}
    wires: dict[int, list[Ticket]] = {session: [] for session in sessions}
    unconfirmed: dict[int, list[Ticket]] = {session: [] for session in sessions}
    for _ in range(600):
        session, inode = draw.choice(sessions), draw.randrange(12)
        match draw.randrange(9):
            case 0 | 1 | 2:
                serial = leases.serial
                granted = leases.grant(session, inode)
                # The server clears the flag if something was recalled since, and the wire keeps order: recalls come first.
                deliver(wires, believed, delegated, unconfirmed, leases, session)
                if granted and not leases.was_recalled(session, serial):
                    assert not any(inode in delegated[other] for other in sessions if other != session), f"seed {seed}"
                    believed[session].add(inode)
                    if granted == DELEGATED:
                        delegated[session].add(inode)
            case 3:
                if not leases.take_back(session, [inode]):
                    leases.drop(session, [inode])
            case 4:
                leases.flush(session, [inode], set())
            case 5:
                if not leases.take_back(session, [inode]) and not leases.drop(session, [inode]):
                    opens.open(session, inode, OPEN_WRITE)
            case 6:
                opens.close(session, inode)
            case 7:
                deliver(wires, believed, delegated, unconfirmed, leases, session)
            case 8:
                while unconfirmed[session]:
                    leases.confirm(session, unconfirmed[session].pop(draw.randrange(len(unconfirmed[session]))).serial)
        for ticket in leases.poll_recalls():
            wires[ticket.session].append(ticket)
        leases.check_invariants()
        for each in sessions:
            assert all(leases.is_delegated(each, held) for held in delegated[each]), f"seed {seed}"
            for held in believed[each]:
                assert leases.is_granted(each, held), f"seed {seed}: session {each} believes in {held}"
                assert any(ticket.session == each for ticket in leases.drop(0, [held])), f"seed {seed}"
        for ticket in leases.poll_recalls():
            wires[ticket.session].append(ticket)


def deliver(
    wires: dict[int, list[Ticket]],
    believed: dict[int, set[int]],
    delegated: dict[int, set[int]],
    unconfirmed: dict[int, list[Ticket]],
    leases: LeaseTable,
    session: int,
) -> None:
    """The session receives its recalls, and obeys; it has not said so yet."""
    for ticket in leases.poll_recalls():
        wires[ticket.session].append(ticket)
    for ticket in wires[session]:
        delegated[session] -= set(ticket.inodes)
        if ticket.kind != RECALL_RETURN:
            believed[session] -= set(ticket.inodes)
        unconfirmed[session].append(ticket)
    wires[session].clear()
