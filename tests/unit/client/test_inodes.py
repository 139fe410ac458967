"""What a client knows of inodes: uncommitted size and times lie over the committed ones; the table stays bounded; leases count."""

from dataclasses import replace

from ringfs.client.dirty import Times
from ringfs.client.inodes import Inode
from ringfs.wire.messages.common import Attributes

KNOWN = Attributes(7, 0o100644, 0, 0, 1, 100, 100, 0, 1, 2, 3, 4, 5, 0, 0)


def _inode(number: int = 7) -> Inode:
    return Inode(number, replace(KNOWN, inode=number), 1)


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
