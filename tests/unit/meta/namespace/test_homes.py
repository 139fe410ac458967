"""Homes: where inodes with several names are counted, whichever names come and go."""

import pytest

from ringfs.wire.messages import namespace as m
from ringfs.wire.messages import queries as q
from ringfs.wire.messages.quota import GetQuota
from tests.support.namespace import TrialNamespace, inline


@pytest.fixture
def places(trial: TrialNamespace) -> list[int]:
    """Three directories; a file of 10 bytes with a name in each, made in the first."""
    directories = [trial.directory(name) for name in (b"a", b"b", b"c")]
    file = trial.file(b"f", directories[0])
    trial.commit(file, inline(0, b"x" * 10))
    for directory in directories[1:]:
        trial.do(m.Link(file, directory, b"f"))
    return directories


def counted(trial: TrialNamespace, places: list[int]) -> list[int]:
    return [trial.ask(GetQuota(place)).bytes_used for place in places]


def test_once_where_it_was_made(trial: TrialNamespace, places: list[int]) -> None:
    """Further names cost nothing, above nothing twice."""
    assert counted(trial, [*places, 1]) == [10, 0, 0, 10]


def test_the_next_home(trial: TrialNamespace, places: list[int]) -> None:
    """When the home's last name goes, the first directory that has one takes over."""
    trial.do(m.Link(trial.ask(q.Lookup(places[0], b"f")).attributes.inode, places[0], b"g"))
    trial.do(m.Unlink(places[0], b"f"))
    assert counted(trial, places) == [10, 0, 0]
    trial.do(m.Unlink(places[0], b"g"))
    assert counted(trial, places) == [0, 10, 0]
    trial.do(m.Unlink(places[2], b"f"))
    assert counted(trial, places) == [0, 10, 0]
    trial.do(m.Unlink(places[1], b"f"))
    assert counted(trial, [*places, 1]) == [0, 0, 0, 0]


def test_names_that_move(trial: TrialNamespace, places: list[int]) -> None:
    """The home goes with its only name, another's name goes without it."""
    trial.do(m.Rename(places[1], b"f", places[2], b"g", 0))
    assert counted(trial, places) == [10, 0, 0]
    trial.do(m.Rename(places[0], b"f", places[1], b"h", 0))
    assert counted(trial, places) == [0, 10, 0]
    other = trial.file(b"other", places[0])
    trial.commit(other, inline(0, b"y" * 3))
    trial.do(m.Rename(places[0], b"other", places[1], b"h", m.RENAME_EXCHANGE))
    assert counted(trial, places) == [10, 3, 0]
