"""Where the bytes of an inode are: its extents, the objects they point to, the nodes that hold those. A batch at a time."""

import os
import stat
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from ringfs.base.errors import Code, Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.base.limits import CHUNK_BYTES, PAGE_ENTRIES_MAX
from ringfs.cli.checking.nodes import HoldingNode
from ringfs.cli.checking.placement import Holding, judge
from ringfs.cli.checking.snapshot import ObjectEntry, open_snapshot, read_object
from ringfs.cli.session import Session
from ringfs.ring.classes import parse_class
from ringfs.wire.messages.common import Attributes
from ringfs.wire.messages.namespace import HOLE, INLINE, Entry
from ringfs.wire.messages.queries import Extents, GetAttributes, Lookup, ReadExtents
from ringfs.wire.messages.session import Opened
from ringfs.wire.rpc import RpcClient

#: Chunks that are asked for at once, where few extents are in each.
_CHUNKS = 64


@dataclass(frozen=True, slots=True)
class Piece:
    """An extent as info shows it. kind: object, inline or hole; the rest is of objects: the entry is None if it just died."""

    offset: int
    length: int
    kind: str
    oid: str = ""
    object_offset: int = 0
    entry: ObjectEntry | None = None
    held: tuple[Holding, ...] = ()

    @property
    def nodes(self) -> tuple[str, ...]:
        """Who holds some of it."""
        return tuple(dict.fromkeys(each.node.name for each in self.held))

    @property
    def missing_parts(self) -> int:
        """Copies or fragments that its form asks for and no node that was asked holds, or not on domains of their own."""
        if self.entry is None:
            return 0
        verdict = judge(parse_class(self.entry.form), self.held)
        return verdict.form.width - verdict.spread


async def find_inode(session: Session, path: str) -> int:
    """The number of the inode at a path below the root. Raises Refused NOT_FOUND, NOT_DIRECTORY."""
    number: int = ROOT_INODE
    for name in PurePosixPath("/", path).parts[1:]:
        entry: Entry = await session.ask(Lookup(number, os.fsencode(name)))
        if entry.attributes is None:
            raise Refused(Code.NOT_FOUND, path)
        number = entry.attributes.inode
    return number


async def read_attributes(session: Session, number: int) -> Attributes:
    """Raises Refused STALE."""
    opened: Opened = await session.ask(GetAttributes(number))
    return opened.attributes


async def read_extents(session: Session, attributes: Attributes) -> AsyncIterator[Extents]:
    """The extents of a regular file in batches, in order."""
    if not stat.S_ISREG(attributes.mode):
        return
    end = -(-attributes.size_bytes // CHUNK_BYTES)
    first, count = 0, _CHUNKS
    while first < end:
        try:
            answer: Extents = await session.ask(ReadExtents(attributes.inode, first, min(count, end - first)))
        except Refused as refused:
            if refused.code is not Code.RANGE or count == 1:
                raise
            count //= 2
            continue
        first += min(count, end - first)
        yield answer


class Locator:
    """Asks the metadata service and the nodes."""

    def __init__(self, session: Session, nodes: Sequence[HoldingNode]) -> None:
        self._session = session
        self._nodes = nodes

    async def pieces(self, attributes: Attributes) -> AsyncIterator[list[Piece]]:
        """The extents of a regular file in batches, in order, with what holds them."""
        async for answer in read_extents(self._session, attributes):
            yield await self._located(answer)

    async def _located(self, answer: Extents) -> list[Piece]:
        """The extents of an answer with what holds them."""
        oids = list(dict.fromkeys(extent.source for extent in answer.extents if extent.object_offset >= 0))
        entries = await _entries(self._session.leader, oids)
        holders = await self._holders(oids)
        pieces = []
        for extent in answer.extents:
            if extent.object_offset >= 0:
                oid = extent.source
                place = (oid.hex(), extent.object_offset, entries[oid], tuple(holders[oid]))
                pieces.append(Piece(extent.offset, extent.length, "object", *place))
            else:
                assert extent.object_offset in (INLINE, HOLE)
                pieces.append(Piece(extent.offset, extent.length, "inline" if extent.object_offset == INLINE else "hole"))
        return pieces

    async def _holders(self, oids: Sequence[bytes]) -> dict[bytes, list[Holding]]:
        holders: dict[bytes, list[Holding]] = {oid: [] for oid in oids}
        for node in self._nodes:
            for start in range(0, len(oids), PAGE_ENTRIES_MAX):
                for oid, part in await node.held(oids[start : start + PAGE_ENTRIES_MAX]):
                    holders[oid].append(Holding(node.node, part))
        return holders


async def _entries(leader: RpcClient, oids: Sequence[bytes]) -> dict[bytes, ObjectEntry | None]:
    """What the namespace knows of objects, from a snapshot taken now: an object that has died since is None."""
    if not oids:
        return {}
    async with open_snapshot(leader) as opened:
        return {oid: await read_object(leader, opened.snapshot, oid) for oid in oids}
