"""What the metadata service asks of etcd: transactions, ranges, leases, watches, and the care of its database.

Pure types, and the Etcd protocol. client.py asks a real etcd; tests/support/etcd_model.py is the same in virtual time, and
tests/contract/etcd_contract.py holds both to what the rest of ringfs relies on. Nothing of etcd's wire leaves client.py.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from ringfs.base.errors import UserError


class EtcdUnavailable(Exception):
    """No member answered in time, or they have no quorum. Whether a change took effect is not known: ask, or try again."""


class EtcdFull(Exception):
    """etcd's database has reached its space quota: it takes no puts until it is compacted, defragmented and disarmed."""


class EtcdCompacted(Exception):
    """The revisions that were asked for are compacted away."""


class EtcdMisused(UserError):
    """etcd refuses what we ask: credentials, permissions, size limits, a version that is too old. No retry cures it."""


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A key as etcd has it. create_revision is new each time the key is made; version counts its puts since then."""

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int


@dataclass(frozen=True, slots=True)
class Absent:
    """A condition: there is no such key; with `end`, none from key up to it."""

    key: bytes
    end: bytes = b""


@dataclass(frozen=True, slots=True)
class CreatedAt:
    """A condition: the key is there, and was made in that revision."""

    key: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class AtVersion:
    """A condition: the key is there, and was put so many times since it was made."""

    key: bytes
    version: int


@dataclass(frozen=True, slots=True)
class Put:
    """Set a key. With a lease (not 0) it goes when the lease ends; if that has ended already, the transaction is LeaseEnded."""

    key: bytes
    value: bytes
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a key; with `end`, all from key up to it."""

    key: bytes
    end: bytes = b""


@dataclass(frozen=True, slots=True)
class Get:
    """Read a key; with `end`, all from key up to it, at most limit (0: all), last first if so said."""

    key: bytes
    end: bytes = b""
    limit: int = 0
    last_first: bool = False
    keys_only: bool = False


Condition = Absent | CreatedAt | AtVersion
Action = Put | Delete | Get


class LeaseEnded(Exception):
    """The lease that a key was to be put under has ended. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Transacted:
    """Whether all conditions held; the revision after it; what each Get of the branch that was taken found, in order."""

    succeeded: bool
    revision: int
    found: list[list[KeyValue]]


@dataclass(frozen=True, slots=True)
class Change:
    """What a watch tells: a key was put (pair has its value) or deleted (value is empty; mod_revision is that of the deletion)."""

    pair: KeyValue
    deleted: bool


@dataclass(frozen=True, slots=True)
class Member:
    """A member of etcd as it says itself. reason: why it is unhealthy or unreachable, or "". Sizes are 0 if it did not answer."""

    endpoint: str
    reason: str
    is_leader: bool
    database_bytes: int
    used_bytes: int
    #: Raised alarms, as "no space" or "corrupt".
    alarms: tuple[str, ...] = ()


class Changes(Protocol):
    """What a watch tells."""

    async def receive(self) -> list[Change]:
        """The next changes, at least one. Cancelling loses nothing. Raises as Etcd.watch says."""
        ...


class Etcd(Protocol):
    """A connection to an etcd cluster, whichever member answers. All reads are linearizable: they show every change that was
    acknowledged to anybody before they were asked."""

    async def transact(
        self, conditions: Sequence[Condition], then: Sequence[Action], otherwise: Sequence[Action] = (), *, timeout_s: float = 2.0
    ) -> Transacted:
        """Atomically: `then` if all conditions hold, else `otherwise`. Raises EtcdUnavailable, EtcdFull, LeaseEnded, EtcdMisused.

        Tried once: whoever calls makes it safe to be repeated after EtcdUnavailable.
        """
        ...

    async def grant(self, ttl_s: int) -> tuple[int, int]:
        """A new lease: its id, and the seconds it lasts, which may be more. Raises EtcdUnavailable, EtcdFull."""
        ...

    async def keep_alive(self, lease: int, *, timeout_s: float = 2.0) -> int:
        """Renew it: the seconds it lasts from when this was asked; 0 if it has ended. Raises EtcdUnavailable."""
        ...

    async def revoke(self, lease: int) -> None:
        """End it, and its keys; also if it has ended already. Raises EtcdUnavailable."""
        ...

    def watch(self, key: bytes, end: bytes, *, from_revision: int) -> AbstractAsyncContextManager[Changes]:
        """Changes of the keys from key up to end, since a revision (that one included), in order, none left out or told twice;
        those of one revision in one list, perhaps with others.

        Receiving raises EtcdUnavailable when the member is lost, EtcdCompacted.

        A stopped member may stay silent for ever: watches speed things up, what must be known is asked.
        """
        ...

    async def compact(self, revision: int) -> None:
        """Forget what was overwritten or deleted before a revision. Raises EtcdUnavailable; no harm if it is compacted already."""
        ...

    async def members(self) -> list[Member]:
        """Each endpoint's own word. Never raises for one that does not answer."""
        ...

    async def defragment(self, endpoint: str) -> None:
        """Give what one member's database does not use back to its disk; it answers nothing meanwhile.

        Raises EtcdUnavailable; EtcdMisused if our user has not the role root.
        """
        ...

    async def disarm(self) -> None:
        """Take back the alarms about space, once there is some again. Raises EtcdUnavailable."""
        ...


def prefix_end(prefix: bytes) -> bytes:
    """The first key after all that begin with a prefix (which does not end with 0xff)."""
    return prefix[:-1] + bytes([prefix[-1] + 1])
