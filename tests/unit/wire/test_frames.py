"""FrameSealer and FrameReader: what is sealed is read back from any pieces; anything else is PeerBrokeProtocol."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfs.base.errors import PeerBrokeProtocol
from ringfs.base.limits import FRAME_BODY_BYTES_MAX, FRAME_PAYLOAD_BYTES_MAX, PAYLOAD_SMALL_BYTES
from ringfs.wire.frames import HEADER_BYTES, KIND_PUSH, KIND_REPLY, KIND_REQUEST, MAGIC, Frame, FrameReader, FrameSealer
from ringfs.wire.messages.cluster import Pair
from ringfs.wire.messages.common import Done
from ringfs.wire.messages.session import Heartbeat
from ringfs.wire.schema import encode

KEY = bytes(range(32))


def sealed(sealer: FrameSealer, kind: int, number: int, message: object, payload: bytes = b"") -> bytes:
    """A whole frame."""
    return b"".join([*map(bytes, sealer.seal(kind, number, encode(message), len(payload))), payload])


def read(reader: FrameReader, data: bytes, piece_bytes: int) -> list[Frame]:
    """All frames of data that arrives in pieces."""
    frames = []
    rest = memoryview(data)
    while rest:
        space = reader.space()
        assert len(space) > 0
        count = min(piece_bytes, len(space), len(rest))
        space[:count] = rest[:count]
        rest = rest[count:]
        reader.received(count)
        while True:
            while (frame := reader.next_frame()) is not None:
                frames.append(frame)
            if not reader.large_payload_bytes:
                break
            reader.admit()
    return frames


GOLDEN = bytes.fromhex(
    "52465301"  # magic and version
    "c7f2bafb c1502c15 6952ff50 6b730e02"  # code
    "01 000000 00000005 00000007"  # request; 5 bytes of body, 7 of payload
    "00000000 00000007 00000000 00000000"  # request 7, frame 0
    "92 cd0205 05"  # Heartbeat(session=5)
    "7061796c 6f6164"  # payload
)


def test_golden_bytes() -> None:
    """The bytes of a frame as docs/formats/wire.md shows them."""
    assert sealed(FrameSealer(KEY), KIND_REQUEST, 7, Heartbeat(5), b"payload").hex() == GOLDEN.hex()


def test_golden_bytes_are_read() -> None:
    """What an earlier version sent can still be read."""
    (got,) = read(FrameReader(KEY), GOLDEN, 1000)
    assert (got.kind, got.number, got.message, bytes(got.payload)) == (KIND_REQUEST, 7, Heartbeat(5), b"payload")


payload_sizes = st.one_of(st.integers(0, 300), st.sampled_from([PAYLOAD_SMALL_BYTES, PAYLOAD_SMALL_BYTES + 1, 70_000, 200_000]))
body_sizes = st.one_of(st.integers(0, 300), st.sampled_from([16_000, 17_000, 66_000, 400_000]))
kinds = st.sampled_from([KIND_REQUEST, KIND_REPLY, KIND_PUSH])


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(kinds, st.integers(0, 1 << 63), body_sizes, payload_sizes), max_size=6),
    st.sampled_from([1 << 30, 65536, 1460, 100]),
)
def test_round_trip_in_any_pieces(wanted: list[tuple[int, int, int, int]], piece_bytes: int) -> None:
    """Frames of every size come out as they went in, however the bytes are cut."""
    sealer, reader = FrameSealer(KEY), FrameReader(KEY)
    data = b"".join(
        sealed(sealer, kind, number, Pair(b"", bytes(body_bytes)), bytes([payload_bytes % 251]) * payload_bytes)
        for kind, number, body_bytes, payload_bytes in wanted
    )
    got = read(reader, data, piece_bytes)
    assert [(frame.kind, frame.number, len(frame.message.value), len(frame.payload)) for frame in got] == wanted
    for frame in got:
        assert frame.payload == bytes([len(frame.payload) % 251]) * len(frame.payload)
    assert reader.is_between_frames


def test_one_byte_at_a_time() -> None:
    """The smallest pieces, with a large payload."""
    payload = bytes(range(256)) * 70
    data = sealed(FrameSealer(KEY), KIND_REPLY, 1, Done(), payload)
    (frame,) = read(FrameReader(KEY), data, 1)
    assert frame.payload == payload


def test_payload_has_memory_of_its_own() -> None:
    """A payload that is kept does not change when later frames arrive."""
    sealer, reader = FrameSealer(KEY), FrameReader(KEY)
    (first,) = read(reader, sealed(sealer, KIND_REPLY, 1, Done(), b"first"), 1000)
    read(reader, sealed(sealer, KIND_REPLY, 2, Done(), b"other"), 1000)
    assert bytes(first.payload) == b"first"


def test_buffer_shrinks_after_a_large_body() -> None:
    """One large frame does not cost memory for the rest of the connection."""
    sealer, reader = FrameSealer(KEY), FrameReader(KEY)
    read(reader, sealed(sealer, KIND_REPLY, 1, Pair(b"k", bytes(3 << 20))), 1 << 20)
    assert len(reader.space()) <= 80 * 1024


def test_no_memory_for_a_payload_before_it_is_admitted() -> None:
    """A large payload is announced by large_payload_bytes and gets memory only by admit()."""
    data = sealed(FrameSealer(KEY), KIND_REQUEST, 1, Done(), bytes(1 << 20))
    reader = FrameReader(KEY)
    reader.space()[:2000] = data[:2000]
    reader.received(2000)
    assert reader.next_frame() is None
    assert (reader.large_payload_bytes, reader.is_inside_payload) == (1 << 20, False)
    reader.admit()
    assert (reader.large_payload_bytes, reader.is_inside_payload) == (0, True)
    assert reader.next_frame() is None


def refused(data: bytes, match: str) -> None:
    """Reading data ends in PeerBrokeProtocol."""
    with pytest.raises(PeerBrokeProtocol, match=match):
        read(FrameReader(KEY), data, 1 << 20)


def test_wrong_magic_and_version() -> None:
    """What does not begin as a frame of this version is refused as soon as its header is there."""
    frame = sealed(FrameSealer(KEY), KIND_REQUEST, 1, Done())
    refused(b"GET / HTTP/1.1\r\n" + bytes(HEADER_BYTES), "unknown version, or no frame")
    refused(MAGIC[:-1] + b"\x02" + frame[len(MAGIC) :], "unknown version")


@pytest.mark.parametrize(("at", "size"), [(24, FRAME_BODY_BYTES_MAX + 1), (28, FRAME_PAYLOAD_BYTES_MAX + 1), (24, 0xFFFFFFFF)])
def test_too_large(at: int, size: int) -> None:
    """A length past the limits is refused from the header alone: nothing is allocated for it."""
    header = bytearray(sealed(FrameSealer(KEY), KIND_REQUEST, 1, Done())[:HEADER_BYTES])
    header[at : at + 4] = size.to_bytes(4, "big")
    refused(bytes(header), "too large")


def test_wrong_key() -> None:
    """A frame that another key sealed is refused."""
    refused(sealed(FrameSealer(bytes(32)), KIND_REQUEST, 1, Done()), "wrong code")


def test_replayed_reordered_and_lost() -> None:
    """Each frame is taken once, in its place."""
    sealer = FrameSealer(KEY)
    one, two, three = (sealed(sealer, KIND_REQUEST, number, Done()) for number in (1, 2, 3))
    assert len(read(FrameReader(KEY), one + two + three, 1 << 20)) == 3
    refused(one + one, "frame 0 where frame 1 was due")
    refused(two + one, "frame 1 where frame 0 was due")
    refused(one + three, "frame 2 where frame 1 was due")


@given(st.integers(min_value=0), st.integers(0, 7))
def test_any_flipped_bit_is_noticed(position: int, bit: int) -> None:
    """One wrong bit anywhere in header or body never gives a frame; a length may make the reader wait for more."""
    frame = bytearray(sealed(FrameSealer(KEY), KIND_REQUEST, 1, Heartbeat(1 << 40)))
    frame[position % len(frame)] ^= 1 << bit
    with contextlib.suppress(PeerBrokeProtocol):
        assert read(FrameReader(KEY), bytes(frame), 1 << 20) == []


@given(st.binary(max_size=300))
def test_authentic_nonsense(body: bytes) -> None:
    """A body from a peer with the key that is no message: a message or PeerBrokeProtocol, nothing else."""
    data = b"".join(map(bytes, FrameSealer(KEY).seal(KIND_REQUEST, 1, body, 0)))
    with contextlib.suppress(PeerBrokeProtocol):
        assert len(read(FrameReader(KEY), data, 1 << 20)) == 1
