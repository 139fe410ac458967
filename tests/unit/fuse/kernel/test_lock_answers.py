"""What GETLK, SETLK and SETLKW say: the lock that is meant, and what no kernel sends."""

import pytest

from ringfs.base.errors import Code
from ringfs.fuse.kernel import wire
from ringfs.fuse.kernel.answers import lock_of
from ringfs.fuse.kernel.requests import Request
from ringfs.wire.messages.locks import LOCK_END, LOCK_WRITE, SPACE_FILES, SPACE_RANGES, LockRange
from tests.support.refusals import refused


def request(*, start: int = 0, end: int = LOCK_END, kind: int = LOCK_WRITE, flags: int = 0, cut: int = 0) -> Request:
    """A SETLK of handle 3 by owner 2**64 - 1."""
    body = wire.LK_IN.pack(3, (1 << 64) - 1, start, end, kind, 4711, flags, 0)
    return Request(10, 32, 7, 0, 0, 1, body[: len(body) - cut], memoryview(b""))


def test_both_spaces() -> None:
    """A range of fcntl's, and flock's whole file."""
    owner = (1 << 64) - 1
    assert lock_of(request(start=5, end=9)) == (3, LockRange(7, SPACE_RANGES, owner, LOCK_WRITE, 5, 9, 4711))
    assert lock_of(request(flags=wire.LK_FLOCK)) == (3, LockRange(7, SPACE_FILES, owner, LOCK_WRITE, 0, LOCK_END, 4711))


@pytest.mark.parametrize("bad", [{"kind": 3}, {"start": 2, "end": 1}, {"end": LOCK_END + 1}, {"start": LOCK_END + 1}])
def test_no_lock(bad: dict[str, int]) -> None:
    """Refused here: such a request to the metadata service would cost the connection."""
    with refused(Code.INVALID):
        lock_of(request(**bad))


def test_too_short() -> None:
    """BAD_REQUEST."""
    with refused(Code.BAD_REQUEST):
        lock_of(request(cut=1))
