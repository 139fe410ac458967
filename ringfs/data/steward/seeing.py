"""What there is: live objects as the leader has them, beside the parts that all nodes hold; in a share of the ids, or of one."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any

import trio

from ringfs.base.errors import ConnectionLost, Refused
from ringfs.data.steward.merging import Page, SortedList, side_by_side
from ringfs.data.steward.reach import Reach
from ringfs.data.steward.share import Share, before, behind
from ringfs.wire.messages.cluster import NODE_UP, ClusterMap, Node
from ringfs.wire.messages.data import ListObjects, ObjectRow
from ringfs.wire.messages.heal import ListLive, LiveObject

_PAGE_ROWS = 1024
#: Parts of one object that a node has: few. It is asked again if there are more.
_PARTS_OF_ONE = 8
#: Between two pages of a list, for each node of the map, since each has a steward that lists: so that all of them together take a
#: small part of a node's, and a smaller one of the leader's, time.
_NODE_PAUSE_S = 0.03
_LEADER_PAUSE_S = 0.1
_id_of = attrgetter("object")


@dataclass(slots=True)
class Sight:
    """An object: its row (None: metadata knows no such live one), what nodes hold of it, by number, and which nodes did not say."""

    oid: bytes
    row: LiveObject | None
    held: dict[int, list[ObjectRow]] = field(default_factory=dict)
    silent: frozenset[int] = frozenset()


async def see_share(reach: Reach, cluster_map: ClusterMap, share: Share) -> AsyncIterator[list[Sight]]:
    """All objects of a share, in order of id, some at a time. Raises Refused, ConnectionLost if the leader does not answer."""
    numbers = [node.node for node in cluster_map.nodes if node.state == NODE_UP]
    silent = {node.node for node in cluster_map.nodes if node.state != NODE_UP}
    pause = len(cluster_map.nodes)
    live = SortedList(partial(_turn_live, reach, share, _LEADER_PAUSE_S * pause))
    held = [
        SortedList(partial(_turn_held, reach, node, share, _NODE_PAUSE_S * pause))
        for node in cluster_map.nodes
        if node.state == NODE_UP
    ]
    async for rows_of_live, *rows_of_nodes in side_by_side([live, *held]):
        if live.failure:
            raise ConnectionLost(f"the leader does not list its objects: {live.failure}")
        silent |= {number for number, each in zip(numbers, held, strict=True) if each.failure}
        yield _sights(rows_of_live, dict(zip(numbers, rows_of_nodes, strict=True)), frozenset(silent))


async def see_one(reach: Reach, cluster_map: ClusterMap, oid: bytes) -> Sight:
    """One object, now. Raises Refused, ConnectionLost if the leader does not answer."""
    page = await reach.ask_leader(ListLive(before(oid), behind(oid), 1))
    sight = Sight(oid, page.objects[0] if page.objects else None)
    silent = {node.node for node in cluster_map.nodes if node.state != NODE_UP}

    async def ask(node: Node) -> None:
        try:
            sight.held[node.node] = await _parts_of(reach, node, oid)
        except (Refused, ConnectionLost):
            silent.add(node.node)

    async with trio.open_nursery() as nursery:
        for node in cluster_map.nodes:
            if node.state == NODE_UP:
                nursery.start_soon(ask, node)
    sight.silent = frozenset(silent)
    return sight


def _sights(live: Sequence[LiveObject], held: dict[int, list[ObjectRow]], silent: frozenset[int]) -> list[Sight]:
    sights = {row.object: Sight(row.object, row, {}, silent) for row in live}
    for number, rows in held.items():
        for oid, parts in groupby(rows, _id_of):
            sights.setdefault(oid, Sight(oid, None, {}, silent)).held[number] = list(parts)
    return [sights[oid] for oid in sorted(sights)]


async def _turn_live(reach: Reach, share: Share, pause_s: float, last: Any | None) -> Page:
    await trio.sleep(pause_s if last is not None else 0)
    page = await reach.ask_leader(ListLive(share.after if last is None else last.object, share.stop, _PAGE_ROWS))
    return Page(page.objects, page.more)


async def _turn_held(reach: Reach, node: Node, share: Share, pause_s: float, last: Any | None) -> Page:
    await trio.sleep(pause_s if last is not None else 0)
    page = await reach.ask(node, ListObjects(share.after if last is None else last.object + last.part, _PAGE_ROWS))
    if share.stop and page.objects and page.objects[-1].object >= share.stop:
        return Page([row for row in page.objects if row.object < share.stop], False)
    return Page(page.objects, page.more)


async def _parts_of(reach: Reach, node: Node, oid: bytes) -> list[ObjectRow]:
    found: list[ObjectRow] = []
    after = before(oid)
    while True:
        page = await reach.ask(node, ListObjects(after, _PARTS_OF_ONE))
        found += [row for row in page.objects if row.object == oid]
        if not page.more or not page.objects or page.objects[-1].object != oid:
            return found
        after = page.objects[-1].object + page.objects[-1].part
