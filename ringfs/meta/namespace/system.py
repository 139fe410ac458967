"""Transactions that the leader makes itself, with session 0: sessions, data nodes, condemned objects, orphans, snapshots.
What stewards and operators ask for are the messages of wire/messages/heal.py themselves.

They are applied by the same machine as the clients' ones (ops/, one file each), and a client that sends one is refused
BAD_REQUEST. They have no request number: the leader appends each once.
"""

from typing import Annotated

from ringfs.base.limits import COMMIT_FILES_MAX, PAGE_ENTRIES_MAX
from ringfs.wire.messages.namespace import NewObject
from ringfs.wire.schema import U8, U16, U32, U64, Sized, Text, message


@message(0x0501)
class BeginSession:
    """A client registers. Answer: SessionBegun. `name` is for people."""

    name: Text


@message(0x0502)
class SessionBegun:
    """The new session's number, never reused."""

    session: U64


@message(0x0503)
class EndSession:
    """A session ended, cleanly or by silence: its replies and locks go, and orphans that only it kept. Answer: Done.
    Refused NO_SESSION."""

    session: U64


@message(0x0504)
class EnterNode:
    """A data node presented itself: a new uuid gets a number, a known one its new particulars; it is up. The map's epoch grows if
    anything in it changed, and with losses. Answer: cluster.NodeJoined. Refused NODE_NAME_TAKEN, NODE_REMOVED, INVALID (no uuid or
    name, weight 0)."""

    uuid: Text
    name: Text
    address: Text
    domain: Text
    weight: U32
    has_losses: bool = False


@message(0x0505)
class SetNodeState:
    """The leader found a node up or down. Answer: cluster.ClusterMap. Refused NOT_FOUND, INVALID."""

    node: U16
    state: U8


@message(0x0506)
class MarkReaped:
    """A node holds none of the condemned objects up to `through` any more; rows that all nodes have passed go, but for those that
    are OUT or LOST. Answer: Done. Refused NOT_FOUND (node), INVALID (through was never given out)."""

    node: U16
    through: U64


@message(0x0507)
class FreeOrphans:
    """A session has closed these inodes: it no longer keeps them alive. Inodes it does not keep are passed over. Answer: Done."""

    session: U64
    inodes: Annotated[list[U64], Sized(0, PAGE_ENTRIES_MAX)]


@message(0x0508)
class AppendSnapshot:
    """Objects of a snapshot of the state are in the ring: a file without a name keeps them, which the leader holds as session 0
    until FreeOrphans. inode 0: a new one. Answer: SnapshotAppended. Refused NO_OBJECT, INVALID (not such a file)."""

    inode: U64
    objects: Annotated[list[NewObject], Sized(1, COMMIT_FILES_MAX)]


@message(0x0509)
class SnapshotAppended:
    """The file that holds the objects."""

    inode: U64


@message(0x050A)
class FollowStanding:
    """Time has passed: a node is LOST, or its MAINTENANCE is over (IN). width: as in SetStanding. Answer: cluster.ClusterMap.
    Refused NOT_FOUND, INVALID."""

    node: U16
    standing: U8
    width: U8 = 0


@message(0x050B)
class ForgetVerdicts:
    """Some verdicts are passed by all nodes that count now. Answer: Done."""
