"""Allocate: each mode to the byte, across chunks; what is refused. The trial checks references and live bytes after each step."""

import pytest

from ringfs.base.errors import Code
from ringfs.base.limits import CHUNK_BYTES, FILE_BYTES_MAX, MOVED_EXTENTS_MAX
from ringfs.meta.namespace import facts
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages.common import Attributes
from ringfs.wire.messages.content import COLLAPSE_RANGE, INSERT_RANGE, KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE, Allocate
from tests.support.namespace import TrialNamespace, inline, object_id, piece_of
from tests.support.refusals import refused

ONE = object_id(1)
PUNCH = PUNCH_HOLE | KEEP_SIZE


def allocate(trial: TrialNamespace, inode: int, mode: int, offset: int, length: int, *, privileged: bool = False) -> Attributes:
    answer: Attributes = trial.do(Allocate(inode, mode, offset, length, privileged))
    assert answer == trial.attributes(inode)
    return answer


@pytest.fixture
def file(trial: TrialNamespace) -> int:
    """0 … 99 of an object at the beginning, 8192 bytes of it at the end of the first chunk and the beginning of the second one."""
    number = trial.file(b"a")
    extents = [piece_of(1, 0, 100), piece_of(1, CHUNK_BYTES - 4096, 4096, 1000), piece_of(1, CHUNK_BYTES, 4096, 5096)]
    trial.commit(number, *extents, objects=[trial.new_object(1, 10_000)])
    return number


@pytest.mark.parametrize(
    ("mode", "offset", "length", "size"),
    [
        (0, 0, 10, CHUNK_BYTES + 4096),
        (0, CHUNK_BYTES, 5000, CHUNK_BYTES + 5000),
        (0, 0, FILE_BYTES_MAX, FILE_BYTES_MAX),
        (KEEP_SIZE, CHUNK_BYTES, 5000, CHUNK_BYTES + 4096),
        (PUNCH, CHUNK_BYTES, 5000, CHUNK_BYTES + 4096),
        (ZERO_RANGE, CHUNK_BYTES, 5000, CHUNK_BYTES + 5000),
        (ZERO_RANGE | KEEP_SIZE, CHUNK_BYTES, 5000, CHUNK_BYTES + 4096),
        (COLLAPSE_RANGE, 4096, 8192, CHUNK_BYTES - 4096),
        (INSERT_RANGE, 4096, 8192, CHUNK_BYTES + 12288),
    ],
)
def test_sizes(trial: TrialNamespace, file: int, mode: int, offset: int, length: int, size: int) -> None:
    """As fallocate(2) says; mtime and ctime are now, the change grows."""
    before = trial.attributes(file)
    got = allocate(trial, file, mode, offset, length)
    assert got.size_bytes == size
    assert (got.mtime_ns, got.ctime_ns, got.change) == (trial.now_ns, trial.now_ns, before.change + 1)


def test_preallocation_stores_nothing(trial: TrialNamespace, file: int) -> None:
    """What is there stays, and nothing comes."""
    before = trial.extents(file)
    stored_bytes = allocate(trial, file, 0, 0, CHUNK_BYTES * 3).stored_bytes
    assert (trial.extents(file), stored_bytes) == (before, 8292)


@pytest.mark.parametrize("mode", [PUNCH, ZERO_RANGE, ZERO_RANGE | KEEP_SIZE])
def test_holes_to_the_byte(trial: TrialNamespace, file: int, mode: int) -> None:
    """Extents are cut at both ends, in the middle of a chunk and across chunks; what nothing points to is condemned."""
    allocate(trial, file, mode, 10, 20)
    assert trial.extents(file)[:2] == [(0, 10, 0, ONE), (30, 70, 30, ONE)]
    got = allocate(trial, file, mode, 50, CHUNK_BYTES)
    assert trial.extents(file) == [(0, 10, 0, ONE), (30, 20, 30, ONE), (CHUNK_BYTES + 50, 4046, 5146, ONE)]
    assert got.stored_bytes == facts.counters(trial.view).live_bytes == 4076
    assert allocate(trial, file, mode, 0, 1 << 40).stored_bytes == 0
    assert [key for key in trial.view.pairs() if key[:1] == b"V"]


def test_a_hole_in_many_chunks(trial: TrialNamespace) -> None:
    """Whole chunks between go with it, beyond the end there is nothing to do."""
    inode = trial.file(b"a")
    trial.commit(inode, *[inline(index * CHUNK_BYTES, b"data") for index in range(5)])
    allocate(trial, inode, PUNCH, CHUNK_BYTES + 2, 2 * CHUNK_BYTES)
    assert [extent[:2] for extent in trial.extents(inode)] == [
        *((0, 4), (CHUNK_BYTES, 2), (3 * CHUNK_BYTES + 2, 2), (4 * CHUNK_BYTES, 4)),
    ]
    allocate(trial, inode, PUNCH, 1 << 50, 1)
    assert trial.attributes(inode).stored_bytes == 12


def test_collapse_moves_extents_forward(trial: TrialNamespace, file: int) -> None:
    """Over the chunk's boundary; neighbours in a row become one again."""
    allocate(trial, file, COLLAPSE_RANGE, 4096, 8192)
    assert trial.extents(file) == [(0, 100, 0, ONE), (CHUNK_BYTES - 12288, 8192, 1000, ONE)]
    allocate(trial, file, COLLAPSE_RANGE, 0, CHUNK_BYTES - 8192)
    assert trial.extents(file) == [(0, 4096, 5096, ONE)]
    assert trial.attributes(file).stored_bytes == 4096


def test_insert_moves_extents_back(trial: TrialNamespace, file: int) -> None:
    """Over the boundary, where an extent is cut in two; an extent that holds the place is split."""
    allocate(trial, file, COLLAPSE_RANGE, 4096, 8192)
    allocate(trial, file, INSERT_RANGE, 4096, 8192)
    assert trial.extents(file)[1:] == [(CHUNK_BYTES - 4096, 4096, 1000, ONE), (CHUNK_BYTES, 4096, 5096, ONE)]
    inode = trial.file(b"b")
    trial.commit(inode, piece_of(2, 0, 10_000), objects=[trial.new_object(2, 10_000)])
    allocate(trial, inode, INSERT_RANGE, 4096, CHUNK_BYTES)
    two = object_id(2)
    assert trial.extents(inode) == [(0, 4096, 0, two), (CHUNK_BYTES + 4096, 5904, 4096, two)]
    assert trial.attributes(inode).size_bytes == CHUNK_BYTES + 10_000


@pytest.mark.parametrize(
    ("mode", "offset", "length", "code"),
    [
        (0, 0, 0, Code.INVALID),
        (PUNCH, 5, 0, Code.INVALID),
        (PUNCH_HOLE, 0, 1, Code.NOT_SUPPORTED),
        (COLLAPSE_RANGE | KEEP_SIZE, 0, 4096, Code.NOT_SUPPORTED),
        (INSERT_RANGE | ZERO_RANGE, 0, 4096, Code.NOT_SUPPORTED),
        (0x40, 0, 1, Code.NOT_SUPPORTED),
        (0, FILE_BYTES_MAX, 1, Code.FILE_TOO_BIG),
        (PUNCH, (1 << 64) - 1, (1 << 64) - 1, Code.FILE_TOO_BIG),
        (COLLAPSE_RANGE, 1, 4096, Code.INVALID),
        (COLLAPSE_RANGE, 0, 512, Code.INVALID),
        (COLLAPSE_RANGE, 4096, CHUNK_BYTES, Code.INVALID),
        (COLLAPSE_RANGE, 4096, 1 << 40, Code.INVALID),
        (INSERT_RANGE, 0, 4097, Code.INVALID),
        (INSERT_RANGE, CHUNK_BYTES + 4096, 4096, Code.INVALID),
        (INSERT_RANGE, 0, FILE_BYTES_MAX, Code.FILE_TOO_BIG),
    ],
)
def test_refused(trial: TrialNamespace, file: int, mode: int, offset: int, length: int, code: Code) -> None:
    """As ext4 with blocks of 4096 bytes."""
    with refused(code):
        allocate(trial, file, mode, offset, length)


def test_no_files(trial: TrialNamespace) -> None:
    """A directory, a fifo, nothing."""
    for inode, code in ((1, Code.IS_DIRECTORY), (trial.file(b"p", mode=0o010644), Code.INVALID), (999, Code.STALE)):
        with refused(code):
            allocate(trial, inode, 0, 0, 1)


def test_too_much_to_move(trial: TrialNamespace) -> None:
    """More extents than one transaction moves are refused, and stay; behind them it works."""
    inode = trial.file(b"a")
    count = MOVED_EXTENTS_MAX
    trial.commit(inode, *[inline(index * 10_000, b"x") for index in range(count)])
    last = (count * 10_000 // CHUNK_BYTES + 1) * CHUNK_BYTES
    trial.commit(inode, inline(last, b"y"))
    with refused(Code.NOT_SUPPORTED):
        allocate(trial, inode, INSERT_RANGE, 0, 4096)
    assert len(trial.extents(inode)) == count + 1
    allocate(trial, inode, INSERT_RANGE, last, 4096)
    assert trial.extents(inode)[-1][0] == last + 4096


@pytest.mark.parametrize("mode", [0, KEEP_SIZE, PUNCH])
def test_privileges_go(trial: TrialNamespace, file: int, mode: int) -> None:
    """As with a write: suid, sgid of an executable one, capabilities."""
    trial.do(m.Setattr(file, m.SET_MODE, 0o6755, 0, 0, 0, 0, 0, 0, True))
    trial.do(m.SetXattr(file, b"security.capability", b"caps", 0, False))
    got = allocate(trial, file, mode, 0, 1)
    assert (got.mode & 0o7777, got.xattr_count) == (0o755, 0)


def test_privileges_stay_with_the_privileged(trial: TrialNamespace, file: int) -> None:
    """Capabilities go nevertheless."""
    trial.do(m.Setattr(file, m.SET_MODE, 0o6755, 0, 0, 0, 0, 0, 0, True))
    trial.do(m.SetXattr(file, b"security.capability", b"caps", 0, False))
    got = allocate(trial, file, PUNCH, 0, 1, privileged=True)
    assert (got.mode & 0o7777, got.xattr_count) == (0o6755, 0)
