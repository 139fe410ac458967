"""What the kernel is told to forget: which notifications, in which order, from threads, and to nobody when there is nobody."""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from ringfs.fuse.kernel import wire
from ringfs.fuse.kernel.channel import Channel
from ringfs.fuse.kernel.notify import Notifier


class Told:
    """The other end."""

    def __init__(self, sock: socket.socket, notifier: Notifier) -> None:
        self.notifier = notifier
        self._sock = trio.socket.from_stdlib_socket(sock)

    async def messages(self, count: int) -> list[bytes]:
        """The next ones."""
        with trio.fail_after(120):
            return [await self._sock.recv(4096) for _ in range(count)]


@asynccontextmanager
async def telling(*, can_expire_names: bool = True) -> AsyncIterator[Told]:
    """A notifier at work on a pair of sockets."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = Channel(os.dup(ours.fileno()))
    ours.close()
    notifier = Notifier()
    notifier.can_expire_names = can_expire_names
    async with trio.open_nursery() as nursery:
        notifier.open(channel, nursery)
        yield Told(theirs, notifier)
    channel.close()
    theirs.close()


async def test_drop() -> None:
    """Names first, then attributes, then pages, which may have to be waited for."""
    async with telling() as at:
        await at.notifier.drop([5, 6], [6], names=True)
        assert await at.messages(4) == [
            wire.pack_increase_epoch(),
            wire.pack_inval_inode(5, -1, 0),
            wire.pack_inval_inode(6, -1, 0),
            wire.pack_inval_inode(6, 0, 0),
        ]


async def test_an_older_kernel_keeps_names() -> None:
    """It would answer EINVAL; it was told to believe names for a short time only."""
    async with telling(can_expire_names=False) as at:
        await at.notifier.drop([5], [], names=True)
        assert await at.messages(1) == [wire.pack_inval_inode(5, -1, 0)]


async def test_what_is_not_waited_for_is_gathered() -> None:
    """Many inodes one by one cost one thread; one that comes twice is told once."""
    async with telling() as at:
        for number in (7, 8, 7, 9):
            at.notifier.drop_soon([number])
        assert await at.messages(3) == [wire.pack_inval_inode(number, -1, 0) for number in (7, 8, 9)]
        at.notifier.drop_soon([7], [7], names=True)
        assert len(await at.messages(3)) == 3
        at.notifier.drop_range_soon(7, 4096, 100)
        assert await at.messages(1) == [wire.pack_inval_inode(7, 4096, 100)]


async def test_nobody_to_tell() -> None:
    """Before the mount and after it nothing is told, and nothing fails: not by a notifier, nor on a channel that is closed."""
    notifier = Notifier()
    await notifier.drop([5], [5], names=True)
    notifier.drop_soon([5])
    async with telling() as at:
        at.notifier.close()
        at.notifier.drop_soon([5], [5], names=True)
        await at.notifier.drop([5], [5], names=True)


async def test_a_kernel_that_takes_long(autojump_clock: trio.testing.MockClock) -> None:
    """A page that is being read is waited for, but not for ever: its answer may wait for us."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    while True:
        try:
            os.write(writing, bytes(4096))
        except BlockingIOError:
            break
    channel = Channel(os.dup(writing))
    notifier = Notifier()
    async with trio.open_nursery() as nursery:
        notifier.open(channel, nursery)
        os.set_blocking(channel.descriptor, True)  # as /dev/fuse does while it waits for a page
        before_s = trio.current_time()
        await notifier.drop([5], [5], names=False)
        assert 0 < trio.current_time() - before_s < 10
    os.read(reading, 1 << 20)  # the thread goes on
    os.close(reading)
    os.close(writing)
