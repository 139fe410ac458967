"""Clones of files and whole trees, which appear at once: built under a hidden name beside the new one, then renamed.

Contents are references to the same objects (ranges.py); names, links among the files of the tree, modes, owners, atime, mtime,
xattrs and ACLs are those of the source. What is changed in the source meanwhile may or may not be in the clone. A clone that was
killed leaves its hidden tree, named after its session: once that has ended, the next clone into the same directory removes it.
"""

import contextlib
import stat
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import trio

from ringfs.base.errors import Code, Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.client.file_system import Changes, FileSystem
from ringfs.wire.messages.common import Attributes
from ringfs.wire.messages.namespace import RENAME_NOREPLACE
from ringfs.wire.messages.queries import DirectoryEntry, DirectoryPage

#: `.ringfs-clone.SESSION.SERIAL`: where a clone is built.
HIDDEN_PREFIX = b".ringfs-clone."
#: Entries that are looked at, and cloned, at once.
_PAGE_ENTRIES = 512
_AT_ONCE = 32
#: How long a clone that failed takes at most to remove what there is of it.
_CLEAN_UP_S = 30.0


@dataclass(slots=True)
class Counts:
    """What was cloned. bytes: of sizes of regular files, each inode once."""

    files: int = 0
    directories: int = 0
    bytes: int = 0

    def note(self, made: Attributes) -> None:
        """One more inode."""
        if stat.S_ISDIR(made.mode):
            self.directories += 1
        else:
            self.files += 1
            self.bytes += made.size_bytes if stat.S_ISREG(made.mode) else 0


@dataclass(slots=True)
class _Directory:
    """One that is being filled: the source, its clone, the cookie to go on after, and subdirectories (source, clone) to come."""

    source: Attributes
    clone: int
    after: int = 0
    more: bool = True
    pending: list[tuple[Attributes, int]] = field(default_factory=list)


class Cloner:
    """Clones on one file system; `step` is called with the counts so far."""

    def __init__(self, fs: FileSystem, step: Callable[[Counts], object] = lambda _counts: None) -> None:
        self._fs = fs
        self._step = step
        self._serial = 0
        self.counts = Counts()
        #: Clones of inodes with several names.
        self._linked: dict[int, int] = {}
        self._at_once = trio.CapacityLimiter(_AT_ONCE)

    async def clone(self, source: int, parent: int, name: bytes) -> None:
        """Clone an inode, with all that is below it, to a new name. Refused EXISTS, INVALID (it would be within the source), and
        what the operations say; then nothing of it is left."""
        await self._refuse_impossible(source, parent, name)
        self._serial += 1
        hidden = b"%s%d.%d" % (HIDDEN_PREFIX, self._fs.link.session, self._serial)
        try:
            await self._build(source, parent, hidden)
            await self._fs.rename(parent, hidden, parent, name, RENAME_NOREPLACE)
        except BaseException:
            with trio.move_on_after(_CLEAN_UP_S, shield=True):
                await self._remove_named(parent, hidden)
            raise

    async def _refuse_impossible(self, source: int, parent: int, name: bytes) -> None:
        """Before anything is built."""
        try:
            await self._fs.lookup(parent, name)
        except Refused as refused:
            if refused.code is not Code.NOT_FOUND:
                raise
        else:
            raise Refused(Code.EXISTS)
        above = parent
        while above != source:
            if above == ROOT_INODE:
                return
            above = (await self._fs.lookup(above, b"..")).number
        raise Refused(Code.INVALID, "a clone within its source")

    # --- building -----------------------------------------------------------------------------------------------------

    async def _build(self, source: int, parent: int, name: bytes) -> None:
        made = await self._clone_one(source, parent, name)
        if not stat.S_ISDIR(made.mode):
            return
        stack = [_Directory((await self._fs.getattr(source)).attributes, made.inode)]
        while stack:
            directory = stack[-1]
            if directory.pending:
                stack.append(_Directory(*directory.pending.pop()))
            elif directory.more:
                await self._fill(directory)
            else:
                # Nothing is made in it any more.
                times = Changes(atime_ns=directory.source.atime_ns, mtime_ns=directory.source.mtime_ns)
                await self._fs.setattr(directory.clone, times)
                stack.pop()

    async def _fill(self, directory: _Directory) -> None:
        """Clone one page of entries; subdirectories are to be filled later."""
        page: DirectoryPage = await self._fs.readdir(directory.source.inode, directory.after, _PAGE_ENTRIES)
        directory.more = page.more
        if page.entries:
            directory.after = page.entries[-1].cookie
        async with trio.open_nursery() as nursery:
            for entry in page.entries:
                if entry.attributes.links > 1 and not stat.S_ISDIR(entry.attributes.mode):
                    await self._clone_linked(entry, directory)
                else:
                    nursery.start_soon(self._clone_entry, entry, directory)
        self._step(self.counts)

    async def _clone_entry(self, entry: DirectoryEntry, directory: _Directory) -> Attributes | None:
        """None: it was removed meanwhile."""
        async with self._at_once:
            try:
                made = await self._clone_one(entry.attributes.inode, directory.clone, entry.name)
            except Refused as refused:
                if refused.code is Code.STALE:
                    return None
                raise
        if stat.S_ISDIR(made.mode):
            directory.pending.append((entry.attributes, made.inode))
        return made

    async def _clone_linked(self, entry: DirectoryEntry, directory: _Directory) -> None:
        """One of several names: the first makes a clone, the others link to it."""
        known = self._linked.get(entry.attributes.inode)
        if known is not None:
            await self._fs.link_to(known, directory.clone, entry.name)
            return
        made = await self._clone_entry(entry, directory)
        if made is not None:
            self._linked[entry.attributes.inode] = made.inode

    async def _clone_one(self, source: int, parent: int, name: bytes) -> Attributes:
        made = (await self._fs.ranges.clone(source, parent, name)).attributes
        self.counts.note(made)
        return made

    # --- removing -----------------------------------------------------------------------------------------------------

    async def remove_leftovers(self, parent: int, sessions: Collection[int]) -> int:
        """Remove what killed clones left in a directory: those of sessions that are not among the living ones. How many it were."""
        count = after = 0
        while True:
            page = await self._fs.readdir(parent, after, _PAGE_ENTRIES)
            for entry in page.entries:
                if _session_of(entry.name) not in (None, *sessions):
                    with contextlib.suppress(Refused):  # another clone removes it too
                        await self._remove(parent, entry.name, entry.attributes)
                        count += 1
            if not page.more:
                return count
            after = page.entries[-1].cookie

    async def _remove_named(self, parent: int, name: bytes) -> None:
        try:
            found = await self._fs.lookup(parent, name)
        except Refused as refused:
            if refused.code is Code.NOT_FOUND:
                return
            raise
        await self._remove(parent, name, found.attributes)

    async def _remove(self, parent: int, name: bytes, attributes: Attributes) -> None:
        """A tree, from the leaves on."""
        if not stat.S_ISDIR(attributes.mode):
            await self._fs.unlink(parent, name)
            return
        stack = [(parent, name, attributes.inode)]
        while stack:
            above, name, number = stack[-1]
            page = await self._fs.readdir(number, 0, _PAGE_ENTRIES)
            if not page.entries:
                await self._fs.rmdir(above, name)
                stack.pop()
                continue
            async with trio.open_nursery() as nursery:
                for entry in page.entries:
                    if not stat.S_ISDIR(entry.attributes.mode):
                        nursery.start_soon(self._unlink, number, entry.name)
            below = next((entry for entry in page.entries if stat.S_ISDIR(entry.attributes.mode)), None)
            if below is not None:
                stack.append((number, below.name, below.attributes.inode))

    async def _unlink(self, parent: int, name: bytes) -> None:
        async with self._at_once:
            await self._fs.unlink(parent, name)


def _session_of(name: bytes) -> int | None:
    """The session that built (or builds) something under a hidden name, or None for other names."""
    session, _, serial = name.removeprefix(HIDDEN_PREFIX).partition(b".")
    return int(session) if name.startswith(HIDDEN_PREFIX) and session.isdigit() and serial.isdigit() else None
