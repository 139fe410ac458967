"""What a start found, in the audit log of the disk."""

from typing import Any

from ringfs.data.health import Health
from ringfs.data.steward.local import note_losses
from tests.support.steward_doubles import MemoryAudit


class FullAudit(MemoryAudit):
    """A disk that takes nothing."""

    async def add(self, event: str, **facts: str | int) -> None:
        raise OSError(28, "full")


async def noted(audit: MemoryAudit, **found: Any) -> list[tuple[str, dict[str, str | int]]]:
    """What is written of a start that found this."""
    health = Health()
    for name, value in found.items():
        setattr(health, name, value)
    await note_losses(health, audit)
    return audit.lines


async def test_losses_of_a_start_are_written_down() -> None:
    assert await noted(MemoryAudit()) == []
    assert await noted(MemoryAudit(), lost_count=2) == [("parts lost", {"lost_parts": 2})]
    built = {"index_built_ns": 5, "index_fault": "it was cut short"}
    written = ("index built anew", {"fault": "it was cut short", "lost_parts": 0})
    assert await noted(MemoryAudit(), **built) == [written]
    assert await noted(FullAudit(), **built) == [], "a disk that is full goes on all the same"
