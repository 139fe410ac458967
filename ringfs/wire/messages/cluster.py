"""The cluster map, data nodes at the metadata server, objects to delete, status, snapshots for the checker."""

from dataclasses import field
from typing import Annotated

from ringfs.base.limits import PAGE_ENTRIES_MAX
from ringfs.wire.schema import I64, U8, U16, U32, U64, Blob, Hash, Sized, Text, message

#: States of a node, as heartbeats tell. A node that is down keeps its place on the ring; puts go to the next ones meanwhile.
NODE_UP = 1
NODE_DOWN = 2
#: Standings of a node, as operators and time tell. IN: it has its share of the ring. OUT: an operator wants nothing on it, and
#: what it holds counts for nothing. LOST: the same because it was down for too long; when it comes up it is IN again. DRAINING: it
#: is to get rid of what it holds, which counts until then. MAINTENANCE, until a time: it may be down without becoming LOST.
STANDING_IN = 1
STANDING_OUT = 2
STANDING_LOST = 3
STANDING_DRAINING = 4
STANDING_MAINTENANCE = 5
STANDING_NAMES = {1: "in", 2: "out", 3: "lost", 4: "draining", 5: "maintenance"}
#: Roles of a metadata server. One that starts is about to know the state; a standby follows the journal; the leader answers.
ROLE_STARTING = 1
ROLE_STANDBY = 2
ROLE_LEADER = 3


@message(0x0301)
class Node:
    """A data node in the map: one disk. `uuid` is the disk's identity; `domain` the failure domain that copies must not share.

    `seed` is what its tokens come from if its disk was replaced: the uuid of the first one; empty: `uuid`. `until_ns` is when
    MAINTENANCE ends (wall clock of the leader), else 0.
    """

    node: U16
    uuid: Text
    name: Text
    address: Text
    domain: Text
    weight: U32
    state: U8
    standing: U8 = STANDING_IN
    until_ns: I64 = 0
    seed: Text = ""


@message(0x0302)
class ClusterMap:
    """Numbered by epoch; nodes in order of their number. `classes` are the classes of service that files may have, by the number
    that Attributes have; the first is the default class."""

    epoch: U64
    cluster: Text
    nodes: Annotated[list[Node], Sized(0, 4096)]
    classes: Annotated[list[Text], Sized(0, 256)] = field(default_factory=list)


@message(0x0303)
class GetMap:
    """Answer: ClusterMap."""


@message(0x0304)
class MapChanged:
    """Pushed to sessions when the epoch grows."""

    map: ClusterMap


@message(0x0305)
class JoinNode:
    """A data node presents itself, at its start and after each lost connection. Answer: NodeJoined. Refused NODE_NAME_TAKEN,
    NODE_REMOVED; TOO_EARLY if its weight depends on nodes that have not presented themselves to this leader yet.

    `weight` counts when it comes for the first time (0: what its size says); later SetWeight says. has_losses: it found at its
    start, and has not said yet, that it lost objects: the epoch grows, so that stewards look at once. size_bytes: what the disk
    can hold, whatever is on it (0: not known).
    """

    uuid: Text
    name: Text
    address: Text
    domain: Text
    weight: U32
    has_losses: bool = False
    size_bytes: U64 = 0


@message(0x0306)
class NodeJoined:
    """The node's number and the map."""

    node: U16
    map: ClusterMap


@message(0x0307)
class NodeHeartbeat:
    """Every second. What the node uses of its disk, and what it may still use. Answer: ClusterMap if epoch is behind, else Done.

    `filesystem` identifies the file system under the disk, and `filesystem_free_bytes` is what is free there: nodes that share one
    have no more than that together.
    """

    node: U16
    epoch: U64
    used_bytes: U64
    free_bytes: U64
    object_count: U64
    filesystem: Text
    filesystem_free_bytes: U64
    #: Empty, or one line about what is wrong ("disk full", "disk failed: …").
    trouble: Text
    #: As in JoinNode: a disk may be enlarged.
    size_bytes: U64 = 0


@message(0x0308)
class ListCondemned:
    """The dead objects whose grace has passed, after a sequence number, oldest first. Answer: CondemnedPage."""

    node: U16
    after: U64
    limit: U16


@message(0x0309)
class Condemned:
    """An object that metadata declared dead at verdict_ns (wall clock of the leader)."""

    sequence: U64
    object: Hash
    verdict_ns: I64


@message(0x030A)
class CondemnedPage:
    """`through`: every sequence number up to it has been told; objects that live again are left out."""

    entries: Annotated[list[Condemned], Sized(0, PAGE_ENTRIES_MAX)]
    through: U64


@message(0x030B)
class Reaped:
    """The node holds none of the condemned objects up to `through` any more. Answer: Done."""

    node: U16
    through: U64


@message(0x030C)
class GetStatus:
    """Answer: Status."""


@message(0x030D)
class NodeStatus:
    """A node as the metadata server sees it."""

    node: U16
    used_bytes: U64
    free_bytes: U64
    object_count: U64
    silent_ms: U64
    trouble: Text
    size_bytes: U64 = 0


@message(0x030F)
class StatusSession:
    """A session as status shows it."""

    session: U64
    name: Text
    open_count: U32
    silent_ms: U64


@message(0x0310)
class Status:
    """The cluster at a glance. Byte figures are what users can store under the default class (copies and parity taken off)."""

    cluster: Text
    leader: Text
    term: U64
    position: U64
    checkpoint: U64
    default_class: Text
    map: ClusterMap
    nodes: Annotated[list[NodeStatus], Sized(0, 4096)]
    sessions: Annotated[list[StatusSession], Sized(0, 4096)]
    inode_count: U64
    live_bytes: U64
    dead_bytes: U64
    total_bytes: U64
    free_bytes: U64
    trouble: Text


@message(0x0311)
class OpenSnapshot:
    """Freeze the namespace at its present position, for the checker. Answer: SnapshotOpened.

    Closed by CloseSnapshot, disconnection or 10 minutes.
    """


@message(0x0312)
class SnapshotOpened:
    """`position` is the journal position that the snapshot shows."""

    snapshot: U64
    position: U64


@message(0x0313)
class ReadSnapshot:
    """The pairs after a key, in order. Answer: SnapshotPage."""

    snapshot: U64
    after: Blob
    limit: U16


@message(0x0314)
class Pair:
    """One key and its value."""

    key: Blob
    value: Blob


@message(0x0315)
class SnapshotPage:
    """`more` is false on the last page. A page holds at most 1 MiB."""

    pairs: Annotated[list[Pair], Sized(0, PAGE_ENTRIES_MAX)]
    more: bool


@message(0x0316)
class CloseSnapshot:
    """Answer: Done."""

    snapshot: U64


@message(0x0317)
class GetServer:
    """What any metadata server says of itself, whether it leads or not, without a session. Answer: ServerStatus."""


@message(0x0318)
class EtcdMember:
    """A member of etcd as the server that was asked sees it. `reason` says why it is unhealthy or not reached, or is empty."""

    endpoint: Text
    reason: Text
    is_leader: bool
    database_bytes: U64
    used_bytes: U64
    #: Raised alarms, as "no space" or "corrupt".
    alarms: Annotated[list[Text], Sized(0, 16)]


@message(0x0319)
class ServerStatus:
    """A metadata server. `term` and `leader` are the newest that it knows of: 0 and empty if it knows of none.

    `position` is the last entry of the journal that its state shows, `snapshot_position` that of the newest snapshot in the ring
    (0: there is none). A cluster without etcd has no `etcd`.
    """

    name: Text
    role: U8
    term: U64
    position: U64
    leader: Text
    leader_address: Text
    etcd: Annotated[list[EtcdMember], Sized(0, 64)]
    snapshot_position: U64
    #: Empty, or one line about what keeps it from its work ("etcd does not answer").
    trouble: Text


@message(0x031A)
class Promote:
    """Have another metadata server lead, asked of the one that does. Answer: Done, or the end of the connection, as of all others.

    GetServer tells when it has happened.
    """

    name: Text
