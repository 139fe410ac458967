"""What a check finds: one line each, shown as they are found; a bounded number is kept for JSON."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

#: More findings than this are counted, not kept.
KEPT_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it must be: what, and where. paths: files that it harms, as far as they are known."""

    what: str
    where: str
    paths: tuple[str, ...] = ()

    def __str__(self) -> str:
        files = f" [{', '.join(self.paths)}]" if self.paths else ""
        return f"{self.where}: {self.what}{files}"


@dataclass(slots=True)
class Report:
    """The outcome of a check. `show` is called with each finding."""

    show: Callable[[Finding], None]
    position: int = 0
    inode_count: int = 0
    object_count: int = 0
    part_count: int = 0
    #: Parts that belong on another node than the one that has them: stewards move them.
    to_move_count: int = 0
    verified_count: int = 0
    #: Held, but not in the namespace: being written, or waiting for deletion.
    unreferenced_count: int = 0
    unreferenced_bytes: int = 0
    finding_count: int = 0
    findings: list[Finding] = field(default_factory=list)
    #: Nodes that could not be asked, and why.
    silent: dict[str, str] = field(default_factory=dict)

    def found(self, finding: Finding) -> None:
        """One more."""
        self.finding_count += 1
        if len(self.findings) < KEPT_MAX:
            self.findings.append(finding)
        self.show(finding)

    @property
    def is_clean(self) -> bool:
        """Whether everything is as it must be. A silent node alone is no fault while others hold what is promised."""
        return self.finding_count == 0

    def to_json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "clean": self.is_clean,
            "position": self.position,
            "inodes": self.inode_count,
            "objects": self.object_count,
            "parts": self.part_count,
            "to_move": self.to_move_count,
            "verified": self.verified_count,
            "unreferenced": {"parts": self.unreferenced_count, "bytes": self.unreferenced_bytes},
            "silent_nodes": self.silent,
            "finding_count": self.finding_count,
            "findings": [asdict(finding) for finding in self.findings],
        }
