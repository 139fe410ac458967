"""OpenTable against a plain set of triples."""

import random

import pytest

from ringfs.base.errors import Code
from ringfs.meta.opens import OpenTable
from ringfs.wire.messages.session import OPEN_READ, OPEN_WRITE
from tests.support.refusals import refused


@pytest.mark.parametrize("seed", range(20))
def test_oracle(seed: int) -> None:
    """After any opens, closes and ends, every question is answered as a dictionary of pairs answers it."""
    draw = random.Random(seed)
    table = OpenTable()
    plain: dict[tuple[int, int], int] = {}
    for _ in range(400):
        session, inode = draw.randrange(1, 5), draw.randrange(10)
        match draw.randrange(8):
            case 0:
                assert sorted(table.end(session)) == sorted(each for owner, each in plain if owner == session), seed
                plain = {pair: mode for pair, mode in plain.items() if pair[0] != session}
            case 1 | 2 | 3:
                assert table.close(session, inode) == ((session, inode) in plain), seed
                plain.pop((session, inode), None)
            case _:
                mode = draw.choice((OPEN_READ, OPEN_WRITE))
                table.open(session, inode, mode)
                plain[session, inode] = plain.get((session, inode), 0) | mode
        table.check_invariants()
        writers = {pair for pair, mode in plain.items() if mode & OPEN_WRITE}
        assert table.count == len(plain), seed
        assert table.holders(inode) == sorted(owner for owner, each in plain if each == inode), seed
        assert table.other_writers(session, inode) == sorted(o for o, each in writers if each == inode and o != session), seed
        assert table.others_write(session) == any(owner != session for owner, _ in writers), seed
        assert table.mode(session, inode) == plain.get((session, inode), 0), seed
        assert table.has(session, inode) == ((session, inode) in plain), seed
        assert table.count_of(session) == len(list(table.of_session(session))), seed


def test_bound() -> None:
    """Past the bound a new inode is refused; one that is open already can be opened in another mode."""
    table = OpenTable(opens_max=1)
    table.open(1, 10, OPEN_READ)
    with refused(Code.TOO_MANY_OPEN):
        table.open(2, 10, OPEN_READ)
    table.open(1, 10, OPEN_WRITE)
    table.check_invariants()
    table.close(1, 10)
    table.open(2, 10, OPEN_READ)
