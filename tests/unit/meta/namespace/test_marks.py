"""Marks of answers: the same for the same inodes after the same changes, others for anything else."""

from dataclasses import replace
from typing import Any

from ringfs.base.ids import ROOT_INODE
from ringfs.meta.namespace.marks import AheadMark, mark_of
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages.common import NOT_LEASED
from ringfs.wire.schema import decode, encode
from tests.support.namespace import TrialNamespace

MADE = 4156542428
ENCODED = "92cd0510cef7bfcddc"


def _answers() -> dict[str, Any]:
    space = TrialNamespace()
    made = space.do(m.Mkdir(ROOT_INODE, b"a", 0o755, 0, 0, 0))
    space.directory(b"b")
    return {
        "made": made,
        "attributes": space.attributes(ROOT_INODE),
        "renamed": space.do(m.Rename(ROOT_INODE, b"a", ROOT_INODE, b"c", 0)),
        "replaced": space.do(m.Rename(ROOT_INODE, b"c", ROOT_INODE, b"b", 0)),
        "removed": space.do(m.Rmdir(ROOT_INODE, b"b")),
    }


def test_each_inode_and_change_counts() -> None:
    """In every answer; what else is shown does not: times and leases are the client's own."""
    answers = _answers()
    assert len({mark_of(answer) for answer in answers.values()}) == len(answers)
    made = answers["made"]
    for field in ("attributes", "parent"):
        shown = getattr(made, field)
        assert mark_of(replace(made, **{field: replace(shown, change=shown.change + 1)})) != mark_of(made)
        assert mark_of(replace(made, **{field: replace(shown, inode=shown.inode + 1)})) != mark_of(made)
        assert mark_of(replace(made, **{field: replace(shown, mtime_ns=1)})) == mark_of(made)
    assert mark_of(replace(made, leased=NOT_LEASED)) == mark_of(made)
    removed = answers["removed"]
    gone = replace(removed, removed=replace(removed.removed, change=0))
    assert mark_of(gone) != mark_of(removed)
    replaced = answers["replaced"]
    assert mark_of(replace(replaced, other=None)) != mark_of(replaced)


def test_golden_mark() -> None:
    """Marks are kept in journals and compared between versions: they do not change."""
    assert mark_of(_answers()["made"]) == MADE
    assert encode(AheadMark(MADE)).hex() == ENCODED
    assert decode(bytes.fromhex(ENCODED)) == AheadMark(MADE)
