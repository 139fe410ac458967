"""SessionTable: when a lease ends, when a session is dead, when the grace period is over."""

import pytest

from ringfs.base.errors import Code
from ringfs.base.limits import LEASE_NS, SESSION_TIMEOUT_NS
from ringfs.meta import sessions
from ringfs.meta.sessions import SessionTable
from tests.support.refusals import refused

START = 1000


def test_leases_end_unless_renewed() -> None:
    """LEASE_NS after the latest renewal came in; never earlier than said before."""
    table = SessionTable([], START)
    session = table.add(1, "a", START)
    assert session.lease_end_ns == START + LEASE_NS
    table.renew(session, START + 5)
    assert session.lease_end_ns == START + 5 + LEASE_NS
    table.renew(session, START + 2)
    assert session.lease_end_ns == START + 5 + LEASE_NS


def test_silence_and_revocation_kill() -> None:
    """Dead after SESSION_TIMEOUT_NS of silence; a revoked one as soon as its lease has ended, and it is refused at once."""
    table = SessionTable([], START)
    silent, revoked = table.add(1, "a", START), table.add(2, "b", START)
    revoked.revoked = True
    with refused(Code.NO_SESSION):
        table.get(2)
    assert table.dead(START + LEASE_NS - 1) == []
    assert table.dead(START + LEASE_NS) == [revoked]
    table.remove(2)
    assert table.dead(START + SESSION_TIMEOUT_NS - 1) == []
    assert table.dead(START + SESSION_TIMEOUT_NS) == [silent]
    table.stood_still(7)
    assert table.dead(START + SESSION_TIMEOUT_NS) == []
    table.remove(1)
    with refused(Code.NO_SESSION):
        table.get(1)


def test_grace_is_over_when_nobody_is_missing_or_no_lease_can_live() -> None:
    """Sessions of before count as missing until they resumed or ended; new ones never do."""
    table = SessionTable([(1, "a"), (2, "b")], START)
    table.add(3, "c", START)
    assert table.missing() == [1, 2]
    assert table.in_grace(START + LEASE_NS - 1)
    assert not table.in_grace(START + LEASE_NS)
    session = table.get(1)
    for _ in range(2):
        table.mark_resumed(session)
        assert table.missing() == [2]
    table.remove(2)
    assert table.missing() == []
    assert not table.in_grace(START)
    assert len(table) == 2


def test_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the bound there is no room."""
    monkeypatch.setattr(sessions, "SESSIONS_MAX", 1)
    table = SessionTable([], START)
    table.check_room()
    table.add(1, "a", START)
    with refused(Code.TOO_MANY_SESSIONS):
        table.check_room()
