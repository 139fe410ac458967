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
from ringfs.cli.checking.report import Finding, Report
from ringfs.cli.checking.snapshot import ObjectEntry, objects_in, open_snapshot, read_object
from ringfs.cli.output import Progress
from ringfs.ring.classes import parse_class
from ringfs.wire.rpc import RpcClient

#: Objects that are gone through together: bounds what is suspected, and what is being verified.
_BATCH = 1024
#: How often a suspect is looked at again before it is reported.
_LOOKS = 2
#: Objects that one node verifies at once.
_VERIFIED_AT_ONCE = 4
_LAST_ID = b"\xff" * HASH_BYTES

Holders = dict[bytes, set[str]]


class HolderCheck:
    """One pass over all objects. `deep`: every copy is also read from its disk and verified."""

    def __init__(self, leader: RpcClient, nodes: Sequence[HoldingNode], report: Report, shown: Progress, *, deep: bool) -> None:
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
            suspects = [entry for entry in batch if len(holders[entry.oid]) < _copies(entry)]
            self._report.copy_count += sum(len(names) for names in holders.values())
            self._report.object_count += len(batch)
            self._shown.step("looking for objects", self._report.object_count)
            if suspects:
                await self._look_again(view, suspects)
        await self._count_rest()
        self._report.silent = {node.name: node.silent for node in self._nodes if node.silent}

    async def _holders_of(self, batch: Sequence[ObjectEntry]) -> Holders:
        """By id: the nodes that list it. Each node's list goes on to the batch's last id."""
        wanted = {entry.oid: entry for entry in batch}
        holders: Holders = {oid: set() for oid in wanted}

        async def go_on(node: HoldingNode) -> None:
            async for row in node.rows_through(batch[-1].oid):
                entry = wanted.get(row.object)
                if entry is None:
                    self._unreferenced(row.size_bytes)
                elif row.size_bytes != entry.size_bytes:
                    what = f"has {row.size_bytes} bytes, the namespace says {entry.size_bytes}"
                    self._report.found(Finding(what, _where(entry.oid, node.name)))
                else:
                    holders[row.object].add(node.name)

        async with trio.open_nursery() as nursery:
            for node in self._nodes:
                nursery.start_soon(go_on, node)
        return holders

    async def _count_rest(self) -> None:
        """What nodes hold behind the last object of the namespace."""
        for node in self._nodes:
            async for row in node.rows_through(_LAST_ID):
                self._unreferenced(row.size_bytes)

    def _unreferenced(self, size_bytes: int) -> None:
        self._report.unreferenced_count += 1
        self._report.unreferenced_bytes += size_bytes

    async def _verify(self, view: ReadView, holders: Holders) -> None:
        """Have every copy read; a copy that has gone meanwhile is taken out of holders, to be suspected."""
        todo: dict[str, Iterator[bytes]] = {}
        by_node: dict[str, list[bytes]] = defaultdict(list)
        for oid, names in holders.items():
            for name in names:
                by_node[name].append(oid)
        todo = {name: iter(oids) for name, oids in by_node.items()}

        async def work(node: HoldingNode) -> None:
            for oid in todo[node.name]:
                await self._verify_one(view, node, oid, holders)

        async with trio.open_nursery() as nursery:
            for node in self._nodes:
                for _ in range(_VERIFIED_AT_ONCE if node.name in todo else 0):
                    nursery.start_soon(work, node)

    async def _verify_one(self, view: ReadView, node: HoldingNode, oid: bytes, holders: Holders) -> None:
        outcome = await node.verify(oid)
        if outcome is None or (isinstance(outcome, Refused) and outcome.code is Code.NOT_HELD):
            holders[oid].discard(node.name)
            return
        self._report.verified_count += 1
        self._shown.step("verifying copies", self._report.verified_count)
        if isinstance(outcome, Refused):
            self._report.found(Finding(str(outcome), _where(oid, node.name), files_of(view, oid)))
        elif not outcome.header_ok:
            self._report.found(Finding("its header or block table is damaged", _where(oid, node.name), files_of(view, oid)))
        elif outcome.bad_blocks:
            blocks = ", ".join(map(str, outcome.bad_blocks))
            self._report.found(Finding(f"damaged blocks {blocks}", _where(oid, node.name), files_of(view, oid)))

    async def _look_again(self, view: ReadView, suspects: Sequence[ObjectEntry]) -> None:
        """Report those that a newer snapshot still has and nodes, asked at once, still lack."""
        holders: Holders = {}
        for _ in range(_LOOKS):
            suspects = await self._still_live(suspects)
            if not suspects:
                return
            holders = await self._holders_now([entry.oid for entry in suspects])
            suspects = [entry for entry in suspects if len(holders[entry.oid]) < _copies(entry)]
        for entry in suspects:
            names = ", ".join(sorted(holders[entry.oid])) or "no node that answers"
            what = f"{len(holders[entry.oid])} of {_copies(entry)} copies ({entry.stored_class}), held by {names}"
            self._report.found(Finding(what, _where(entry.oid), files_of(view, entry.oid)))

    async def _still_live(self, suspects: Iterable[ObjectEntry]) -> list[ObjectEntry]:
        """Those that are live in a new snapshot, as they are there."""
        async with open_snapshot(self._leader) as opened:
            found = [await read_object(self._leader, opened.snapshot, entry.oid) for entry in suspects]
        return [entry for entry in found if entry is not None]

    async def _holders_now(self, oids: Sequence[bytes]) -> Holders:
        holders: Holders = {oid: set() for oid in oids}
        for node in self._nodes:
            for oid in await node.held(oids):
                holders[oid].add(node.name)
        return holders


def _batches(entries: Iterator[ObjectEntry]) -> Iterator[list[ObjectEntry]]:
    while batch := list(islice(entries, _BATCH)):
        yield batch


def _copies(entry: ObjectEntry) -> int:
    return parse_class(entry.form).width


def _where(oid: bytes, node: str = "") -> str:
    return f"object {oid.hex()}" + (f" on {node}" if node else "")
