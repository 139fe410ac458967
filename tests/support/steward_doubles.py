"""Doubles around a steward: an audit log and a scrub cursor in memory."""

from dataclasses import replace

from ringfs.data.steward.cursor import Cursor


class MemoryAudit:
    """An Audit."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, str | int]]] = []

    async def add(self, event: str, **facts: str | int) -> None:
        """See Audit."""
        self.lines.append((event, facts))

    @property
    def events(self) -> list[str]:
        """What was written down, in order."""
        return [event for event, _ in self.lines]


class MemoryKeeper:
    """A Keeper, which outlives a steward."""

    def __init__(self) -> None:
        self.kept = Cursor()

    async def load(self) -> Cursor:
        """See Keeper."""
        return replace(self.kept)

    async def save(self, cursor: Cursor) -> None:
        """See Keeper."""
        self.kept = replace(cursor)
