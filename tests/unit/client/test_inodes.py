"""What a client knows of inodes: uncommitted size and times lie over the committed ones; the table stays bounded; leases count."""

import errno
from dataclasses import replace

import pytest

from ringfs.base.errors import Code, Refused
from ringfs.client.dirty import Times
from ringfs.client.inodes import ABSENT, Inode, InodeTable
from ringfs.wire.messages.common import Attributes
from ringfs.wire.messages.namespace import INLINE, Extent

KNOWN = Attributes(7, 0o100644, 0, 0, 1, 100, 100, 0, 1, 2, 3, 4, 5, 0, 0)


def _inode(number: int = 7) -> Inode:
    return Inode(number, replace(KNOWN, inode=number))


def test_merged_shows_times_of_flights_under_way() -> None:
    """A time that was set here stays what stat shows while the flight that carries it is on its way; later ones win."""
    inode = _inode()
    for mtime_ns in (50, 60):
        inode.dirty.live.write(0, b"x")
        flight = inode.dirty.take(0, 1)
        flight.times = Times(mtime_ns=mtime_ns)
    assert inode.merged().mtime_ns == 60
    inode.times = Times(atime_ns=70)
    assert (inode.merged().atime_ns, inode.merged().mtime_ns) == (70, 60)
    inode.times.mtime_ns = 80
    assert inode.merged().mtime_ns == 80


def test_merged_shows_the_end_of_dirty_bytes() -> None:
    """The size is the larger one of what is committed and what is dirty, in flights or not."""
    inode = _inode()
    inode.dirty.live.write(50, b"x" * 10)
    assert inode.merged().size_bytes == 100
    inode.dirty.live.write(200, b"x")
    assert inode.merged().size_bytes == 201
    inode.dirty.take(0, 1000)
    inode.dirty.live.write(150, b"x")
    assert inode.merged().size_bytes == 201


def test_what_a_commit_leaves_is_known() -> None:
    """If every byte is stored then, and the times are decided: not with a hole, several flights, bytes that found no place."""
    times = Times(mtime_ns=50, ctime_ns=50)
    inode = _inode()
    assert not inode.stays_as_merged, "nothing is dirty"
    inode.dirty.live.write(100, b"x" * 10)
    assert not inode.stays_as_merged, "the service decides on times"
    inode.times = times
    assert inode.stays_as_merged
    inode.dirty.live.write(110, b"x" * 70_000)
    inode.dirty.live.write(0, b"x" * 50)
    assert not inode.stays_as_merged, "in two places"
    inode.dirty.live.write(50, b"x" * 50)
    assert inode.stays_as_merged
    flight = inode.dirty.take(0, 1 << 20)
    flight.times, inode.times = inode.times, Times()
    assert inode.stays_as_merged
    inode.times.mtime_ns = 60
    assert not inode.stays_as_merged, "a time was set since"
    inode.times.clear()
    inode.dirty.live.write(0, b"x")
    assert not inode.stays_as_merged, "some of it comes later"
    inode.dirty.live.remove(0, 1)
    flight.failure = Refused(Code.NO_SPACE)
    assert not inode.stays_as_merged
    sparse = Inode(7, replace(KNOWN, stored_bytes=50))
    sparse.dirty.live.write(0, b"x" * 100)
    sparse.times = times
    assert not sparse.stays_as_merged, "what of it is stored already is not known"
    beyond = _inode()
    beyond.dirty.live.write(101, b"x")
    beyond.times = times
    assert not beyond.stays_as_merged, "a hole"


class _Leases:
    """Says which epoch is valid."""

    def __init__(self) -> None:
        self.epoch = 1

    def holds(self, epoch: int) -> bool:
        """See MetadataLink."""
        return epoch == self.epoch


def _table() -> tuple[InodeTable, _Leases]:
    leases = _Leases()
    return InodeTable(leases.holds), leases


def _at(change: int, number: int = 7) -> Attributes:
    return replace(KNOWN, inode=number, change=change)


def test_older_attributes_never_replace_newer_ones() -> None:
    """Answers may be taken in in any order."""
    inodes, _ = _table()
    inode = inodes.absorb(_at(5), 1, own=False)
    inodes.absorb(_at(4), 0, own=False)
    assert (inode.attributes.change, inode.lease_epoch) == (5, 1)


@pytest.mark.parametrize(
    ("own", "passed", "leased", "kept"),
    [
        (False, 0, False, True),
        (False, 1, False, False),
        (False, 1, True, True),
        (True, 1, False, True),
        (True, 2, False, False),
        (True, 2, True, True),
        (True, 0, False, True),
    ],
)
def test_what_was_cached_is_kept_only_if_nothing_can_be_missing(own: bool, passed: int, leased: bool, kept: bool) -> None:
    """Under a lease we would have been told; without one, only a single step that was our own leaves nothing out."""
    inodes, leases = _table()
    inode = inodes.absorb(_at(5), 1, own=False)
    inodes.set_name(inode, b"name", 9)
    inode.extents.load(0, 1, [Extent(0, 3, INLINE, b"abc")], 5)
    inode.remember_xattr(b"user.a", b"1")
    if not leased:
        leases.epoch = 2
    inodes.absorb(_at(5 + passed), 2, own=own)
    assert (inode.names is not None, inode.extents.is_loaded(0), bool(inode.xattrs)) == (kept, kept, kept)
    assert inode.content_version == (0 if kept else 1)
    assert inode.attributes.change == 5 + passed


def test_an_own_answer_takes_no_lease_away() -> None:
    """Answers that carry no lease leave the one that is held; another's answer without lease ends it."""
    inodes, _ = _table()
    inode = inodes.absorb(_at(5), 1, own=False)
    inodes.absorb(_at(6), 0, own=True)
    assert inodes.leased(7) is inode
    inodes.absorb(_at(7), 0, own=False)
    assert inodes.leased(7) is None


def test_own_steps_do_not_count_as_changes_by_others() -> None:
    """What a commit after a lost session expects moves on with our own changes, and with nobody else's."""
    inodes, _ = _table()
    inode = inodes.absorb(_at(5), 1, own=False)
    inode.expected_change = 5
    inodes.absorb(_at(6), 0, own=True)
    assert inode.expected_change == 6
    inodes.absorb(_at(7), 0, own=False)
    inodes.absorb(_at(9), 0, own=True)
    assert inode.expected_change == 6


def test_the_table_is_bounded_but_for_what_is_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least recently used go first; open, dirty and truncating inodes stay; what is let go is forgotten whole."""
    monkeypatch.setattr("ringfs.client.inodes.INODES_MAX", 10)
    inodes, _ = _table()
    pinned = []
    for number in range(1, 6):
        inode = inodes.absorb(_at(5, number), 1, own=False)
        pinned.append(inode)
    pinned[0].open_count = 1
    pinned[1].dirty.live.write(0, b"x")
    pinned[2].times.mtime_ns = 5
    pinned[3].server_mode = 1
    pinned[4].truncating = True
    for number in range(100, 200):
        inodes.set_name(inodes.absorb(_at(5, number), 1, own=False), b"name", 1)
        assert len(inodes) <= 10
    assert all(inodes.get(inode.number) is inode for inode in pinned)
    assert inodes._name_count == sum(len(inode.names or ()) for inode in inodes)


def test_names_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory that was used least recently loses its names, and is not complete any more; the count stays exact."""
    monkeypatch.setattr("ringfs.client.inodes.NAMES_MAX", 100)
    inodes, _ = _table()
    directories = [inodes.absorb(_at(5, number), 1, own=False) for number in range(1, 5)]
    for directory in directories:
        directory.complete = True
        for index in range(40):
            inodes.set_name(directory, b"%d" % index, index + 1)
            assert inodes._name_count == sum(len(each.names or ()) for each in inodes) <= 100
    assert inodes.find_name(directories[0], b"5") is None
    assert inodes.find_name(directories[3], b"5") == 6
    assert inodes.find_name(directories[3], b"no") == ABSENT
    inodes.forget_name(directories[3], b"5")
    assert inodes.find_name(directories[3], b"5") is None
    assert inodes._name_count == sum(len(each.names or ()) for each in inodes)
    for index in range(1000):
        inodes.set_name(directories[2], b"x%d" % index, 1)
    assert inodes._name_count == sum(len(each.names or ()) for each in inodes) <= 100


@pytest.mark.parametrize("code", list(Code))
def test_background_errors_are_what_an_application_knows(code: Code) -> None:
    """write(2) and fsync(2) fail with EIO, ENOSPC, EDQUOT or EFBIG, and with nothing that is ours alone."""
    inode = _inode()
    inode.fail(Refused(code))
    assert inode.error is not None
    assert inode.error.code.errno in (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    assert inode.error_count == 1
