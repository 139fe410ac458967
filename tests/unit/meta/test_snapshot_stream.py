"""The stream of a snapshot: there and back however it is cut, its recorded bytes, and everything that is not a stream."""

import random
from collections.abc import Iterable
from pathlib import Path

import pytest

from ringfs.base.checksums import plain_digest
from ringfs.meta.snapshot_stream import SnapshotDamaged, StreamReader, StreamWriter
from tests.support.seeds import seeds

GOLDEN = Path(__file__).with_name("snapshot.v1.hex")
PAIRS = [(b"a", b""), (b"ab", b"value"), (b"\xff" * 511, b"x" * 3)]

Pairs = list[tuple[bytes, bytes]]


def written(pairs: Pairs, object_bytes: int = 1 << 20) -> tuple[list[bytes], bytes]:
    """The objects of a stream, and its digest."""
    writer, objects = StreamWriter(object_bytes), []
    for key, value in pairs:
        writer.add(key, value)
        while writer.has_object:
            objects.append(writer.take())
    writer.end()
    while content := writer.take():
        objects.append(content)
    assert writer.size_bytes == sum(map(len, objects))
    return objects, writer.digest()


def read(pieces: Iterable[bytes], digest: bytes | None = None, size_bytes: int | None = None) -> Pairs:
    """The pairs, all of it verified."""
    pieces = list(pieces)
    stream = b"".join(pieces)
    reader, pairs = StreamReader(), []
    for piece in pieces:
        pairs += list(reader.feed(piece))
    reader.finish(len(stream) if size_bytes is None else size_bytes, plain_digest(stream) if digest is None else digest)
    return pairs


def test_golden() -> None:
    """The bytes are those of docs/formats/snapshot.md."""
    objects, digest = written(PAIRS)
    stream_hex, digest_hex, _ = GOLDEN.read_text().split()
    assert b"".join(objects).hex() == stream_hex
    assert digest.hex() == digest_hex
    assert read([bytes.fromhex(stream_hex)]) == PAIRS


def test_empty() -> None:
    """A state without rows is a stream too."""
    objects, digest = written([])
    assert read(objects, digest) == []


@pytest.mark.parametrize("seed", seeds(20))
def test_any_cut(seed: int) -> None:
    """However long objects are, all but the last are whole, and the pairs come back; pieces may be cut anywhere else."""
    chance = random.Random(seed)
    keys = sorted({chance.randbytes(chance.randint(1, 9)) for _ in range(chance.randint(0, 60))})
    pairs = [(key, chance.randbytes(chance.choice((0, 3, 50, 2000)))) for key in keys]
    object_bytes = chance.choice((1, 7, 64, 1000))
    objects, digest = written(pairs, object_bytes)
    assert {len(content) for content in objects[:-1]} <= {object_bytes}
    assert read(objects, digest) == pairs
    stream = b"".join(objects)
    cuts = sorted(chance.randrange(len(stream) + 1) for _ in range(5))
    assert read([stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)], digest) == pairs


def test_every_changed_byte_is_found() -> None:
    """No byte of a stream can change without its digest, and what a byte says is never more than refused."""
    objects, digest = written(PAIRS)
    stream = b"".join(objects)
    for at in range(len(stream)):
        damaged = bytearray(stream)
        damaged[at] ^= 0x41
        with pytest.raises(SnapshotDamaged):
            read([bytes(damaged)], digest)


def test_every_cut_short_is_found() -> None:
    """A stream that stops anywhere, or goes on after its end, is none, also for who trusts digest and size."""
    stream = b"".join(written(PAIRS)[0])
    for end in range(len(stream)):
        with pytest.raises(SnapshotDamaged, match="no end"):
            read([stream[:end]])
    with pytest.raises(SnapshotDamaged, match="no end"):
        read([stream + b"\0"])


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (b"ringfsS2" + bytes(10), "does not begin"),
        (b"ringfsS1" + bytes.fromhex("0200 00000000"), "512 and 0 bytes"),
        (b"ringfsS1" + bytes.fromhex("0001 7fffffff"), "1 and 2147483647 bytes"),
        (b"ringfsS1" + bytes.fromhex("0001 00000000 62 0001 00000000 61"), "out of order"),
        (b"ringfsS1" + bytes.fromhex("0001 00000000 62 0001 00000000 62"), "out of order"),
        (b"ringfsS1" + bytes.fromhex("0001 00000000 62 0000 0000000000000002"), "ends after 1 pairs, and says 2"),
    ],
)
def test_nonsense(stream: bytes, words: str) -> None:
    """Each is said as what it is."""
    with pytest.raises(SnapshotDamaged, match=words):
        read([stream])


def test_size_and_digest() -> None:
    """A whole stream that is another one than was promised."""
    objects, digest = written(PAIRS)
    with pytest.raises(SnapshotDamaged, match="bytes, not 7"):
        read(objects, digest, 7)
    with pytest.raises(SnapshotDamaged, match="digest"):
        read(objects, bytes(32))
