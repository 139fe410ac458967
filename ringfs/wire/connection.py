"""One authenticated connection, the same on both sides: a loop that receives, a loop that sends, and what bounds them.

Knows frames, not requests: who asked what is rpc's business (client.py, server.py). No task per frame: a frame is handled by a
plain call from the receiving loop, and whatever that call sends leaves with one system call at the end of the batch.
"""

import contextlib
from collections.abc import Sequence
from typing import Any, Protocol

import trio

from ringfs.base.checksums import Buffer
from ringfs.base.errors import ConnectionLost, PeerBrokeProtocol
from ringfs.base.limits import PAYLOAD_STALL_S, UNSENT_BYTES_MAX
from ringfs.wire.frames import Frame, FrameReader, FrameSealer
from ringfs.wire.schema import encode
from ringfs.wire.transport import Outbox, Transport


class Owner(Protocol):
    """Whose connection it is."""

    def handle_frame(self, frame: Frame) -> None:
        """Take a frame. PeerBrokeProtocol ends the connection, any other exception is a bug and propagates."""
        ...

    def may_receive(self) -> bool:
        """Whether one more frame can be taken now; if not, call Connection.look_again when that may have changed."""
        ...

    async def admit(self, payload_bytes: int) -> None:
        """Wait until memory for a large payload may be spent."""
        ...


class Post:
    """Connections that have something to send, which one of their sending loops sends for all: many answers become due at one
    moment, and to wake a task for each costs more than to send it."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[Connection] = []

    def add(self, connection: "Connection") -> bool:
        """Have it sent for; False: its own sending loop is to be woken, and does it for all."""
        self._waiting.append(connection)
        return len(self._waiting) > 1

    def take(self) -> "list[Connection]":
        """All of them, to be sent for now."""
        waiting, self._waiting = self._waiting, []
        return waiting


class Connection:
    """Frames to and from a peer whose handshake is done. post: shared with others that often have something to send together."""

    def __init__(
        self, transport: Transport, sealer: FrameSealer, reader: FrameReader, owner: Owner, post: Post | None = None
    ) -> None:
        self._transport = transport
        self._sealer = sealer
        self._reader = reader
        self._owner = owner
        self._outbox = Outbox()
        self._post = post or Post()
        #: Somebody has been woken who will send.
        self._is_posted = False
        #: Set by start(); its end is the end of the connection.
        self._nursery: trio.Nursery | None = None
        #: The receiving loop is handling frames: it will send what they leave.
        self._is_batching = False
        #: The sending loop, while it sleeps because there is nothing to send.
        self._sleeping_sender: trio.lowlevel.Task | None = None
        #: Waits of the receiving loop for may_receive, and of callers for has_room.
        self._receiver_lot = trio.lowlevel.ParkingLot()
        self._room_lot = trio.lowlevel.ParkingLot()
        #: Why the connection ended, in words; None while it lives. Never changes again.
        self.end_reason: str | None = None
        #: Whether the peer is to blame for the end.
        self.broke_protocol = False

    # --- sending --------------------------------------------------------------------------------------------------------

    @property
    def unsent_bytes(self) -> int:
        """What waits to be sent."""
        return self._outbox.unsent_bytes

    @property
    def has_room(self) -> bool:
        """Whether more may be sent without piling up."""
        return self._outbox.unsent_bytes < UNSENT_BYTES_MAX

    async def wait_room(self) -> None:
        """Wait until has_room or the end of the connection."""
        while not self.has_room and self.end_reason is None:
            await self._room_lot.park()

    def send(self, kind: int, number: int, message: Any, payload: Sequence[Buffer] = (), *, at_once: bool = False) -> None:
        """Send a frame; nothing happens if the connection has ended. at_once: nothing else is about to be sent with it."""
        if self.end_reason is not None:
            return
        outbox = self._outbox
        payload_bytes = 0
        if payload:
            payload = [memoryview(part).cast("B") for part in payload]
            payload_bytes = sum(map(len, payload))
        for part in self._sealer.seal(kind, number, encode(message), payload_bytes):
            outbox.append(part)
        for part in payload:
            outbox.append(part)
        if self._is_batching:
            return
        if at_once:
            self._send_now()
        if outbox.unsent_bytes:
            self._wake_sender()

    def _send_now(self) -> None:
        try:
            self._transport.send_now(self._outbox)
        except ConnectionLost as lost:
            self.close(str(lost))

    def _wake_sender(self) -> None:
        """Have the outbox sent: by a sending loop that runs soon, or by our own. If that is awake, it will look by itself."""
        if self._sleeping_sender is None or self._is_posted:
            return
        self._is_posted = True
        if not self._post.add(self):
            self._wake_own_sender()

    def _wake_own_sender(self) -> None:
        if (sender := self._sleeping_sender) is not None:
            self._sleeping_sender = None
            # Its task runs once more, also if it is cancelled now.
            trio.lowlevel.reschedule(sender)

    async def _send_loop(self) -> None:
        outbox, transport = self._outbox, self._transport
        try:
            while True:
                if not outbox.unsent_bytes:
                    await self._sleep_until_woken()
                    for posted in self._post.take():
                        posted._send_posted()
                transport.send_now(outbox)
                if outbox.unsent_bytes:
                    await transport.send(outbox)
                self._tell_room()
        except ConnectionLost as lost:
            self.close(str(lost))

    def _send_posted(self) -> None:
        self._is_posted = False
        self._send_now()
        if self._outbox.unsent_bytes:
            self._wake_own_sender()
        self._tell_room()

    def _tell_room(self) -> None:
        if self.has_room:
            self._room_lot.unpark_all()
            self._receiver_lot.unpark_all()

    async def _sleep_until_woken(self) -> None:
        def abort(_raise_cancel: Any) -> trio.lowlevel.Abort:
            self._sleeping_sender = None
            return trio.lowlevel.Abort.SUCCEEDED

        self._sleeping_sender = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(abort)

    # --- receiving ------------------------------------------------------------------------------------------------------

    def look_again(self) -> None:
        """may_receive may have changed."""
        if self._receiver_lot:
            self._receiver_lot.unpark_all()

    async def receive_loop(self) -> None:
        """Receive and handle frames until the connection ends; then end_reason is set."""
        try:
            while await self._receive():
                await self._handle_batch()
                while size := self._reader.large_payload_bytes:
                    await self._owner.admit(size)
                    self._reader.admit()
                    # All of it may have been there already, and more behind it.
                    await self._handle_batch()
            self.close("the peer closed the connection" + ("" if self._reader.is_between_frames else " inside a frame"))
        except ConnectionLost as lost:
            self.close(str(lost))
        except PeerBrokeProtocol as nonsense:
            self.broke_protocol = self.end_reason is None
            self.close(str(nonsense))

    async def _receive(self) -> int:
        """Wait for bytes; how many, 0 at the end."""
        reader = self._reader
        space = reader.space()
        assert space, "no space would look like the end of the stream"
        if not reader.is_inside_payload:
            count = await self._transport.receive_into(space)
        elif (there := self._transport.receive_now(space)) is not None:
            count = there
        else:
            with trio.move_on_after(PAYLOAD_STALL_S) as scope:
                count = await self._transport.receive_into(space)
            if scope.cancelled_caught:
                raise ConnectionLost(f"a payload stalled for {PAYLOAD_STALL_S:g} s")
        reader.received(count)
        return count

    async def _handle_batch(self) -> None:
        """Handle all frames that are there whole, waiting only where the owner has no room for more."""
        while not self._handle_what_fits():
            while not self._owner.may_receive():
                await self._receiver_lot.park()

    def _handle_what_fits(self) -> bool:
        """Handle frames, then send at once what that left. Whether there are no more (or no connection any more)."""
        reader, owner = self._reader, self._owner
        self._is_batching = True
        try:
            while self.end_reason is None and owner.may_receive():
                if (frame := reader.next_frame()) is None:
                    return True
                owner.handle_frame(frame)
            return self.end_reason is not None
        finally:
            self._is_batching = False
            if self._outbox.unsent_bytes:
                self._send_now()
                if self._outbox.unsent_bytes:
                    self._wake_sender()

    # --- beginning and end ----------------------------------------------------------------------------------------------

    def start(self, nursery: trio.Nursery) -> None:
        """Begin to send, from a task in nursery, which ends when the connection ends."""
        self._nursery = nursery
        nursery.start_soon(self._send_loop)
        if self.end_reason is not None:
            nursery.cancel_scope.cancel()

    def close(self, reason: str) -> None:
        """End the connection, now. What TCP takes without waiting still leaves; the first reason counts."""
        if self.end_reason is not None:
            return
        self.end_reason = reason
        if self._outbox.unsent_bytes:
            with contextlib.suppress(ConnectionLost):
                self._transport.send_now(self._outbox)
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
        self._room_lot.unpark_all()

    async def aclose(self) -> None:
        """Give back the transport. After all tasks have ended."""
        self.close("closed here")
        self._outbox.clear()
        await self._transport.aclose()
