"""Stewards and the metadata service: what objects there are, how they are stored, what was healed; operators' wishes for nodes.

All are asked without a session, and may be repeated: each says what it expects, or does nothing the second time.
"""

from typing import Annotated

from ringfs.base.limits import PAGE_ENTRIES_MAX
from ringfs.wire.messages.data import ObjectSize
from ringfs.wire.schema import I64, U8, U16, U32, U64, Hash, Sized, Text, message


@message(0x0601)
class ListLive:
    """The live objects with after < id < stop (b"": no bound), in order of id. Answer: LivePage."""

    after: Annotated[bytes, Sized(0, 20)]
    stop: Annotated[bytes, Sized(0, 20)]
    limit: U16


@message(0x0602)
class LiveObject:
    """An object as metadata has it: the class it was promised, the form it has now."""

    object: Hash
    size_bytes: ObjectSize
    live_bytes: U64
    stored_class: Text
    form: Text


@message(0x0603)
class LivePage:
    """`more` is false on the last page."""

    objects: Annotated[list[LiveObject], Sized(0, PAGE_ENTRIES_MAX)]
    more: bool


@message(0x0604)
class Reformed:
    """An object whose parts in the new form are all durable where they belong."""

    object: Hash
    old_form: Text
    new_form: Text


@message(0x0605)
class Reform:
    """Objects are stored in another form now. Those that are not live, or not in the old form, are passed over.
    Answer: ReformDone."""

    objects: Annotated[list[Reformed], Sized(1, PAGE_ENTRIES_MAX)]


@message(0x0606)
class ReformDone:
    """The objects that are in the new form now. Only of these may the old parts be dropped."""

    objects: Annotated[list[Hash], Sized(0, PAGE_ENTRIES_MAX)]


@message(0x0607)
class Sweep:
    """A node holds these for long, and metadata may not know them. Those that are neither live nor condemned are condemned now,
    and deleted after the grace by whoever holds them. A commit that comes later is refused NO_OBJECT and puts them again.
    Answer: SweepDone."""

    node: U16
    objects: Annotated[list[Hash], Sized(1, PAGE_ENTRIES_MAX)]


@message(0x0608)
class SweepDone:
    """How many were condemned."""

    count: U32


@message(0x0609)
class HealReport:
    """What a node's steward and scrubber have to say, every few seconds. Counters count from the start of the process.

    clean_epoch: the newest epoch of the map for which the steward has gone through its whole share and left nothing to do, or 0;
    queued: parts to make or move, and objects to re-form, that are known of now; endangered: objects of these that would not
    survive the next loss, or are lost already with what is up. Answer: Done.
    """

    node: U16
    clean_epoch: U64
    queued: U64
    queued_bytes: U64
    endangered: U64
    unhealable: U64
    healed_parts: U64
    healed_bytes: U64
    moved_parts: U64
    moved_bytes: U64
    reformed_objects: U64
    dropped_parts: U64
    swept_objects: U64
    rate_bytes_per_s: U64
    #: The share that has been gone through since the epoch or the last pass, in thousandths.
    scanned_permille: U16
    scrubbed_parts: U64
    scrubbed_bytes: U64
    bad_parts: U64
    mended_parts: U64
    #: How far the present round of the scrub is, in thousandths; when the last complete one ended (wall clock; 0: none has).
    scrub_permille: U16
    scrub_done_ns: I64
    #: What its start found: when (wall clock) it built the disk's index anew, 0 if the index was sound; parts lost to damage.
    index_built_ns: I64 = 0
    lost_parts: U64 = 0
    #: Of the latest complete pass: the epoch of its map; failure domains that the widest class of all objects needs. Objects of
    #: which something is missing that could not be made before a node came back or another had place; those of them that would not
    #: survive the next loss; those that could not be read just then.
    seen_epoch: U64 = 0
    seen_width: U8 = 0
    waiting: U64 = 0
    exposed: U64 = 0
    unreadable: U64 = 0


@message(0x060A)
class GetHeal:
    """Answer: HealStatus."""


@message(0x060B)
class HealStatus:
    """The latest report of each node since the leader leads, and whether all of the map's stewards are clean at its epoch."""

    epoch: U64
    is_healed: bool
    reports: Annotated[list[HealReport], Sized(0, 4096)]


@message(0x060C)
class SetStanding:
    """An operator's wish: IN, OUT, DRAINING, or MAINTENANCE for duration_s. Answer: cluster.ClusterMap. Refused NOT_FOUND, INVALID
    (no such standing; too few domains would be left for a class that is in use)."""

    name: Text
    standing: U8
    duration_s: U32
    #: Filled in by the leader: failure domains that what is stored needs; 0: not known, the classes of the map say.
    width: U8 = 0


@message(0x060D)
class SetWeight:
    """Give a node another share. Answer: cluster.ClusterMap. Refused NOT_FOUND, INVALID (0)."""

    name: Text
    weight: U32


@message(0x060E)
class RemoveNode:
    """Forget a node that is DRAINING, OUT or LOST and needed by nobody. Answer: cluster.ClusterMap. Refused NOT_FOUND, BUSY (it
    still holds what others do not: the detail says what is to be waited for), INVALID (it is in)."""

    name: Text


@message(0x060F)
class ReplaceDisk:
    """The node's disk is gone for good: the next empty disk that joins under this name takes its place on the ring. Answer:
    cluster.ClusterMap. Refused NOT_FOUND, BUSY (the node is up)."""

    name: Text


@message(0x0610)
class StartScrub:
    """Asked of a data node: begin a new round of the scrub now, at so many bytes a second (0: as configured). Answer: Done."""

    bytes_per_s: U64


@message(0x0611)
class ListReferences:
    """The chunks that point to an object, after (inode, chunk). Answer: ReferencePage. For compaction, verify and the checker."""

    object: Hash
    after_inode: U64
    after_chunk: U32
    limit: U16


@message(0x0612)
class Reference:
    """A chunk that points to live_bytes of an object."""

    inode: U64
    chunk: U32
    live_bytes: U64


@message(0x0613)
class ReferencePage:
    """`more` is false on the last page."""

    references: Annotated[list[Reference], Sized(0, PAGE_ENTRIES_MAX)]
    more: bool


@message(0x0614)
class Reclass:
    """Give the objects that a file points to, from (chunk, after this object) on, the file's class; stewards re-form them then.
    Begin with 0 and b"". Answer: Reclassed. Refused STALE, INVALID (no regular file)."""

    inode: U64
    first_chunk: U32
    after: Annotated[bytes, Sized(0, 20)]


@message(0x0615)
class Reclassed:
    """next_chunk, after: what to go on with; next_chunk -1: that was all. How many objects were looked at, and the number and
    sizes of those that have another class now."""

    next_chunk: I64
    after: Annotated[bytes, Sized(0, 20)]
    object_count: U32
    changed_count: U32
    changed_bytes: U64


@message(0x0616)
class StartHeal:
    """Have all stewards go through their shares now: the epoch grows. Answer: cluster.ClusterMap."""
