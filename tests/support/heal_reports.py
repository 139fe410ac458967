"""Maps and heal reports for tests of what shows them."""

from dataclasses import replace
from typing import Any
from uuid import UUID

from ringfs.wire.messages.cluster import NODE_UP, ClusterMap, Node, NodeStatus, Status
from ringfs.wire.messages.heal import HealReport, HealStatus

MIB = 1 << 20
#: All is well, and nothing was ever to be done.
REPORT = HealReport(
    node=1,
    clean_epoch=7,
    queued=0,
    queued_bytes=0,
    endangered=0,
    unhealable=0,
    healed_parts=0,
    healed_bytes=0,
    moved_parts=0,
    moved_bytes=0,
    reformed_objects=0,
    dropped_parts=0,
    swept_objects=0,
    rate_bytes_per_s=0,
    scanned_permille=1000,
    scrubbed_parts=0,
    scrubbed_bytes=0,
    bad_parts=0,
    mended_parts=0,
    scrub_permille=0,
    scrub_done_ns=0,
    seen_epoch=7,
)
HEALED = HealStatus(7, True, [REPORT, replace(REPORT, node=2)])
NAMES = {1: "data1", 2: "data2"}


def healing(**first: Any) -> HealStatus:
    """The ring when the first node's steward has this to say, and is not done."""
    return HealStatus(7, False, [replace(REPORT, clean_epoch=6, **first), replace(REPORT, node=2)])


def node(number: int, **fields: Any) -> Node:
    """data1, data2 …, each in a rack of its own, up and in."""
    return replace(Node(number, str(UUID(int=number)), f"data{number}", f"d:{number}", f"rack{number}", 100, NODE_UP), **fields)


def status(*nodes: Node) -> Status:
    """A cluster of these nodes; each uses its number in MiB."""
    figures = [NodeStatus(each.node, each.node * MIB, MIB, each.node, 20, "") for each in nodes]
    return Status(
        cluster="uuid",
        leader="meta1",
        term=5,
        position=101,
        checkpoint=90,
        default_class="replica:2",
        map=ClusterMap(7, "uuid", list(nodes)),
        nodes=figures,
        sessions=[],
        inode_count=5,
        live_bytes=MIB,
        dead_bytes=0,
        total_bytes=2 * MIB,
        free_bytes=MIB,
        trouble="",
    )
