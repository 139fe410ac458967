"""Open directories: handles, the page each was last read from, and where a listing goes on. The part of operations.py for them."""

import bisect
import itertools
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from ringfs.client.file_system import FileSystem
from ringfs.client.inodes import ABSENT, Inode
from ringfs.fuse.entry import KernelEntry
from ringfs.wire.messages.queries import DirectoryEntry

#: Cookies of "." and ".."; those of entries are greater.
_DOT, _DOT_DOT = 1, 2
_PAGE_ENTRIES = 512

LookingUp = Callable[[int], Callable[[Inode], KernelEntry]]


@dataclass(slots=True)
class DirectoryHandle:
    """An open directory, and the page it was last read from."""

    number: int
    entries: list[DirectoryEntry] = field(default_factory=list)
    #: Cookie after which entries begin, and whether more follow them.
    after: int = 0
    more: bool = True


def _cookie(entry: DirectoryEntry) -> int:
    return entry.cookie


class Directories:
    """See the module. getattr: an inode as the kernel is told of it; looking_up: of a directory, what makes the same of
    an inode that is known to have a name in it."""

    def __init__(self, fs: FileSystem, getattr: Callable[[int], Awaitable[KernelEntry]], looking_up: LookingUp) -> None:
        self._fs = fs
        self._getattr = getattr
        self._looking_up = looking_up
        self._open: dict[int, DirectoryHandle] = {}
        self._next_handle = 1

    async def opendir(self, number: int) -> int:
        """OPENDIR."""
        handle = self._next_handle
        self._next_handle += 1
        self._open[handle] = DirectoryHandle(number)
        return handle

    async def readdir(self, handle: int, after: int) -> Iterator[tuple[bytes, KernelEntry, int]]:
        """READDIR(PLUS): (name, entry, cookie to go on after) from a cookie on, at most a page; nothing at the end. To be used up
        before anything else happens."""
        opened = self._open[handle]
        if after < _DOT_DOT:
            known = self._fs.inodes.get(opened.number)
            if known is not None:
                self._fs.access_times.note(known)
            rest = await self._page(opened, _DOT_DOT)
            return itertools.chain(await self._dots(opened, after), rest)
        return await self._page(opened, after)

    async def _page(self, opened: DirectoryHandle, after: int) -> Iterator[tuple[bytes, KernelEntry, int]]:
        if after == _DOT_DOT or after < opened.after or (opened.entries and after > opened.entries[-1].cookie):
            opened.entries, opened.more = [], True
        while True:
            told = self._listed(opened, bisect.bisect_right(opened.entries, after, key=_cookie))
            first = next(told, None)
            if first is not None:
                return itertools.chain([first], told)
            if not opened.more:
                return iter(())
            # Nothing of the page is left: an empty answer would be the end of the directory.
            after = max(after, opened.entries[-1].cookie) if opened.entries else after
            page = await self._fs.readdir(opened.number, after, _PAGE_ENTRIES)
            opened.entries, opened.more, opened.after = page.entries, page.more, after

    async def _dots(self, opened: DirectoryHandle, after: int) -> Iterator[tuple[bytes, KernelEntry, int]]:
        own = await self._getattr(opened.number)
        return ((name, own, cookie) for name, cookie in ((b".", _DOT), (b"..", _DOT_DOT)) if cookie > after)

    def _listed(self, opened: DirectoryHandle, start: int) -> Iterator[tuple[bytes, KernelEntry, int]]:
        """The entries of a page from one on, as they are now, without those that have been removed since the page was read."""
        inodes = self._fs.inodes
        directory = inodes.leased(opened.number)
        names, otherwise = inodes.known_names(directory) if directory is not None else ({}, None)
        looked_up = self._looking_up(opened.number)
        for entry in itertools.islice(opened.entries, start, None):
            number = names.get(entry.name, otherwise)
            if number == ABSENT:
                continue
            inode = inodes.get(number or entry.attributes.inode)
            if inode is None or number is None:
                yield entry.name, KernelEntry(inode.merged() if inode is not None else entry.attributes, 0.0, 0.0), entry.cookie
            else:
                yield entry.name, looked_up(inode), entry.cookie

    async def releasedir(self, handle: int) -> None:
        """RELEASEDIR."""
        del self._open[handle]

    async def fsyncdir(self, number: int) -> None:
        """FSYNCDIR: what was answered ahead is durable."""
        await self._fs.fsync_directory(number)

    def directory_of(self, handle: int) -> int:
        """The number of the directory that a handle is of."""
        return self._open[handle].number
