"""Rewrite: the same bytes in another place, whatever else happened, but not over other bytes."""

import pytest

from ringfs.base.errors import Code
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages.sharing import Append, Rewrite
from ringfs.wire.pieces import digest
from tests.support.namespace import TrialNamespace, inline, object_id, piece_of
from tests.support.refusals import refused


@pytest.fixture
def file(trial: TrialNamespace) -> int:
    number = trial.file(b"f")
    trial.commit(number, inline(0, b"abc"), inline(10, b"defg"))
    return number


def rewrite(trial: TrialNamespace, file: int, before: list[list[object]]) -> None:
    """Move the file's two inline extents into object 1."""
    extents = [piece_of(1, 0, 3), piece_of(1, 10, 4, 3)]
    trial.do(Rewrite(file, [trial.new_object(1, 7)], extents, digest(before)))


BEFORE: list[list[object]] = [[0, b"abc"], [10, b"defg"]]


def test_moved(trial: TrialNamespace, file: int) -> None:
    """Nothing that others see changes; a second time it is CHANGED, since now an object is there."""
    before = trial.attributes(file)
    rewrite(trial, file, BEFORE)
    assert trial.extents(file) == [(0, 3, 0, object_id(1)), (10, 4, 3, object_id(1))]
    assert trial.attributes(file) == before
    with refused(Code.CHANGED):
        rewrite(trial, file, BEFORE)


def test_others_go_on_meanwhile(trial: TrialNamespace, file: int) -> None:
    """Bytes behind and between what is moved may change, even those that are one extent with it."""
    trial.do(Append(file, [], [inline(0, b"hij")], False))
    trial.commit(file, inline(5, b"X"))
    rewrite(trial, file, BEFORE)
    assert trial.extents(file) == [
        (0, 3, 0, object_id(1)),
        (5, 1, m.INLINE, b"X"),
        (10, 4, 3, object_id(1)),
        (14, 3, m.INLINE, b"hij"),
    ]


def test_changed(trial: TrialNamespace, file: int) -> None:
    """A byte that changed, even to a hole, keeps everything as it is."""
    trial.commit(file, inline(11, b"E"))
    with refused(Code.CHANGED):
        rewrite(trial, file, BEFORE)
    assert trial.extents(file) == [(0, 3, m.INLINE, b"abc"), (10, 4, m.INLINE, b"dEfg")]


def test_past_the_end(trial: TrialNamespace, file: int) -> None:
    """INVALID: a rewrite never grows a file."""
    with refused(Code.INVALID):
        trial.do(Rewrite(file, [trial.new_object(1, 5)], [piece_of(1, 10, 5)], digest([[10, b"defg"]])))
