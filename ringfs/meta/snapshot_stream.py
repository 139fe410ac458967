"""A state as a stream of bytes, cut into objects, and back: docs/formats/snapshot.md is normative. Pure; holds about one object.

What makes a stream trustworthy beyond its objects' ids, its size and its digest, are the pointer's (snapshot_pointer.py).
"""

from collections.abc import Iterator
from struct import Struct

from ringfs.base.checksums import Buffer, RunningDigest
from ringfs.base.errors import UserError
from ringfs.base.limits import FRAME_BODY_BYTES_MAX, OBJECT_BYTES_MAX

MAGIC = b"ringfsS1"
#: What a store takes; no value is longer than a frame's body by much.
_KEY_BYTES_MAX = 511
_VALUE_BYTES_MAX = 2 * FRAME_BODY_BYTES_MAX

_HEAD = Struct(">HI")
_END = Struct(">HQ")


class SnapshotDamaged(UserError):
    """It is not what was written. Nothing of it is used."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the snapshot does not verify: {what}")


class StreamWriter:
    """Takes pairs in the order of their keys, and gives the stream out in objects."""

    def __init__(self, object_bytes: int = OBJECT_BYTES_MAX) -> None:
        self._object_bytes = object_bytes
        self._buffer = bytearray()
        self._digest = RunningDigest()
        self._pair_count = 0
        #: Of the stream so far.
        self.size_bytes = 0
        self._append(MAGIC)

    def add(self, key: bytes, value: bytes) -> None:
        """The next pair."""
        self._pair_count += 1
        self._append(b"%b%b%b" % (_HEAD.pack(len(key), len(value)), key, value))

    def end(self) -> None:
        """There are no more pairs."""
        self._append(_END.pack(0, self._pair_count))

    @property
    def has_object(self) -> bool:
        """Whether a whole object can be taken."""
        return len(self._buffer) >= self._object_bytes

    def take(self) -> bytes:
        """The next object's bytes, b"" if there are none: a whole one, or after the end what is left."""
        with memoryview(self._buffer) as view:
            taken = bytes(view[: self._object_bytes])
        del self._buffer[: self._object_bytes]
        return taken

    def digest(self) -> bytes:
        """Of the stream."""
        return self._digest.digest()

    def _append(self, data: bytes) -> None:
        self._buffer += data
        self._digest.add(data)
        self.size_bytes += len(data)


class StreamReader:
    """Takes the stream in pieces, and gives its pairs. Until finish() has returned, none of them may be believed."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._digest = RunningDigest()
        self._size_bytes = 0
        self._last_key = b""
        self._pair_count = 0
        self._is_begun = self._is_ended = False

    def feed(self, data: Buffer) -> Iterator[tuple[bytes, bytes]]:
        """The pairs that are whole with this piece; exhaust it before the next. Raises SnapshotDamaged."""
        self._digest.add(data)
        self._size_bytes += len(data)
        self._buffer += data
        at = self._begin()
        while (found := self._pair_at(at)) is not None:
            at, key, value = found
            yield key, value
        del self._buffer[:at]

    def finish(self, size_bytes: int, digest: bytes) -> None:
        """That was all of it, and it should have that size and digest. Raises SnapshotDamaged."""
        if self._size_bytes != size_bytes:
            raise SnapshotDamaged(f"it has {self._size_bytes} bytes, not {size_bytes}")
        if self._digest.digest() != digest:
            raise SnapshotDamaged("its digest is another one")
        if not self._is_ended or self._buffer:
            raise SnapshotDamaged("it has no end where it should")

    def _begin(self) -> int:
        """Where the first pair begins, or 0 where the stream goes on."""
        if self._is_begun or len(self._buffer) < len(MAGIC):
            return 0
        if not self._buffer.startswith(MAGIC):
            raise SnapshotDamaged("it does not begin as one")
        self._is_begun = True
        return len(MAGIC)

    def _pair_at(self, at: int) -> tuple[int, bytes, bytes] | None:
        """The pair at an offset of the buffer, and where the next one begins; None: more is needed, or it was the last."""
        buffer = self._buffer
        if not self._is_begun or self._is_ended or len(buffer) - at < _HEAD.size:
            return None
        key_bytes, value_bytes = _HEAD.unpack_from(buffer, at)
        if key_bytes == 0:
            self._end_at(at)
            return None
        if key_bytes > _KEY_BYTES_MAX or value_bytes > _VALUE_BYTES_MAX:
            raise SnapshotDamaged(f"a pair has {key_bytes} and {value_bytes} bytes")
        middle = at + _HEAD.size + key_bytes
        if len(buffer) < middle + value_bytes:
            return None
        key = bytes(buffer[middle - key_bytes : middle])
        if key <= self._last_key:
            raise SnapshotDamaged("its keys are out of order")
        self._last_key = key
        self._pair_count += 1
        return middle + value_bytes, key, bytes(buffer[middle : middle + value_bytes])

    def _end_at(self, at: int) -> None:
        """The stream ends there, if that is whole. What comes after it stays in the buffer, for finish() to find."""
        if len(self._buffer) - at < _END.size:
            return
        count = _END.unpack_from(self._buffer, at)[1]
        if count != self._pair_count:
            raise SnapshotDamaged(f"it ends after {self._pair_count} pairs, and says {count}")
        self._is_ended = True
        del self._buffer[at : at + _END.size]
