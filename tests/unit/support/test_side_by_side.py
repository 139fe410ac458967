"""The comparison of two file systems: calls can be written down, failures made shorter, and what is not alike is found."""

import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.side_by_side.calls import KINDS, PRELUDE, Call, draw_call, read_program
from tests.support.side_by_side.differences import LOCAL, Difference
from tests.support.side_by_side.worlds import Disagreement, Place, Ranges, SideBySide, shrink
from tools.side_by_side import SeededDraw


@pytest.fixture
def roots() -> Iterator[tuple[Path, Path]]:
    """Two directories that every user can reach."""
    with tempfile.TemporaryDirectory(prefix="ringfs-sides.") as name:
        top = Path(name)
        for directory in (top, top / "left", top / "right"):
            directory.mkdir(exist_ok=True)
            directory.chmod(0o755)
        yield top / "left", top / "right"


def sides(roots: tuple[Path, Path], known: Sequence[Difference] = LOCAL) -> SideBySide:
    return SideBySide(Place("ext4", roots[:1]), Place("ext4", roots[1:]), known)


def test_calls_can_be_written_down() -> None:
    """Every kind, with whatever arguments, comes back from its line."""
    draw = SeededDraw(1)
    drawn = [draw_call(draw) for _ in range(3000)]
    assert {call.kind for call in drawn} == set(KINDS)
    text = "# why\n\n" + "\n".join(call.line() for call in drawn)
    assert [call.line() for call in read_program(text)] == [call.line() for call in drawn]


def test_a_directory_is_like_another(roots: tuple[Path, Path]) -> None:
    """Programs on one file system show no difference: the comparison raises no alarm by itself."""
    draw = SeededDraw(random.randrange(1 << 30))
    both = sides(roots)
    try:
        for _ in range(3):
            both.run([*PRELUDE, *(draw_call(draw) for _ in range(80))])
    finally:
        both.close()
    assert [list(root.iterdir()) for root in roots] == [[], []]


@pytest.mark.parametrize(
    ("spoil", "look"),
    [
        (lambda path: path.write_bytes(b"y" * 10), Call("tree")),
        (lambda path: path.chmod(0o600), Call("stat", (-1, "a", True))),
        (lambda path: path.unlink(), Call("open", (1, -1, "a", 0, 0))),
        (lambda path: path.with_name("more").touch(), Call("readdir", (".",))),
    ],
    ids=["content", "mode", "errno", "names"],
)
def test_what_differs_is_found(roots: tuple[Path, Path], spoil: object, look: Call) -> None:
    """One side is changed behind its back."""
    assert callable(spoil)
    both = sides(roots)
    try:
        both.begin()
        for call in (Call("open", (0, -1, "a", 0o102, 0o644)), Call("write", (0, 3, 10))):
            both.perform(call)
        spoil(next(roots[1].glob("*/in/ner/a")))
        with pytest.raises(Disagreement):
            both.perform(look)
    finally:
        both.close()


def test_holes_are_compared_by_blocks() -> None:
    """Finer holes are as good as coarser ones; data where the other side has a hole is not."""
    assert Ranges([(100, 200), (5000, 5001)]) == Ranges([(0, 8192)])
    assert Ranges([(0, 8192)]) == Ranges([(100, 200), (5000, 5001)])
    assert (Ranges([(0, 4096), (8192, 8200)]) == Ranges([(0, 4096), (12288, 16384)])) is False
    assert (Ranges([(100, 200)]) != Ranges([(0, 4096)])) is False
    assert Ranges([]) == Ranges([(0, 4096)])


class OnlyTwoMatter(SideBySide):
    """Disagrees where two certain calls are both left."""

    def __init__(self) -> None:
        self.call_count = 0

    def run(self, program: Sequence[Call]) -> None:
        """See SideBySide."""
        if {"umask", "fsync"} <= {call.kind for call in program}:
            raise Disagreement("still")


def test_shrinking() -> None:
    """What does not matter is left out, in no more runs than allowed."""
    draw = SeededDraw(3)
    others = [call for call in (draw_call(draw) for _ in range(100)) if call.kind not in ("umask", "fsync")]
    program = [*others[:40], Call("umask", (0,)), *others[40:], Call("fsync", (0,))]
    assert [call.kind for call in shrink(program, OnlyTwoMatter(), runs_max=500)] == ["umask", "fsync"]
    assert len(shrink(program, OnlyTwoMatter(), runs_max=1)) >= len(program) // 2
