"""Stream pairs and a network in memory that delay, cut, drop, flip and fragment, under trio's (virtual) clock.

link = Link()                       # link.client, link.server: trio streams
link.to_server.delay_s = 0.2        # faults of one direction; may change at any time
link.cut()                          # like a reset: both ends are broken once they read what had arrived

network = Network()                 # whole clusters: pass network.dial as `dial` to open_client
address = await nursery.start(network.serve, handler, key, "meta1:7000")
network.cut("meta1:7000")
"""

from collections import deque
from collections.abc import Sequence
from contextlib import suppress

import trio

from ringfs.base.errors import ConnectionLost
from ringfs.wire.rpc import Handler, serve_stream

#: Connections that a server has not looked at yet.
_BACKLOG = 128


class Direction:
    """Bytes one way, with what goes wrong with them."""

    def __init__(self, capacity_bytes: int) -> None:
        #: A sender waits while so many bytes have not been read: what a kernel's buffers do.
        self.capacity_bytes = capacity_bytes
        #: Bytes sent from now on arrive so much later, never before earlier ones.
        self.delay_s = 0.0
        #: Bytes arrive in pieces of at most that many.
        self.piece_bytes_max = 1 << 30
        #: Bytes vanish and nobody is told: a network that lost its cable.
        self.is_dropping = False
        #: The byte at that position in the direction arrives with its lowest bit flipped.
        self.flip_at: int | None = None
        #: The link is cut when so many bytes were sent; those arrive.
        self.cut_after_bytes: int | None = None
        self.sent_bytes = 0
        self.received_bytes = 0
        #: Pieces on their way with the time they arrive at, in order of it.
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._waiting_bytes = 0
        self._is_ended = False
        self._is_broken = False
        #: Nothing is read, and nobody learns of an end: the process at the other end is stopped.
        self._is_held = False
        self._breaks_when_released = False
        self._changed = trio.lowlevel.ParkingLot()

    @property
    def unread_bytes(self) -> int:
        """What was sent and not read."""
        return self._waiting_bytes

    async def send(self, data: bytes) -> None:
        """Take all of data, waiting for the reader."""
        view = memoryview(data)
        while view:
            while self._waiting_bytes >= self.capacity_bytes and not self._is_broken and not self.is_dropping:
                await self._changed.park()
            if self._is_broken or self._is_ended:
                raise trio.BrokenResourceError("the link was cut")
            piece = bytes(view[: self.capacity_bytes])
            view = view[len(piece) :]
            self._put(piece)

    def _put(self, piece: bytes) -> None:
        start, self.sent_bytes = self.sent_bytes, self.sent_bytes + len(piece)
        if self.is_dropping:
            return
        if self.flip_at is not None and start <= self.flip_at < self.sent_bytes:
            at = self.flip_at - start
            piece = piece[:at] + bytes([piece[at] ^ 1]) + piece[at + 1 :]
        if self.cut_after_bytes is not None and self.sent_bytes >= self.cut_after_bytes:
            piece = piece[: max(0, self.cut_after_bytes - start)]
            self._is_broken = True
        arrival = trio.current_time() + self.delay_s
        if self._pieces:
            arrival = max(arrival, self._pieces[-1][0])
        if piece:
            self._pieces.append((arrival, piece))
            self._waiting_bytes += len(piece)
        self._changed.unpark_all()

    async def receive(self, count_max: int) -> bytes:
        """The next bytes that have arrived, b"" at the end. As of a socket, others have a turn also if they are there already."""
        await trio.lowlevel.checkpoint_if_cancelled()
        has_waited = False
        while not self._is_readable():
            has_waited = True
            if self._pieces and not self._is_held:
                with trio.CancelScope(deadline=self._pieces[0][0]):
                    await self._changed.park()
            else:
                await self._changed.park()
        if not has_waited:
            await trio.lowlevel.cancel_shielded_checkpoint()
        if self._pieces:
            return self._take(min(count_max, self.piece_bytes_max))
        if self._is_broken:
            raise trio.BrokenResourceError("the link was cut")
        return b""

    def _is_readable(self) -> bool:
        if self._is_held:
            return False
        if self._pieces:
            return self._pieces[0][0] <= trio.current_time()
        return self._is_broken or self._is_ended

    def _take(self, count_max: int) -> bytes:
        arrival, piece = self._pieces.popleft()
        if len(piece) > count_max:
            self._pieces.appendleft((arrival, piece[count_max:]))
            piece = piece[:count_max]
        self._waiting_bytes -= len(piece)
        self.received_bytes += len(piece)
        self._changed.unpark_all()
        return piece

    def drop(self) -> None:
        """From now on nothing that is sent arrives."""
        self.is_dropping = True
        self._changed.unpark_all()

    def end(self) -> None:
        """The sender closes: the reader gets what is on its way, then the end."""
        self._is_ended = True
        self._changed.unpark_all()

    def break_off(self) -> None:
        """The reader is gone, or the link was cut."""
        if self._is_held:
            self._breaks_when_released = True
        else:
            self._is_broken = True
        self._changed.unpark_all()

    def hold(self) -> None:
        """Stop: nothing is read until it is released."""
        self._is_held = True
        self._changed.unpark_all()

    def release(self) -> None:
        """Go on; an end that came meanwhile shows."""
        self._is_held = False
        self._is_broken = self._is_broken or self._breaks_when_released
        self._changed.unpark_all()

    @property
    def is_broken(self) -> bool:
        """Whether sending fails."""
        return self._is_broken


class LinkStream(trio.abc.Stream):
    """One end of a Link."""

    def __init__(self, outgoing: Direction, incoming: Direction) -> None:
        self._outgoing = outgoing
        self._incoming = incoming
        self.is_closed = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See trio."""
        await trio.lowlevel.checkpoint()
        self._check_open()
        try:
            await self._outgoing.send(bytes(data))
        finally:
            if self._outgoing.is_broken:
                self._incoming.break_off()

    async def wait_send_all_might_not_block(self) -> None:
        """See trio."""
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """See trio."""
        self._check_open()
        return await self._incoming.receive(max_bytes or 65536)

    async def aclose(self) -> None:
        """See trio."""
        self.is_closed = True
        self._outgoing.end()
        self._incoming.break_off()
        await trio.lowlevel.checkpoint()

    def _check_open(self) -> None:
        if self.is_closed:
            raise trio.ClosedResourceError("this end is closed")


class Link:
    """Two connected streams, and the faults between them."""

    def __init__(self, capacity_bytes: int = 1 << 20) -> None:
        self.to_server = Direction(capacity_bytes)
        self.to_client = Direction(capacity_bytes)
        self.client = LinkStream(self.to_server, self.to_client)
        self.server = LinkStream(self.to_client, self.to_server)

    def directions(self) -> Sequence[Direction]:
        """Both."""
        return (self.to_server, self.to_client)

    def delay(self, seconds: float) -> None:
        """Delay what is sent from now on, both ways."""
        for direction in self.directions():
            direction.delay_s = seconds

    def drop(self) -> None:
        """From now on nothing arrives, and nobody is told."""
        for direction in self.directions():
            direction.drop()

    def cut(self) -> None:
        """Break both ends; what had arrived can still be read."""
        for direction in self.directions():
            direction.break_off()


class Network:
    """Addresses in memory: servers to dial, and links to spoil."""

    def __init__(self, capacity_bytes: int = 1 << 20) -> None:
        self._capacity_bytes = capacity_bytes
        self._servers: dict[str, trio.MemorySendChannel[Link]] = {}
        #: All links ever made, with the address dialled.
        self.links: list[tuple[str, Link]] = []
        #: Delay of links that are made from now on.
        self.delay_s = 0.0
        #: Addresses that cannot be reached; dialling one fails.
        self.unreachable: set[str] = set()
        #: Addresses whose process is stopped.
        self._frozen: set[str] = set()

    async def dial(self, address: str) -> trio.abc.Stream:
        """A stream to the server at address. Raises ConnectionLost."""
        await trio.lowlevel.checkpoint()
        if address in self._frozen:
            return self._link_to_nobody(address)
        if address not in self._servers or address in self.unreachable:
            raise ConnectionLost(f"cannot connect to {address}: connection refused")
        link = Link(self._capacity_bytes)
        link.delay(self.delay_s)
        self.links.append((address, link))
        try:
            await self._servers[address].send(link)
        except trio.BrokenResourceError:
            raise ConnectionLost(f"cannot connect to {address}: its server ended") from None
        return link.client

    async def serve(
        self, handler: Handler, key: bytes, address: str, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """What serve_tcp is on this network."""
        send, receive = trio.open_memory_channel[Link](_BACKLOG)
        assert address not in self._servers, f"{address} is taken"
        self._servers[address] = send
        try:
            async with trio.open_nursery() as nursery:
                task_status.started(address)
                async for link in receive:
                    nursery.start_soon(serve_stream, handler, key, link.server)
        finally:
            del self._servers[address]
            with suppress(trio.WouldBlock):
                while True:
                    receive.receive_nowait().cut()
            receive.close()

    def _link_to_nobody(self, address: str) -> trio.abc.Stream:
        """What a kernel takes for a process that is stopped."""
        link = Link(self._capacity_bytes)
        self.links.append((address, link))
        for direction in link.directions():
            direction.hold()
            direction.break_off()
        return link.client

    def freeze(self, address: str) -> None:
        """The process there is stopped, as by SIGSTOP: connections are taken, and stay, and nothing is answered."""
        self._frozen.add(address)
        for link in self.links_to(address):
            for direction in link.directions():
                direction.hold()

    def thaw(self, address: str) -> None:
        """It goes on. Connections that nobody serves any more break."""
        self._frozen.discard(address)
        for link in self.links_to(address):
            for direction in link.directions():
                direction.release()

    def links_to(self, address: str) -> list[Link]:
        """The links that were made to an address."""
        return [link for to, link in self.links if to == address]

    def cut(self, address: str) -> None:
        """Cut every link to an address."""
        for link in self.links_to(address):
            link.cut()
