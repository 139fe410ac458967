"""The part of Operations under it: the kernel's bookkeeping, and which requests can be answered without waiting, for any driver.

A method `…_now` answers as that of Operations would, or says that this takes waiting, with nothing done. A refusal is an answer.
How long the kernel may believe what it is told: operations.py.
"""

import os
import stat
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import trio

from ringfs.client.file_system import Caller, FileSystem, Handle
from ringfs.client.inodes import Inode
from ringfs.fuse.entry import KernelEntry
from ringfs.wire.messages.namespace import Rmdir, Unlink


class Caching(Enum):
    """What the kernel does with the pages of a file that it opens."""

    #: Those that it has are right.
    KEEP = "keep"
    #: Those that it has may be wrong, new ones may be kept.
    DROP = "drop"
    #: Others write the file: none are to be used.
    PASS = "pass"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long the kernel may believe a name, and attributes, under a lease: for ever if the driver can take them back."""

    entry_s: float
    attr_s: float


@dataclass(slots=True)
class OpenFile:
    """A handle, and whether what is read through it gets into the kernel's page cache."""

    handle: Handle
    is_cached: bool


class AtOnce:
    """See the module."""

    def __init__(self, fs: FileSystem, timeouts: Timeouts) -> None:
        self.fs = fs
        self._timeouts = timeouts
        self._handles: dict[int, OpenFile] = {}
        self._next_handle = 1
        #: Handles that read through the kernel's page cache, by inode number.
        self._cached_counts: Counter[int] = Counter()
        #: By inode number: a write past the page cache that is not finished yet (Operations._write_beside).
        self._settling: dict[int, trio.Event] = {}

    def set_timeouts(self, timeouts: Timeouts) -> None:
        """Once the driver knows what this kernel can take back."""
        self._timeouts = timeouts

    def _entry(self, parent: int, inode: Inode) -> KernelEntry:
        """Tell the kernel what a name stands for."""
        entry_timeout_s = self.name_timeout_s(parent)
        return KernelEntry(inode.merged(), entry_timeout_s, self._attr_timeout_s(inode))

    def name_timeout_s(self, parent: int) -> float:
        """How long the kernel may believe what a name in that directory stands for, or that there is none."""
        return self._timeouts.entry_s if self.fs.inodes.leased(parent) is not None else 0.0

    def _attr_timeout_s(self, inode: Inode) -> float:
        is_sure = self.fs.link.holds(inode.lease_epoch) and _is_settled(inode)
        return self._timeouts.attr_s if is_sure else 0.0

    def lookup_now(self, parent: int, name: bytes) -> tuple[KernelEntry | None, bool]:
        """LOOKUP, as far as that takes no waiting: the entry, if there is one, and whether that can be told."""
        inode, is_known = self.fs.names.look_up_known(parent, name)
        if inode is None:
            return None, is_known
        if inode.number in self._settling:
            return None, False
        return self.looking_up(parent)(inode), True

    def looking_up(self, parent: int) -> Callable[[Inode], KernelEntry]:
        """What tells the kernel of inodes that have names in a directory; to be used before anything else happens: what holds for
        all of them is found out once.

        Attributes of a file that is being written are not to be believed: before Linux 6.15 the kernel may take over the answer
        after it has written the file, closed it, and forgotten it."""
        link = self.fs.link
        entry_timeout_s, attr_timeout_s = self.name_timeout_s(parent), self._timeouts.attr_s
        epoch = link.lease_epoch if link.holds(link.lease_epoch) else None

        def looked_up(inode: Inode) -> KernelEntry:
            told = inode.merged()
            is_settled = told is inode.attributes or _is_settled(inode)
            is_sure = is_settled and inode.lease_epoch == epoch and not inode.write_count
            return KernelEntry(told, entry_timeout_s, attr_timeout_s if is_sure else 0.0)

        return looked_up

    def getattr_now(self, number: int) -> KernelEntry | None:
        """GETATTR, STATX: None if that takes waiting."""
        inode = self.fs.inodes.leased(number)
        if inode is None or number in self._settling:
            return None
        return KernelEntry(inode.merged(), 0.0, self._timeouts.attr_s if _is_settled(inode) else 0.0)

    def mkdir_now(self, parent: int, name: bytes, mode: int, caller: Caller) -> KernelEntry | None:
        """MKDIR, if that takes no waiting."""
        made = self.fs.names.mkdir_now(parent, name, mode, caller)
        return None if made is None else self._entry(parent, made)

    def unlink_now(self, parent: int, name: bytes) -> bool:
        """UNLINK, if that takes no waiting; else False."""
        return self.fs.names.remove_now(Unlink(parent, name))

    def rmdir_now(self, parent: int, name: bytes) -> bool:
        """RMDIR, if that takes no waiting; else False."""
        return self.fs.names.remove_now(Rmdir(parent, name))

    def _keep(self, handle: Handle, *, is_cached: bool) -> int:
        number = self._next_handle
        self._next_handle += 1
        self._handles[number] = OpenFile(handle, is_cached)
        self._cached_counts[handle.inode.number] += is_cached
        return number

    def create_now(
        self, parent: int, name: bytes, mode: int, flags: int, caller: Caller
    ) -> tuple[int, KernelEntry, Caching] | None:
        """CREATE, if that takes no waiting."""
        if flags & os.O_TRUNC and self.fs.names.look_up_known(parent, name) != (None, True):
            return None
        writes, exclusive = flags & os.O_ACCMODE != os.O_RDONLY, bool(flags & os.O_EXCL)
        handle = self.fs.create_now(parent, name, stat.S_IFREG | mode, caller, writes=writes, exclusive=exclusive)
        if handle is None:
            return None
        number, caching = self._opened(handle, flags)
        return number, self._entry(parent, handle.inode), caching

    def _opened(self, handle: Handle, flags: int) -> tuple[int, Caching]:
        inode = handle.inode
        # Where an append goes is decided here: through its cache the kernel would see it where it thought that the end was.
        if flags & os.O_APPEND or not self.fs.link.holds(inode.lease_epoch):
            return self._keep(handle, is_cached=False), Caching.PASS
        caching = Caching.KEEP if inode.content_version == inode.kernel_version else Caching.DROP
        inode.kernel_version = inode.content_version
        return self._keep(handle, is_cached=True), caching

    def flush_now(self, handle: int) -> bool:
        """FLUSH, if that takes no waiting; else False."""
        opened = self._handles[handle].handle
        if opened.inode.dirty or self.fs.locks.knows_any(opened.inode):
            return False
        self.fs.check_errors(opened)
        return True

    def release_now(self, handle: int) -> bool:
        """RELEASE, if that takes no waiting; else False."""
        is_released = self.fs.release_now(self._handles[handle].handle)
        if is_released:
            self._let_go(handle)
        return is_released

    def _let_go(self, handle: int) -> Handle:
        opened = self._handles.pop(handle)
        number = opened.handle.inode.number
        self._cached_counts[number] -= opened.is_cached
        if not self._cached_counts[number]:
            del self._cached_counts[number]
        return opened.handle


def _is_settled(inode: Inode) -> bool:
    """Whether its attributes stay as they are told, while it is leased."""
    return not (inode.dirty or inode.times) or inode.stays_as_merged
