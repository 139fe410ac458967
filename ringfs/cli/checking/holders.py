"""What the data nodes hold, against what the namespace says they must: one pass over sorted lists, memory of a few pages.

A busy cluster gives no false alarm. An object is put before it is committed and deleted a grace after nothing refers to it,
so what a snapshot refers to was held then; but lists are read later than snapshots. Whatever seems to be missing is
therefore looked up in a newer snapshot, and the nodes are asked for it again at once: twice, since a copy may just be moving.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import trio

from ringfs.base.errors import Code, Refused
from ringfs.base.kv.view import ReadView
from ringfs.base.limits import HASH_BYTES
from ringfs.cli.checking.nodes import HoldingNode
from ringfs.cli.checking.paths import files_of
from ringfs.cli.checking.placement import Holding, Verdict, fault_text, judge
from ringfs.cli.checking.report import Finding, Report
from ringfs.cli.checking.snapshot import ObjectEntry, objects_in, open_snapshot, read_object
from ringfs.cli.output import Progress
from ringfs.ring.classes import parse_class
from ringfs.ring.parts import Part, part_bytes, unpack_part
from ringfs.ring.placement import Ring
from ringfs.wire.messages.data import ObjectRow, Verified
from ringfs.wire.rpc import RpcClient

#: Objects that are gone through together: bounds what is suspected, and what is being verified.
_BATCH = 1024
#: How often a suspect is looked at again before it is reported.
_LOOKS = 2
#: Parts that one node verifies at once.
_VERIFIED_AT_ONCE = 4
_LAST_ID = b"\xff" * HASH_BYTES

#: By id: what is held of it.
Holders = dict[bytes, list[Holding]]


class HolderCheck:
    """One pass over all objects. `deep`: every part is also read from its disk and verified."""

    def __init__(
        self, leader: RpcClient, nodes: Sequence[HoldingNode], ring: Ring, report: Report, shown: Progress, *, deep: bool
    ) -> None:
        self._ring = ring
        self._leader = leader
        self._nodes = nodes
        self._report = report
        self._shown = shown
        self._deep = deep

    async def run(self, view: ReadView) -> None:
        """Check every live object of a view."""
        for batch in _batches(objects_in(view)):
            holders = await self._holders_of(batch)
            if self._deep:
                await self._verify(view, holders)
            suspects = []
            for entry in batch:
                verdict = self._judge(entry, holders[entry.oid])
                self._report.to_move_count += verdict.to_move
                if not verdict.is_kept:
                    suspects.append(entry)
            self._report.part_count += sum(len(held) for held in holders.values())
            self._report.object_count += len(batch)
            self._shown.step("looking for objects", self._report.object_count)
            if suspects:
                await self._look_again(view, suspects)
        await self._count_rest()
        self._report.silent = {node.name: node.silent for node in self._nodes if node.silent}

    def _judge(self, entry: ObjectEntry, held: Sequence[Holding]) -> Verdict:
        form = parse_class(entry.form)
        return judge(form, held, self._ring.desired(entry.oid, form.width))

    async def _holders_of(self, batch: Sequence[ObjectEntry]) -> Holders:
        """What nodes list. Each node's list goes on to the batch's last id."""
        wanted = {entry.oid: entry for entry in batch}
        holders: Holders = {oid: [] for oid in wanted}

        async def go_on(node: HoldingNode) -> None:
            async for row in node.rows_through(batch[-1].oid):
                entry, part = wanted.get(row.object), unpack_part(row.part)
                if entry is None:
                    self._unreferenced(row)
                elif row.size_bytes != entry.size_bytes:
                    what = f"has {row.size_bytes} bytes, the namespace says {entry.size_bytes}"
                    self._report.found(Finding(what, _where(entry.oid, node.name)))
                elif part is None:
                    self._report.found(Finding(f"has a part of no known kind ({row.part.hex()})", _where(entry.oid, node.name)))
                else:
                    holders[row.object].append(Holding(node.node, part))

        async with trio.open_nursery() as nursery:
            for node in self._nodes:
                nursery.start_soon(go_on, node)
        return holders

    async def _count_rest(self) -> None:
        """What nodes hold behind the last object of the namespace."""
        for node in self._nodes:
            async for row in node.rows_through(_LAST_ID):
                self._unreferenced(row)

    def _unreferenced(self, row: ObjectRow) -> None:
        part = unpack_part(row.part)
        self._report.unreferenced_count += 1
        self._report.unreferenced_bytes += 0 if part is None else part_bytes(part, row.size_bytes)

    async def _verify(self, view: ReadView, holders: Holders) -> None:
        """Have every part read; one that has gone meanwhile is taken out of holders, to be suspected."""
        by_node: dict[str, list[tuple[bytes, Part]]] = defaultdict(list)
        for oid, held in holders.items():
            for each in held:
                by_node[each.node.name].append((oid, each.part))
        todo = {name: iter(parts) for name, parts in by_node.items()}

        async def work(node: HoldingNode) -> None:
            for oid, part in todo[node.name]:
                await self._verify_one(view, node, oid, part, holders)

        async with trio.open_nursery() as nursery:
            for node in self._nodes:
                for _ in range(_VERIFIED_AT_ONCE if node.name in todo else 0):
                    nursery.start_soon(work, node)

    async def _verify_one(self, view: ReadView, node: HoldingNode, oid: bytes, part: Part, holders: Holders) -> None:
        outcome = await node.verify(oid, part)
        if outcome is None or (isinstance(outcome, Refused) and outcome.code is Code.NOT_HELD):
            holders[oid].remove(Holding(node.node, part))
            return
        self._report.verified_count += 1
        self._shown.step("verifying parts", self._report.verified_count)
        damage = damage_of(outcome)
        if damage:
            where = _where(oid, node.name) + ("" if part.is_whole else f", {part}")
            self._report.found(Finding(damage, where, files_of(view, oid)))

    async def _look_again(self, view: ReadView, suspects: Sequence[ObjectEntry]) -> None:
        """Report those that a newer snapshot still has and nodes, asked at once, still lack."""
        holders: Holders = {}
        for _ in range(_LOOKS):
            suspects = await self._still_live(suspects)
            if not suspects:
                return
            holders = await self._holders_now([entry.oid for entry in suspects])
            suspects = [entry for entry in suspects if not self._judge(entry, holders[entry.oid]).is_kept]
        for entry in suspects:
            held = holders[entry.oid]
            what = fault_text(self._judge(entry, held), entry.stored_class, held)
            self._report.found(Finding(what, _where(entry.oid), files_of(view, entry.oid)))

    async def _still_live(self, suspects: Iterable[ObjectEntry]) -> list[ObjectEntry]:
        """Those that are live in a new snapshot, as they are there."""
        async with open_snapshot(self._leader) as opened:
            found = [await read_object(self._leader, opened.snapshot, entry.oid) for entry in suspects]
        return [entry for entry in found if entry is not None]

    async def _holders_now(self, oids: Sequence[bytes]) -> Holders:
        holders: Holders = {oid: [] for oid in oids}
        for node in self._nodes:
            for oid, part in await node.held(oids):
                holders[oid].append(Holding(node.node, part))
        return holders


def damage_of(outcome: Verified | Refused) -> str:
    """What is wrong with a part that was read from its disk, or ""."""
    if isinstance(outcome, Refused):
        return str(outcome)
    if not outcome.header_ok:
        return "its header or block table is damaged"
    return f"damaged blocks {', '.join(map(str, outcome.bad_blocks))}" if outcome.bad_blocks else ""


def _batches(entries: Iterator[ObjectEntry]) -> Iterator[list[ObjectEntry]]:
    while batch := list(islice(entries, _BATCH)):
        yield batch


def _where(oid: bytes, node: str = "") -> str:
    return f"object {oid.hex()}" + (f" on {node}" if node else "")
