"""Frames as bytes: sealing, and a reader that takes whatever arrives and gives whole frames. Pure: no socket, no await.

A frame is a header of 48 bytes, a body (one message) and a payload (raw bytes). docs/formats/wire.md is normative.
"""

import hmac
import struct
from typing import Any

from ringfs.base.buffers import buffers
from ringfs.base.checksums import Buffer, keyed_code
from ringfs.base.errors import PeerBrokeProtocol
from ringfs.base.limits import FRAME_BODY_BYTES_MAX, FRAME_PAYLOAD_BYTES_MAX, KIB, PAYLOAD_SMALL_BYTES
from ringfs.wire.schema import decode

#: Three letters and the version of the protocol.
MAGIC = b"RFS\x01"
CODE_BYTES = 16
#: What follows magic and code: kind, three bytes of zero, body length, payload length, request number, sequence number.
_SEALED = struct.Struct(">B3xIIQQ")
_PREFIX_BYTES = len(MAGIC) + CODE_BYTES
HEADER_BYTES = _PREFIX_BYTES + _SEALED.size

KIND_REQUEST = 1
KIND_REPLY = 2
#: One way, from server to client; its request number is 0.
KIND_PUSH = 3

#: What is received at once when no larger frame is being waited for: a block with what goes before it.
_BUFFER_BYTES = 80 * KIB
#: The same after a payload that is larger: another one will probably follow, and is better received where it belongs.
_GLANCE_BYTES = 4 * KIB
#: A body up to this size is copied behind its header, so that a small frame is one buffer.
_JOINED_BODY_BYTES = 16 * KIB

_EMPTY = memoryview(b"")


class FrameSealer:
    """Makes the frames of one direction of one connection."""

    __slots__ = ("_key", "_sequence")

    def __init__(self, key: bytes) -> None:
        self._key = key
        #: Frames sealed so far; the number of the next one.
        self._sequence = 0

    def seal(self, kind: int, number: int, body: bytes, payload_bytes: int) -> list[Buffer]:
        """Header and body as buffers to send; the payload follows them as it is."""
        assert len(body) <= FRAME_BODY_BYTES_MAX, f"a body of {len(body)} bytes: its sender must send it in parts"
        assert payload_bytes <= FRAME_PAYLOAD_BYTES_MAX, "payloads are at most an object"
        sealed = _SEALED.pack(kind, len(body), payload_bytes, number, self._sequence)
        self._sequence += 1
        if len(body) > _JOINED_BODY_BYTES:
            return [MAGIC + keyed_code(self._key, sealed, body, length=CODE_BYTES) + sealed, body]
        sealed += body
        return [MAGIC + keyed_code(self._key, sealed, length=CODE_BYTES) + sealed]


class Frame:
    """One frame that was received whole and found authentic."""

    __slots__ = ("kind", "message", "number", "payload")

    def __init__(self, kind: int, number: int, message: Any, payload: memoryview) -> None:
        self.kind = kind
        self.number = number
        #: A registered message, see schema.py.
        self.message = message
        #: In memory of its own: it may be kept.
        self.payload = payload


class FrameReader:
    """Frames out of bytes that arrive in any pieces:

    receive into space(), say received(count), take next_frame() until it is None. If large_payload_bytes is not 0 then, call
    admit() once that much memory may be spent, and go on.
    """

    __slots__ = (
        "_asked_bytes",
        "_buffer",
        "_end",
        "_filled",
        "_key",
        "_large",
        "_needed",
        "_sequence",
        "_start",
        "_view",
        "large_payload_bytes",
    )

    def __init__(self, key: bytes) -> None:
        self._key = key
        #: The sequence number that the next frame must have: a replayed, lost or reordered frame has another one.
        self._sequence = 0
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        #: Unparsed bytes are _buffer[_start:_end]; _needed of them must be there before the parser can get on.
        self._start = 0
        self._end = 0
        self._needed = HEADER_BYTES
        #: How much of the buffer the next receive may fill.
        self._asked_bytes = _BUFFER_BYTES
        #: The frame whose large payload is being received, _filled of its bytes are there. Not None before admit() gave it memory.
        self._large: Frame | None = None
        self._filled = 0
        #: Size of a large payload that waits for admit(), else 0.
        self.large_payload_bytes = 0

    @property
    def is_inside_payload(self) -> bool:
        """Whether memory for a large payload is held that has not arrived yet."""
        return self._large is not None and not self.large_payload_bytes

    @property
    def is_between_frames(self) -> bool:
        """Whether nothing of a further frame has arrived."""
        return self._large is None and self._start == self._end

    def space(self) -> memoryview:
        """Where the next bytes belong; never empty."""
        if self._large is not None:
            return self._large.payload[self._filled :]
        if self._start or self._needed > len(self._buffer):
            self._make_room()
        return self._view[self._end : max(self._needed, self._end + self._asked_bytes)]

    def received(self, count: int) -> None:
        """The first count bytes of space() are there now."""
        if self._large is not None:
            self._filled += count
        else:
            self._end += count

    def next_frame(self) -> Frame | None:
        """The next frame that is there whole, or None. Raises PeerBrokeProtocol."""
        if self._large is not None:
            return self._finish_large()
        start = self._start
        if self._end - start < self._needed:
            return None
        view = self._view
        kind, body_bytes, payload_bytes, number, sequence = _SEALED.unpack_from(view, start + _PREFIX_BYTES)
        body_end = start + HEADER_BYTES + body_bytes
        end = body_end + payload_bytes if payload_bytes <= PAYLOAD_SMALL_BYTES else body_end
        if self._needed == HEADER_BYTES:
            self._check_header(start, body_bytes, payload_bytes)
        if self._end < end:
            self._needed = end - start
            return None
        code = keyed_code(self._key, view[start + _PREFIX_BYTES : body_end], length=CODE_BYTES)
        if not hmac.compare_digest(code, view[start + len(MAGIC) : start + _PREFIX_BYTES]):
            raise PeerBrokeProtocol("a frame with a wrong code")
        if sequence != self._sequence:
            raise PeerBrokeProtocol(f"frame {sequence} where frame {self._sequence} was due: replayed, lost or reordered")
        self._sequence += 1
        self._start = end
        self._needed = HEADER_BYTES
        self._asked_bytes = _BUFFER_BYTES
        frame = Frame(kind, number, decode(view[start + HEADER_BYTES : body_end]), _EMPTY)
        if end > body_end:
            frame.payload = memoryview(bytearray(view[body_end:end]))
        elif payload_bytes:
            self._large, self.large_payload_bytes = frame, payload_bytes
            return None
        return frame

    def admit(self) -> None:
        """Give the large payload that is waited for its memory."""
        large, size = self._large, self.large_payload_bytes
        assert large is not None, "a large payload is waited for"
        assert size, "it has no memory yet"
        large.payload = payload = buffers.take(size)
        self._filled = there = min(size, self._end - self._start)
        payload[:there] = self._view[self._start : self._start + there]
        self._start += there
        self.large_payload_bytes = 0

    def _finish_large(self) -> Frame | None:
        large = self._large
        if large is None or self.large_payload_bytes or self._filled < len(large.payload):
            return None
        self._large = None
        if len(large.payload) > _BUFFER_BYTES:
            self._asked_bytes = _GLANCE_BYTES
        return large

    def _check_header(self, start: int, body_bytes: int, payload_bytes: int) -> None:
        """What must hold before a length is believed at all: the code comes with the body."""
        magic = self._view[start : start + len(MAGIC)]
        if magic != MAGIC:
            raise PeerBrokeProtocol(f"a frame begins with {magic.hex()}, not {MAGIC.hex()}: unknown version, or no frame")
        if body_bytes > FRAME_BODY_BYTES_MAX or payload_bytes > FRAME_PAYLOAD_BYTES_MAX:
            raise PeerBrokeProtocol(f"a frame of {body_bytes} + {payload_bytes} bytes is too large")

    def _make_room(self) -> None:
        """Move the unparsed bytes to the front of a buffer that holds all that is needed, and is not larger than useful."""
        unparsed = self._view[self._start : self._end]
        size = max(_BUFFER_BYTES, self._needed)
        if size != len(self._buffer):
            self._buffer = bytearray(size)
            self._view = memoryview(self._buffer)
        self._view[: len(unparsed)] = unparsed
        self._end -= self._start
        self._start = 0
