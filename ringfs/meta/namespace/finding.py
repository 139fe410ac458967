"""What the checker says: which rule is broken, and where."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """`what` is a word of docs/formats/namespace.md, "What always holds"; `where` is for people."""

    what: str
    where: str

    def __str__(self) -> str:
        return f"{self.what}: {self.where}"
