"""Who is told what happens to the session: the protocol between the line to the metadata service and what is cached under it."""

from typing import Any, Protocol

from ringfs.base.errors import Refused
from ringfs.wire.messages.session import OpenInode, Recall


class Dependent(Protocol):
    """Implemented by the file system (coherence.py)."""

    def open_inodes(self) -> list[OpenInode]:
        """What the session has open, to be resumed."""
        ...

    def leases_lost(self) -> None:
        """Everything cached under leases is void."""
        ...

    async def recalled(self, recall: Recall) -> None:
        """Obey; returning is the confirmation."""
        ...

    def mistaken(self, operation: Any, refused: Refused | None) -> None:
        """A transaction that was applied ahead had another outcome at the service; it was refused, if refused is given."""
        ...

    def session_renewed(self) -> None:
        """The old session has ended (its orphans are gone), a new one is about to be used."""
        ...

    async def find_lost(self) -> None:
        """Find out which open files have gone with the old session."""
        ...
