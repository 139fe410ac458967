"""A client of the wire that does as it is told: sends any bytes, reads only when asked, breaks rules on request."""

import trio

from ringfs.wire.frames import KIND_REQUEST, Frame, FrameReader, FrameSealer
from ringfs.wire.handshake import greet_server
from ringfs.wire.schema import encode
from ringfs.wire.transport import transport_on
from tests.support.answering import KEY


class RawPeer:
    """An authenticated client without any manners of its own."""

    def __init__(self, stream: trio.abc.Stream, sealer: FrameSealer, reader: FrameReader) -> None:
        self.stream = stream
        self.sealer = sealer
        self._reader = reader

    @classmethod
    async def greet(cls, stream: trio.abc.Stream, key: bytes = KEY) -> "RawPeer":
        """Do the handshake as it should be done."""
        keys = await greet_server(transport_on(stream), key, "raw")
        return cls(stream, FrameSealer(keys.to_server), FrameReader(keys.to_client))

    def request(self, number: int, message: object, payload: bytes = b"", kind: int = KIND_REQUEST) -> bytes:
        """The bytes of a correct frame, whatever is then done with them."""
        return b"".join([*map(bytes, self.sealer.seal(kind, number, encode(message), len(payload))), payload])

    async def answers(self, count: int) -> list[Frame]:
        """The next count frames."""
        frames: list[Frame] = []
        while len(frames) < count:
            while (frame := self._reader.next_frame()) is not None:
                frames.append(frame)
            if self._reader.large_payload_bytes:
                self._reader.admit()
            elif len(frames) < count:
                space = self._reader.space()
                data = await self.stream.receive_some(len(space))
                assert data, f"the connection ended after {len(frames)} of {count} frames"
                space[: len(data)] = data
                self._reader.received(len(data))
        return frames

    async def wait_end(self) -> None:
        """Read until the server has ended the connection."""
        try:
            while await self.stream.receive_some(65536):
                pass
        except trio.BrokenResourceError:
            return
