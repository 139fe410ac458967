"""What a file must hold: its bytes now, and what a crash of its writer may leave of them."""

from ringfs.wire.messages.content import COLLAPSE_RANGE, INSERT_RANGE, KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE

_DIFFERENT = bytes([0]) + bytes([255]) * 255


def overwritten(before: bytes, offset: int, data: bytes) -> bytes:
    """before with data at offset, zeros between."""
    padded = before.ljust(offset, b"\0")
    return padded[:offset] + data + padded[offset + len(data) :]


def resized(before: bytes, size_bytes: int) -> bytes:
    """before cut, or grown with zeros."""
    return before[:size_bytes].ljust(size_bytes, b"\0")


def allocated(before: bytes, mode: int, start: int, stop: int) -> bytes:
    """before after fallocate(2) of start … stop-1."""
    if mode == COLLAPSE_RANGE:
        return before[:start] + before[stop:]
    if mode == INSERT_RANGE:
        return before[:start] + bytes(stop - start) + before[start:]
    if not mode & KEEP_SIZE:
        before = before.ljust(stop, b"\0")
    if mode & (PUNCH_HOLE | ZERO_RANGE):
        stop = min(stop, len(before))
        before = overwritten(before, start, bytes(stop - start)) if start < stop else before
    return before


class FileModel:
    """`now` is what its writer reads. Each byte that a crash leaves is one that was there since the last fsync."""

    def __init__(self) -> None:
        self.now = b""
        #: All states since the last fsync, which is the first; the last is now.
        self.states: list[bytes] = [b""]

    def write(self, offset: int, data: bytes) -> None:
        """Bytes were written, and may or may not be durable."""
        self.now = overwritten(self.now, offset, data)
        self.states.append(self.now)

    def truncate(self, size_bytes: int) -> None:
        """The size was set, durably: what was past it will not come back."""
        self.now = resized(self.now, size_bytes)
        self.states = [resized(state, size_bytes) for state in self.states]
        self.states.append(self.now)

    def synced(self, now: bytes) -> None:
        """What was written is durable, and what became of it then."""
        self.now = now
        self.states = [now]

    def may_be(self, found: bytes) -> bool:
        """Whether a crash of the writer may leave that."""
        return len(found) in set(map(len, self.states)) and (found in self.states or not impossible(found, self.states))

    def crashed(self, found: bytes) -> None:
        """The writer is gone, and this was found: one of what might be."""
        sizes = {len(state) for state in self.states}
        assert len(found) in sizes, f"{len(found)} bytes are left, not one of {sorted(sizes)}"
        if found not in self.states:
            wrong = impossible(found, self.states)
            assert not wrong, f"byte {wrong[0]} and {len(wrong)} in all never had that value since the last fsync"
        self.now = found
        self.states = [found]


def impossible(found: bytes, states: list[bytes]) -> list[int]:
    """Offsets of bytes that no state has there; past its end a state has zeros."""
    size_bytes = len(found)
    value = int.from_bytes(found, "big")
    wrong = (1 << 8 * size_bytes) - 1
    for state in states:
        differing = (value ^ int.from_bytes(resized(state, size_bytes), "big")).to_bytes(size_bytes, "big")
        wrong &= int.from_bytes(differing.translate(_DIFFERENT), "big")
    return [at for at, byte in enumerate(wrong.to_bytes(size_bytes, "big")) if byte]


def difference(found: bytes, expected: bytes) -> str:
    """What to say about two contents that should be equal; empty if they are."""
    if found == expected:
        return ""
    if len(found) != len(expected):
        return f"{len(found)} bytes instead of {len(expected)}"
    at = next(index for index in range(len(found)) if found[index] != expected[index])
    count = sum(one != other for one, other in zip(found, expected, strict=True))
    there, wanted = found[at : at + 16].hex(), expected[at : at + 16].hex()
    return f"{count} of {len(found)} bytes are wrong, from {at} on: {there} instead of {wanted}"
