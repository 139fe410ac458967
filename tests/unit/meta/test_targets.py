"""What operations are about, looked up before they are applied."""

from typing import Any

import pytest

from ringfs.base.ids import ROOT_INODE
from ringfs.meta.targets import flush_targets, makes_room, removed_by
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages.content import KEEP_SIZE, PUNCH_HOLE, Allocate, Clone, CopyRange
from tests.support.namespace import TrialNamespace


@pytest.fixture
def trial() -> TrialNamespace:
    """/a and /b, of 100 bytes each."""
    trial = TrialNamespace()
    for name in (b"a", b"b"):
        inode = trial.file(name)
        trial.do(m.Setattr(inode, m.SET_SIZE, 0, 0, 0, 100, 0, 0, 0, False))
    return trial


A, B = 2, 3


def setattr_size(size: int) -> m.Setattr:
    return m.Setattr(A, m.SET_SIZE, 0, 0, 0, size, 0, 0, 0, False)


@pytest.mark.parametrize(
    ("operation", "flushed", "removed", "room"),
    [
        (setattr_size(50), [A], None, True),
        (setattr_size(200), [A], None, False),
        (m.Setattr(A, m.SET_MODE, 0, 0, 0, 0, 0, 0, 0, False), [A], None, False),
        (m.SetXattr(A, b"user.x", b"", 0, False), [A], None, False),
        (m.RemoveXattr(A, b"user.x"), [A], None, False),
        (m.Link(A, ROOT_INODE, b"c"), [A], None, False),
        (Allocate(A, 0, 0, 1, False), [A], None, False),
        (Allocate(A, PUNCH_HOLE | KEEP_SIZE, 0, 1, False), [A], None, True),
        (CopyRange(A, 0, B, 0, 1, False), [A, B], None, False),
        (Clone(A, ROOT_INODE, b"c"), [A], None, False),
        (m.Unlink(ROOT_INODE, b"a"), [A], A, True),
        (m.Unlink(ROOT_INODE, b"missing"), [], None, True),
        (m.Unlink(ROOT_INODE, b"x" * 600), [], None, True),
        (m.Rmdir(ROOT_INODE, b"a"), [], A, True),
        (m.Rename(ROOT_INODE, b"a", ROOT_INODE, b"b", 0), [A, B], B, False),
        (m.Rename(ROOT_INODE, b"a", ROOT_INODE, b"b", m.RENAME_EXCHANGE), [A, B], None, False),
        (m.Rename(ROOT_INODE, b"a", ROOT_INODE, b"c", 0), [A], None, False),
        (m.Mknod(ROOT_INODE, b"a", 0o100644, 0, 0, 0, 0, 1, False), [A], None, False),
        (m.Mknod(ROOT_INODE, b"a", 0o100644, 0, 0, 0, 0, 1, True), [], None, False),
        (m.Mkdir(ROOT_INODE, b"a", 0o755, 0, 0, 0), [], None, False),
        (m.Commit([], [m.FileCommit(A, [], -1, -1, -1, 0, False)]), [], None, False),
    ],
)
def test_targets(trial: TrialNamespace, operation: Any, flushed: list[int], removed: int | None, room: bool) -> None:
    """Whose writers flush first, what loses a name for good, and what may use the reserve. A Commit waits for no flush."""
    assert flush_targets(trial.view, operation) == flushed
    assert removed_by(trial.view, operation) == removed
    assert makes_room(trial.view, operation) == room
