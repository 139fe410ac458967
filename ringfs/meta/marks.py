"""What a checkpoint says about itself, in one mark of the store."""

from dataclasses import dataclass
from typing import Protocol

from ringfs.wire.packing import pack, unpack

_NAME = b"leader"


@dataclass(frozen=True, slots=True)
class Marks:
    """position: the latest transaction in the state; term: of the leader that wrote it; now_ns: the latest time it gave out."""

    position: int
    term: int
    now_ns: int


class Marked(Protocol):
    """A store, as far as its marks go."""

    def mark(self, name: bytes) -> bytes | None:
        """A mark of the last checkpoint, or None."""
        ...


def write(marks: Marks) -> dict[bytes, bytes]:
    """The mark that a checkpoint takes with it."""
    return {_NAME: pack((marks.position, marks.term, marks.now_ns))}


def read(store: Marked) -> Marks | None:
    """The marks of a store; None if it never saw a checkpoint."""
    value = store.mark(_NAME)
    return None if value is None else Marks(*unpack(value))
