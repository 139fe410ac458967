"""Bringing a state up to its journal: how far the checkpoint got, and replaying what came after."""

from collections.abc import Callable
from typing import Protocol

from ringfs.base.errors import UserError
from ringfs.meta.journal.interface import Journal

#: The mark of a checkpoint that says which journal position it includes.
_APPLIED = b"applied"


class Marked(Protocol):
    """What has the marks of a checkpoint: a Store or a Snapshot."""

    def mark(self, name: bytes) -> bytes | None:
        """The mark of that name, or None."""
        ...


def applied_marks(position: int) -> dict[bytes, bytes]:
    """The marks for Store.checkpoint() of a state that includes the journal up to a position."""
    return {_APPLIED: position.to_bytes(8, "big")}


def applied_position(checkpoint: Marked) -> int:
    """The journal position that a checkpoint includes; 0 if there has been no checkpoint."""
    return int.from_bytes(checkpoint.mark(_APPLIED) or b"", "big")


def recover(checkpoint: Marked, journal: Journal, apply_entry: Callable[[int, bytes], None]) -> int:
    """Call apply_entry with each position after the checkpoint and its entry, in order. The last position applied.

    UserError if state and journal do not belong together; JournalDamaged.
    """
    applied = applied_position(checkpoint)
    if applied > journal.last:
        raise UserError(
            f"the state is ahead of the journal: it includes transaction {applied}, the journal ends with {journal.last};"
            " state and journal do not belong together, restore both from one copy"
        )
    if journal.first > applied + 1:
        raise UserError(
            f"transactions {applied + 1} to {journal.first - 1} are missing: the state ends before them, the journal begins"
            " after them; restore a newer state, or an older journal"
        )
    for position, entry in journal.replay(applied):
        assert position == applied + 1, f"the journal gave {position} after {applied}"
        apply_entry(position, entry)
        applied = position
    return applied
