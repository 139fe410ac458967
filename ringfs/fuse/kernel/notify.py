"""Notifications: what the kernel must not believe any more. Each may block in the kernel until a request of ours is answered, so
none is ever written by the loop: threads do it."""

import errno
import os
from collections.abc import Iterable, Sequence

import structlog
import trio

from ringfs.client.coherence import KernelCache
from ringfs.client.inodes import Inode
from ringfs.fuse.kernel import wire
from ringfs.fuse.kernel.channel import Channel

log = structlog.get_logger("ringfs.fuse")

_THREADS = 4
#: A page that is being read is waited for: its answer may wait for another mount, which may wait for us. So not longer than this;
#: the thread goes on, and readers of the page wait for that answer anyway.
_WAIT_S = 2.0
#: The kernel does not know the inode, or is gone.
_NOTHING_TO_DO = (errno.ENOENT, errno.ENODEV, errno.ENOTCONN, errno.EBADF)


class Notifier(KernelCache):
    """See KernelCache. `open` completes it."""

    def __init__(self) -> None:
        self._threads = trio.CapacityLimiter(_THREADS)
        self._channel: Channel | None = None
        self._nursery: trio.Nursery | None = None
        #: Whether names can be taken back; if not, the kernel is told to believe them for a short time only.
        self.can_expire_names = False
        #: Inodes whose attributes are to be forgotten soon, gathered for one thread.
        self._gathered: dict[int, None] = {}

    def open(self, channel: Channel, nursery: trio.Nursery) -> None:
        """From now on there is a kernel to tell; what is not waited for runs in that nursery."""
        self._channel, self._nursery = channel, nursery

    def close(self) -> None:
        """There is nobody to tell any more."""
        self._channel = self._nursery = None

    async def flush(self, inode: Inode) -> None:
        """See KernelCache: dropping pages writes the changed ones to us first."""
        await self._send([wire.pack_inval_inode(inode.number, 0, 0)])

    async def drop(self, numbers: Sequence[int], pages: Sequence[int], *, names: bool) -> None:
        """See KernelCache."""
        await self._send(self._messages(numbers, pages, names=names))

    def drop_soon(self, numbers: Sequence[int], pages: Sequence[int] = (), *, names: bool = False) -> None:
        """See KernelCache."""
        if self._nursery is None:
            return
        if pages or names:
            self._nursery.start_soon(self._send, self._messages(numbers, pages, names=names))
            return
        if not self._gathered and numbers:
            self._nursery.start_soon(self._send_gathered)
        self._gathered.update(dict.fromkeys(numbers))

    def drop_range_soon(self, number: int, start: int, length_bytes: int) -> None:
        """Have some pages of an inode forgotten, and its attributes."""
        if self._nursery is not None:
            self._nursery.start_soon(self._send, [wire.pack_inval_inode(number, start, length_bytes)])

    async def _send_gathered(self) -> None:
        numbers, self._gathered = list(self._gathered), {}
        await self._send(self._messages(numbers, (), names=False))

    def _messages(self, numbers: Iterable[int], pages: Iterable[int], *, names: bool) -> list[bytes]:
        """Those that wait for nothing come first."""
        messages = [wire.pack_increase_epoch()] if names and self.can_expire_names else []
        messages += [wire.pack_inval_inode(number, -1, 0) for number in numbers]
        messages += [wire.pack_inval_inode(number, 0, 0) for number in pages]
        return messages

    async def _send(self, messages: list[bytes]) -> None:
        channel = self._channel
        if channel is None or not messages:
            return
        with trio.move_on_after(_WAIT_S) as scope:
            await trio.to_thread.run_sync(_write_all, channel, messages, limiter=self._threads, abandon_on_cancel=True)
        if scope.cancelled_caught:
            log.info("the kernel takes long to drop pages; going on", messages=len(messages))


def _write_all(channel: Channel, messages: list[bytes]) -> None:
    """In a thread."""
    for message in messages:
        try:
            os.write(channel.descriptor, message)
        except OSError as error:
            if error.errno not in _NOTHING_TO_DO:
                raise
