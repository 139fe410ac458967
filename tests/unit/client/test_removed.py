"""RecentlyRemoved: what may still be opened, for how long, and what becomes of its bytes."""

from typing import Any

from ringfs.client.inodes import Inode, InodeTable
from ringfs.client.removed import KEPT_NS, RecentlyRemoved
from ringfs.wire.messages.common import DELEGATED, LEASED, Attributes


class Clockwork:
    """A table, a writer that notes what it discards, and a clock that is set."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.discarded: list[int] = []
        self.inodes = InodeTable(lambda _epoch: True)
        self.removed = RecentlyRemoved(self.inodes, self, lambda: self.now_ns)  # type: ignore[arg-type]

    def discard(self, inode: Inode, start: int) -> None:
        """See Writer."""
        assert start == 0
        inode.dirty.live.remove(0, inode.dirty.live.end)
        self.discarded.append(inode.number)

    def file(self, number: int, size_bytes: int = 0, leased: int = DELEGATED) -> Inode:
        """A file that just lost its last name."""
        attributes = Attributes(number, 0o100644, 0, 0, 0, size_bytes, 0, 0, 0, 0, 0, 0, 1, 0, 0)
        inode = self.inodes.absorb(attributes, 1, own=False, leased=leased)
        inode.dirty.live.write(0, b"bytes")
        self.removed.add(inode)
        return inode


def test_it_may_be_opened_for_a_moment() -> None:
    """Then its bytes are forgotten, and it too."""
    at = Clockwork()
    inode = at.file(5)
    at.now_ns = KEPT_NS - 1
    at.removed.forget_old()
    assert at.removed.may_be_opened(inode)
    assert not at.discarded
    at.now_ns = KEPT_NS + 1
    at.removed.forget_old()
    assert not at.removed.may_be_opened(inode)
    assert at.discarded == [5]
    assert at.inodes.get(5) is None


def test_what_was_opened_meanwhile_is_left_alone() -> None:
    """Its bytes are somebody's."""
    at = Clockwork()
    inode = at.file(5)
    inode.open_count = 1
    at.now_ns = 2 * KEPT_NS
    at.removed.forget_old()
    assert not at.discarded
    assert at.inodes.get(5) is inode


def test_what_others_may_have_open_keeps_its_bytes() -> None:
    """Only what is delegated is nobody else's."""
    at = Clockwork()
    at.file(5, leased=LEASED)
    at.now_ns = 2 * KEPT_NS
    at.removed.forget_old()
    assert not at.discarded


def test_only_what_is_all_here_can_be_opened() -> None:
    """The service would not tell the rest any more."""
    at = Clockwork()
    assert not at.removed.may_be_opened(at.file(5, size_bytes=100))
    other = at.file(6, size_bytes=100)
    other.extents.all_loaded = True
    assert at.removed.may_be_opened(other)


def test_bounds() -> None:
    """Many files, and files with many dirty bytes, are not kept."""
    at = Clockwork()
    inodes = [at.file(number) for number in range(10, 2000)]
    assert not at.removed.may_be_opened(inodes[0])
    assert at.removed.may_be_opened(inodes[-1])
    large: Any = at.file(5000)
    large.dirty.live.write(0, bytes(1 << 20))
    at.removed.add(large)
    assert not at.removed.may_be_opened(large)
