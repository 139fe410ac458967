"""The loop: read a request, hand it to a worker, which mostly answers at once. Mounting and the end of it.

The queue is drained before anything else runs, up to a bound, so that other tasks get their turn. FORGET needs no bookkeeping: an
inode number is never used again, and unlinked inodes live as long as they are open. INTERRUPT comes only after the request that it
is about was read (the kernel marks it sent then), and there is one reader: if that request is not waiting here, it was
answered. Blocking locks end by it. Of anything else the kernel waits for the answer whatever the signal; so that nobody hangs who
was killed, a process that is dying gets EINTR, which it will never see, and the operation takes its course.
"""

import errno
from collections.abc import Callable

import structlog
import trio

from ringfs.base.buffers import buffers
from ringfs.client.dirty import KEPT_BYTES_MIN
from ringfs.fuse.at_once import Timeouts
from ringfs.fuse.errno_map import errno_of
from ringfs.fuse.kernel import channel as channels
from ringfs.fuse.kernel import opcodes, wire
from ringfs.fuse.kernel.answers import Answers
from ringfs.fuse.kernel.channel import Channel
from ringfs.fuse.kernel.dying import is_dying
from ringfs.fuse.kernel.negotiation import Agreement, negotiate, reply_to
from ringfs.fuse.kernel.notify import Notifier
from ringfs.fuse.kernel.opcodes import BATCH_FORGET, FORGET, WRITE, AnswerNow, Row
from ringfs.fuse.kernel.requests import Request
from ringfs.fuse.kernel.workers import Workers
from ringfs.fuse.operations import Operations

_unpack_header = wire.IN_HEADER.unpack_from

log = structlog.get_logger("ringfs.fuse")

#: Requests that are being answered at most; then the device is read no more. Those that wait for others' locks do not count.
_REQUESTS_MAX = 256
#: Of them writes: each has a buffer of _PAYLOAD_BYTES.
_HELD_BUFFERS_MAX = 64
#: Requests that are read before other tasks get a turn.
_BURST = 64
_HEADER_BYTES = wire.IN_HEADER.size
_HEAD_BYTES = _HEADER_BYTES + wire.WRITE_IN.size
#: The largest request besides its head; also the largest value of an xattr with its name.
_PAYLOAD_BYTES = 1 << 20
#: What the kernel may believe until it is told otherwise.
_FOR_EVER_S = 1e6
_FORGETS = (FORGET, BATCH_FORGET)
_NO_ROW = Row(0, "unknown")
#: What is beyond has no row.
_ROW_COUNT = 64
_NOTHING = memoryview(b"")


class KernelDriver:
    """See the module; implements drivers.Driver."""

    def __init__(self) -> None:
        self.kernel = Notifier()
        self._cancel = trio.CancelScope()

    async def serve(self, operations: Operations, point: str, timeouts: Timeouts, *, mounted: Callable[[], object]) -> None:
        """Mount, answer until unmounted from outside, clean up."""

        def agreed(agreement: Agreement) -> None:
            self.kernel.can_expire_names = agreement.can_expire_names
            operations.set_timeouts(Timeouts(_FOR_EVER_S if agreement.can_expire_names else timeouts.entry_s, _FOR_EVER_S))
            mounted()

        channel = await trio.to_thread.run_sync(channels.mount, point)
        try:
            with self._cancel:
                await Loop(operations, channel, self.kernel, agreed).run()
        except BaseException:
            # Closed first: nobody answers any more what unmounting may ask.
            channel.close()
            channels.detach(point)
            raise
        finally:
            channel.close()

    def stop_serving(self) -> None:
        """Have serve return although somebody still uses the (detached) mount: what they do from now on fails."""
        self._cancel.cancel()


class Loop:
    """Answers what comes from one channel. `agreed` is called when the kernel may be used."""

    def __init__(
        self, operations: Operations, channel: Channel, notifier: Notifier, agreed: Callable[[Agreement], None] = lambda _: None
    ) -> None:
        self._channel = channel
        self._notifier = notifier
        self._agreed = agreed
        self._answers = Answers(operations, channel, notifier.drop_range_soon)
        self._workers: Workers[Request] = Workers(self._serve, _REQUESTS_MAX)
        self._rows = [opcodes.BY_NUMBER.get(number, _NO_ROW) for number in range(_ROW_COUNT)]
        self._head = memoryview(bytearray(_HEAD_BYTES))
        self._payload = buffers.take(_PAYLOAD_BYTES)
        #: Requests that wait for others, by their unique number: INTERRUPT cancels them.
        self._waiting: dict[int, trio.CancelScope] = {}
        #: Other requests that were not answered at once.
        self._unanswered: dict[int, Request] = {}
        self._nursery: trio.Nursery | None = None
        #: Writes that wait, each with a buffer: the device is read no more while there are many.
        self._held_buffers = 0
        self._returned_buffer = trio.lowlevel.ParkingLot()
        #: By opcode; what is beyond the table in the last one.
        self._counts = [0] * (_ROW_COUNT + 1)
        operations.count_requests = self._count_requests

    def _count_requests(self) -> dict[str, int]:
        return {row.name: count for row, count in zip([*self._rows, _NO_ROW], self._counts, strict=True) if count}

    async def run(self) -> None:
        """Until the mount has gone."""
        async with trio.open_nursery() as self._nursery:
            self._workers.open(self._nursery)
            self._notifier.open(self._channel, self._nursery)
            try:
                while await self._drain():
                    await trio.lowlevel.wait_readable(self._channel.descriptor)
            finally:
                self._notifier.close()
            self._nursery.cancel_scope.cancel()

    async def _drain(self) -> bool:
        """Take all requests there are. False: the mount has gone."""
        while True:
            for _ in range(_BURST):
                if not self._workers.has_idle:
                    await self._workers.wait_idle()
                while self._held_buffers >= _HELD_BUFFERS_MAX:
                    await self._returned_buffer.park()
                size = self._channel.read(self._head, self._payload)
                if size <= 0:
                    return size < 0
                self._take(size)
            await trio.lowlevel.checkpoint()

    def _take(self, size: int) -> None:
        """One request, which is in the buffers."""
        if size < _HEADER_BYTES:
            log.error("request without a whole header", size_bytes=size)
            return
        length, opcode, unique, node, uid, gid, pid, _, _ = _unpack_header(self._head)
        self._counts[opcode if opcode < _ROW_COUNT else _ROW_COUNT] += 1
        if opcode in _FORGETS:
            return
        body = bytes(self._head[_HEADER_BYTES:size])
        payload = _NOTHING
        if opcode == WRITE:
            payload = self._payload[: max(size - _HEAD_BYTES, 0)]
        elif size > _HEAD_BYTES:
            body += self._payload[: size - _HEAD_BYTES]
        request = Request(unique, opcode, node, uid, gid, pid, body, payload)
        if length != size:
            log.error("request is not as long as it says", opcode=opcode, size_bytes=size, said_bytes=length)
            self._channel.write(wire.pack_error(unique, errno.EIO))
        else:
            self._hand_out(request)

    def _hand_out(self, request: Request) -> None:
        row = self._rows[request.opcode] if request.opcode < _ROW_COUNT else _NO_ROW
        if row.now is not None and self._answer_now(row.now, request, row.name):
            return
        if row.answer is None:
            self._answer_here(request)
        elif row.waits:
            assert self._nursery is not None
            self._nursery.start_soon(self._wait, request)
        else:
            self._workers.hand(request)
            if not request.is_answered:
                self._unanswered[request.unique] = request
            if request.payload and (not request.is_answered or len(request.payload) >= KEPT_BYTES_MIN):
                # Somebody keeps it.
                self._payload = buffers.take(_PAYLOAD_BYTES)
                request.holds_buffer = not request.is_answered
                self._held_buffers += request.holds_buffer

    def _answer_now(self, answer: AnswerNow, request: Request, name: str) -> bool:
        """Whether it could be answered without waiting, and so without a task."""
        try:
            reply = answer(self._answers, request)
        except Exception as error:
            reply = wire.pack_error(request.unique, errno_of(error, name))
        if reply is None:
            return False
        self._channel.write(reply)
        return True

    def _answer_here(self, request: Request) -> None:
        """What is no operation."""
        if request.opcode == opcodes.INIT:
            self._initialize(request)
        elif request.opcode == opcodes.INTERRUPT:
            self._interrupt(request)
        else:
            refusal = 0 if request.opcode == opcodes.DESTROY else errno.ENOSYS
            self._channel.write(wire.pack_error(request.unique, refusal))

    def _initialize(self, request: Request) -> None:
        agreement = negotiate(request)
        self._channel.write(reply_to(request, agreement))
        if agreement is not None:
            self._answers.setxattr_in_bytes = wire.SETXATTR_IN.size if agreement.has_extended_setxattr else wire.GETXATTR_IN.size
            self._answers.is_told_to_kill = agreement.tells_killed_privileges
            self._agreed(agreement)

    def _interrupt(self, request: Request) -> None:
        """Somebody got a signal. If they are about to die of it, they need not wait: what they asked for goes on without them."""
        if len(request.body) < wire.INTERRUPT_IN.size:
            return
        (unique,) = wire.INTERRUPT_IN.unpack_from(request.body)
        scope, about = self._waiting.get(unique), self._unanswered.get(unique)
        if scope is not None:
            scope.cancel()
        elif about is not None and not about.is_answered and not self._rows[about.opcode].keeps and is_dying(about.pid):
            about.is_answered = True
            self._channel.write(wire.pack_error(unique, errno.EINTR))

    async def _wait(self, request: Request) -> None:
        """A request that may wait for others."""
        with trio.CancelScope() as scope:
            self._waiting[request.unique] = scope
            try:
                await self._serve(request)
            finally:
                del self._waiting[request.unique]
        if scope.cancelled_caught and not request.is_answered:
            self._channel.write(wire.pack_error(request.unique, errno.EINTR))

    async def _serve(self, request: Request) -> None:
        row = self._rows[request.opcode]
        assert row.answer is not None
        try:
            reply = await row.answer(self._answers, request)
        except Exception as error:
            reply = wire.pack_error(request.unique, errno_of(error, row.name))
        was_answered, request.is_answered = request.is_answered, True
        self._unanswered.pop(request.unique, None)
        if request.holds_buffer:
            self._held_buffers -= 1
            self._returned_buffer.unpark_all()
        if was_answered:
            return
        if type(reply) is bytes:
            self._channel.write(reply)
        elif reply is not None:
            self._channel.write_parts(*reply)
