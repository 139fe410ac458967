"""What the checker says: which rule is broken, and where."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """`rule` is a word of docs/formats/namespace.md, "What always holds"; `detail` says what and where, for people."""

    rule: str
    detail: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.detail}"
