"""Ranges of files: space and holes (fallocate), where data is (SEEK_DATA, SEEK_HOLE), copies by reference, clones.

What each does to a file is a transaction's business; here is what it means for bytes that are dirty. Whoever calls has committed
those of all files involved before. From then on no new ones are committed until the transaction has been answered, so that none
which were written before it come after it; those written meanwhile do.
"""

import heapq
import os
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import CHUNK_BYTES, FILE_BYTES_MAX
from ringfs.client.coherence import Coherence
from ringfs.client.inodes import Inode
from ringfs.client.writer import Writer
from ringfs.meta.namespace.xattrs import CAPABILITY
from ringfs.wire.messages.common import Attributes
from ringfs.wire.messages.content import (
    COLLAPSE_RANGE,
    INSERT_RANGE,
    KEEP_SIZE,
    PUNCH_HOLE,
    ZERO_RANGE,
    Allocate,
    ChunkFound,
    Clone,
    CopyRange,
    FindChunk,
    RangeCopied,
)
from ringfs.wire.messages.namespace import SET_ATIME, SET_MTIME, Setattr

if TYPE_CHECKING:
    from ringfs.client.file_system import FileSystem, Handle

#: What is copied at once where references will not do.
_BYTES_AT_ONCE = 1 << 20


@asynccontextmanager
async def nothing_on_its_way(writer: Writer, inode: Inode) -> AsyncIterator[None]:
    """A time in which nothing dirty of a file is on its way or begins to be: for one transaction on its content after the other."""
    while inode.truncating:
        await inode.progress.park()
    inode.truncating = True
    try:
        await writer.wait_flights(inode)
        yield
    finally:
        inode.truncating = False
        inode.progress.unpark_all()


class Ranges:
    """See the module. What is raised is Refused, as the operations of the namespace say (meta/namespace/ops/)."""

    def __init__(self, fs: "FileSystem", coherence: Coherence) -> None:
        self._fs = fs
        self._coherence = coherence

    # --- space and holes ----------------------------------------------------------------------------------------------

    async def allocate(self, handle: "Handle", mode: int, offset: int, length: int, *, privileged: bool = False) -> None:
        """fallocate(2). Nothing is reserved, but what is asked for must be free now: else Refused NO_SPACE. privileged: the caller
        may keep suid and sgid (CAP_FSETID)."""
        inode = handle.inode
        await self._fs.fsync(handle)
        if not mode & ~KEEP_SIZE:
            await self._look_for_space(min(length, offset + length - inode.attributes.stored_bytes))
        async with nothing_on_its_way(self._fs.writer, inode):
            attributes: Attributes
            attributes, _ = await self._coherence.change(Allocate(inode.number, mode, offset, length, privileged))
            if mode & (COLLAPSE_RANGE | INSERT_RANGE):
                inode.extents.clear()
            elif mode & (PUNCH_HOLE | ZERO_RANGE):
                inode.extents.cut(offset, offset + length)
                inode.extents.change = attributes.change
            self._content_changed(attributes)

    async def _look_for_space(self, needed_bytes: int) -> None:
        figures = await self._fs.statfs()
        # A total of 0: nobody knows, for too few nodes are up.
        if figures.total_bytes and needed_bytes > figures.free_bytes:
            raise Refused(Code.NO_SPACE)

    def _content_changed(self, attributes: Attributes) -> None:
        """A transaction of ours went through: capabilities may have gone with it."""
        self._fs.inodes.absorb(attributes, 0, own=True).xattrs.clear()

    # --- copies -------------------------------------------------------------------------------------------------------

    async def copy(
        self,
        source: "Handle",
        source_offset: int,
        destination: "Handle",
        destination_offset: int,
        length: int,
        *,
        privileged: bool = False,
    ) -> int:
        """copy_file_range(2): as a rule by reference; how many bytes, 0 at the source's end. privileged: as in allocate."""
        await self._fs.fsync(source)
        await self._fs.fsync(destination)
        try:
            wanted = CopyRange(source.inode.number, source_offset, destination.inode.number, destination_offset, length, privileged)
            return await self._copy(destination.inode, wanted)
        except Refused as refused:
            if refused.code is not Code.NOT_BY_REFERENCE:
                raise
        edges = (_edge_after(at) - at for at in (source_offset, destination_offset))
        data = await self._fs.read(source, source_offset, min(length, _BYTES_AT_ONCE, *edges))
        return await self._fs.write(destination, destination_offset, bytes(data), kills_privileges=not privileged)

    async def _copy(self, destination: Inode, wanted: CopyRange) -> int:
        """By reference; fewer bytes only at the source's end or after a refusal. When it is refused, nothing was copied."""
        copied_bytes = 0
        async with nothing_on_its_way(self._fs.writer, destination):
            while wanted.length:
                try:
                    answer: RangeCopied
                    answer, _ = await self._coherence.change(wanted)
                except Refused:
                    if copied_bytes:
                        break
                    raise
                copied_bytes += answer.copied_bytes
                at, to = wanted.source_offset + answer.copied_bytes, wanted.destination_offset + answer.copied_bytes
                wanted = replace(wanted, source_offset=at, destination_offset=to, length=answer.left_bytes)
                destination.extents.clear()
                self._content_changed(answer.destination)
        return copied_bytes

    async def clone(self, source: int, parent: int, name: bytes) -> Inode:
        """Make an inode like another one, its content by reference; a directory is empty. A file with very many extents takes
        several transactions: after a failure in between, part of it is there."""
        known = self._fs.inodes.get(source)
        if known is not None:
            await self._fs.fsync_inode(known)
        entry, epoch = await self._coherence.change(Clone(source, parent, name))
        made = self._fs.names.made(parent, name, entry, epoch)
        attributes: Attributes = entry.attributes
        size_bytes = attributes.size_bytes
        # It ends with the file, or, at the beginning of a chunk, with what one transaction may copy.
        if size_bytes and size_bytes % CHUNK_BYTES == 0 and stat.S_ISREG(attributes.mode):
            await self._copy(made, CopyRange(source, size_bytes, made.number, size_bytes, FILE_BYTES_MAX - size_bytes, True))
            await self._give_back(source, attributes)
        return made

    async def _give_back(self, source: int, before: Attributes) -> None:
        """Set times, and capabilities, of a clone to what they were before it was written: the source's."""
        operation = Setattr(before.inode, SET_ATIME | SET_MTIME, 0, 0, 0, 0, before.atime_ns, before.mtime_ns, 0, True)
        attributes, _ = await self._coherence.change(operation)
        self._content_changed(attributes)
        if attributes.xattr_count < before.xattr_count:
            await self._fs.setxattr(before.inode, CAPABILITY, await self._fs.getxattr(source, CAPABILITY))

    # --- where data is ------------------------------------------------------------------------------------------------

    async def seek(self, handle: "Handle", offset: int, whence: int) -> int:
        """SEEK_DATA, SEEK_HOLE of lseek(2), exact: data is what is stored or dirty, be it zeros; the end of the file is a hole.

        Refused NO_DATA at or after the end, and for data after the last.
        """
        if whence not in (os.SEEK_DATA, os.SEEK_HOLE):
            raise Refused(Code.INVALID, "whence of lseek")
        inode = handle.inode
        if offset < FILE_BYTES_MAX and not self._fs.link.holds(inode.lease_epoch):
            await self._coherence.refresh(inode, offset, 1)
        if offset >= inode.merged().size_bytes:
            raise Refused(Code.NO_DATA)
        return await (self._next_data(inode, offset) if whence == os.SEEK_DATA else self._next_hole(inode, offset))

    async def _next_data(self, inode: Inode, at: int) -> int:
        while True:
            await self._fs.reader.load(inode, at, at + 1)
            edge = min(_edge_after(at), inode.merged().size_bytes)
            found = next(_data(inode, at, edge), None)
            if found is not None:
                return max(found[0], at)
            at = await self._next_candidate(inode, edge)

    async def _next_candidate(self, inode: Inode, at: int) -> int:
        """Where data may be next, from the beginning of a chunk (or the end of the file) on. Refused NO_DATA if there is none."""
        while at < inode.merged().size_bytes:
            if inode.extents.all_loaded:
                piece = next(inode.extents.pieces(at, FILE_BYTES_MAX), None)
                stored = FILE_BYTES_MAX if piece is None else piece.start
            elif inode.extents.is_loaded(at // CHUNK_BYTES):
                return at
            else:
                change = inode.attributes.change
                found: ChunkFound
                found, _ = await self._coherence.ask(FindChunk(inode.number, at // CHUNK_BYTES))
                if inode.attributes.change != change:
                    # What was dirty may have been committed after the answer was made.
                    continue
                stored = found.chunk * CHUNK_BYTES if found.chunk >= 0 else FILE_BYTES_MAX
            dirty = (offset for offset, _ in inode.dirty.overlay(at, FILE_BYTES_MAX))
            at = min(stored, min(dirty, default=FILE_BYTES_MAX))
            if at < inode.merged().size_bytes:
                return at
        raise Refused(Code.NO_DATA)

    async def _next_hole(self, inode: Inode, at: int) -> int:
        while True:
            await self._fs.reader.load(inode, at, at + 1)
            edge = min(_edge_after(at), inode.merged().size_bytes)
            for start, stop in _data(inode, at, edge):
                if start > at:
                    return at
                at = max(at, stop)
            if at < edge or edge >= inode.merged().size_bytes:
                return min(at, edge)


def _edge_after(offset: int) -> int:
    """The end of a chunk."""
    return offset - offset % CHUNK_BYTES + CHUNK_BYTES


def _data(inode: Inode, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of what is stored or dirty, in order of start; the extents must be loaded. Not to be used over an await."""
    dirty = sorted((at, at + len(part)) for at, part in inode.dirty.overlay(start, stop))
    return heapq.merge(((piece.start, piece.stop) for piece in inode.extents.pieces(start, stop)), dirty)
