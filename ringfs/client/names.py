"""Names and what they stand for: lookups that leases answer, the transactions that change names, listings.

Not here: what a change means (meta/namespace/), when it is answered ahead (coherence.py, delegations.py), open files
(file_system.py).
"""

from dataclasses import dataclass, replace
from stat import S_ISDIR

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import NAME_BYTES_MAX, PAGE_ENTRIES_MAX
from ringfs.client.coherence import Coherence
from ringfs.client.inodes import ABSENT, Inode, InodeTable
from ringfs.client.removed import RecentlyRemoved
from ringfs.wire.messages import namespace as ns
from ringfs.wire.messages import queries
from ringfs.wire.messages.common import NOT_LEASED, Attributes


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf something is made."""

    uid: int = 0
    gid: int = 0
    umask: int = 0


class Names:
    """See the module. Every method raises Refused for what POSIX calls an error."""

    def __init__(self, inodes: InodeTable, removed: RecentlyRemoved, coherence: Coherence) -> None:
        self.inodes = inodes
        self.removed = removed
        self._coherence = coherence
        self._ask = coherence.ask

    async def lookup(self, parent: int, name: bytes) -> Inode:
        """The inode that name stands for. Refused NOT_FOUND, NOT_DIRECTORY, STALE, NAME_TOO_LONG."""
        if len(name) > NAME_BYTES_MAX:
            raise Refused(Code.NAME_TOO_LONG)
        if name == b".":
            # Of any inode, not only of directories: so the kernel asks for what a file handle says (open_by_handle_at).
            return await self.getattr(parent)
        known = self.inodes.get(parent)
        if known is not None and known.is_removed_directory:
            raise Refused(Code.NOT_FOUND)
        found, is_known = self.look_up_known(parent, name)
        if found is not None:
            return found
        if is_known:
            raise Refused(Code.NOT_FOUND)
        entry, epoch = await self._ask(queries.Lookup(parent, name))
        directory = self.inodes.absorb(entry.parent, epoch, own=False, leased=entry.parent_leased)
        current = directory.attributes.change == entry.parent.change
        if entry.attributes is None:
            if current:
                self.inodes.set_name(directory, name, ABSENT)
            raise Refused(Code.NOT_FOUND)
        child = self.inodes.absorb(entry.attributes, epoch, own=False, leased=entry.leased)
        if current and name != b"..":
            self.inodes.set_name(directory, name, child.number)
        return child

    def look_up_known(self, parent: int, name: bytes) -> tuple[Inode | None, bool]:
        """What leases say of a name: the inode, if there is one, and whether that can be told."""
        if name in (b".", b"..") or len(name) > NAME_BYTES_MAX:
            return None, False
        directory = self.inodes.leased(parent)
        if directory is None:
            return None, False
        number = self.inodes.find_name(directory, name)
        if not number:
            return None, number == ABSENT
        child = self.inodes.leased(number)
        return child, child is not None

    async def getattr(self, number: int) -> Inode:
        """The inode with attributes that are right now. Refused STALE."""
        inode = self.inodes.leased(number)
        if inode is not None:
            return inode
        inode = self.inodes.get(number)
        if inode is not None and inode.is_removed_directory:
            return inode
        try:
            opened, epoch = await self._ask(queries.GetAttributes(number))
        except Refused as refused:
            if self.has_vanished(refused, number):
                return await self.getattr(number)
            raise
        return self.inodes.absorb(opened.attributes, epoch, own=False, leased=opened.leased)

    def has_vanished(self, refused: Refused, number: int) -> bool:
        """Whether it was refused because another client removed a directory; then that is known from now on."""
        inode = self.inodes.get(number)
        if refused.code is not Code.STALE or inode is None or not S_ISDIR(inode.attributes.mode):
            return False
        inode.attributes = replace(inode.attributes, links=0)
        self.inodes.forget_cached(inode)
        return True

    def made(self, parent: int, name: bytes, entry: ns.Entry, epoch: int) -> Inode:
        """Take over what a transaction made under a name."""
        assert entry.attributes is not None
        directory = self.inodes.absorb(entry.parent, epoch, own=True, leased=entry.parent_leased)
        child = self.inodes.absorb(entry.attributes, epoch, own=True, leased=entry.leased)
        self._now_names(directory, entry.parent, name, child.number)
        return child

    def _renamed(self, parent: Attributes, name: bytes, number: int) -> None:
        """A transaction, which left the directory with those attributes, made name stand for number, or ABSENT."""
        self._now_names(self.inodes.absorb(parent, 0, own=True), parent, name, number)

    def _now_names(self, directory: Inode, parent: Attributes, name: bytes, number: int) -> None:
        if directory.attributes.change == parent.change:
            self.inodes.set_name(directory, name, number)
        else:
            # Another one of ours, which came after it, was answered first: it may have been about the same name.
            self.inodes.forget_name(directory, name)

    async def mknod(self, parent: int, name: bytes, mode: int, rdev: int, caller: Caller) -> Inode:
        """Make a file that is not opened."""
        operation = ns.Mknod(parent, name, mode, rdev, caller.uid, caller.gid, caller.umask, 0, True)
        entry, epoch = await self._coherence.change(operation)
        return self.made(parent, name, entry, epoch)

    async def mkdir(self, parent: int, name: bytes, mode: int, caller: Caller) -> Inode:
        """Make a directory."""
        operation = ns.Mkdir(parent, name, mode, caller.uid, caller.gid, caller.umask)
        return self._made_directory(operation, *await self._coherence.change(operation))

    def mkdir_now(self, parent: int, name: bytes, mode: int, caller: Caller) -> Inode | None:
        """The same, if that takes no waiting."""
        operation = ns.Mkdir(parent, name, mode, caller.uid, caller.gid, caller.umask)
        done = self._coherence.change_now(operation)
        return None if done is None else self._made_directory(operation, *done)

    def _made_directory(self, operation: ns.Mkdir, entry: ns.Entry, epoch: int) -> Inode:
        made = self.made(operation.parent, operation.name, entry, epoch)
        made.complete = made.attributes == entry.attributes
        return made

    async def symlink(self, parent: int, name: bytes, target: bytes, caller: Caller) -> Inode:
        """Make a symbolic link."""
        entry, epoch = await self._coherence.change(ns.Symlink(parent, name, target, caller.uid, caller.gid))
        made = self.made(parent, name, entry, epoch)
        made.target = target
        return made

    async def link_to(self, number: int, parent: int, name: bytes) -> Inode:
        """Give an inode another name."""
        entry, epoch = await self._coherence.change(ns.Link(number, parent, name))
        return self.made(parent, name, entry, epoch)

    async def unlink(self, parent: int, name: bytes) -> Inode | None:
        """Remove the name of something that is no directory. The inode, if it is still open here."""
        return await self._remove(ns.Unlink(parent, name))

    async def rmdir(self, parent: int, name: bytes) -> Inode | None:
        """Remove an empty directory."""
        return await self._remove(ns.Rmdir(parent, name))

    def remove_now(self, operation: ns.Unlink | ns.Rmdir) -> bool:
        """Do what unlink and rmdir do, if that takes no waiting; else False."""
        done = self._coherence.change_now(operation)
        if done is not None:
            self._removed(operation, done[0])
        return done is not None

    async def _remove(self, operation: ns.Unlink | ns.Rmdir) -> Inode | None:
        removed, _ = await self._coherence.change(operation)
        return self._removed(operation, removed)

    def _removed(self, operation: ns.Unlink | ns.Rmdir, removed: ns.Removed) -> Inode | None:
        self._renamed(removed.parent, operation.name, ABSENT)
        return self._gone(removed.removed)

    def _gone(self, attributes: Attributes) -> Inode | None:
        """A name of it was removed; if that was the last one and nobody has it open here, forget it, unless bytes of it are dirty:
        somebody else may have it open. (If nobody has, their commit is refused, and that is the end of them.)"""
        inode = self.inodes.get(attributes.inode)
        if inode is None:
            return None
        if attributes.change >= inode.attributes.change:
            inode.attributes = attributes
        if inode.is_removed_directory:
            # It may be open, or somebody's working directory: it stays what it is, empty and without a name.
            self.inodes.forget_cached(inode)
        elif attributes.links == 0 and inode.open_count == 0:
            self.removed.add(inode)
            return None
        return inode

    async def rename(self, parent: int, name: bytes, new_parent: int, new_name: bytes, flags: int) -> None:
        """renameat2(2)."""
        renamed, _ = await self._coherence.change(ns.Rename(parent, name, new_parent, new_name, flags))
        self.inodes.absorb(renamed.moved, 0, own=True)
        if renamed.other is not None and renamed.other.inode == renamed.moved.inode:
            # Both names stand for one inode, and go on doing so.
            return
        exchanged = renamed.other is not None and flags & ns.RENAME_EXCHANGE
        if renamed.other is not None and exchanged:
            self.inodes.absorb(renamed.other, 0, own=True)
        self._renamed(renamed.parent, name, renamed.other.inode if renamed.other is not None and exchanged else ABSENT)
        if flags & ns.RENAME_WHITEOUT:
            self.inodes.forget_name(self.inodes.absorb(renamed.parent, 0, own=True), name)
        self._renamed(renamed.new_parent, new_name, renamed.moved.inode)
        if renamed.other is not None and not exchanged:
            self._gone(renamed.other)

    async def readlink(self, number: int) -> bytes:
        """The target of a symbolic link."""
        inode = self.inodes.get(number)
        if inode is not None and inode.target is not None:
            return inode.target
        answer, _ = await self._ask(queries.ReadLink(number))
        if inode is not None:
            inode.target = answer.target
        target: bytes = answer.target
        return target

    async def readdir(self, number: int, after: int, limit: int) -> queries.DirectoryPage:
        """Entries after a cookie, with attributes; what is dirty here is not merged in: ask inodes.get(…).merged()."""
        known = self.inodes.get(number)
        is_empty = known is not None and known.attributes.size_bytes == 0 and self.inodes.leased(number) is not None
        if known is not None and (known.is_removed_directory or (is_empty and S_ISDIR(known.attributes.mode))):
            return queries.DirectoryPage(known.attributes, [], False, NOT_LEASED)
        page: queries.DirectoryPage
        page, epoch = await self._ask(queries.ReadDirectory(number, after, min(limit, PAGE_ENTRIES_MAX)))
        directory = self.inodes.absorb(page.directory, epoch, own=False, leased=page.leased)
        current = directory.attributes.change == page.directory.change
        for entry in page.entries:
            self.inodes.absorb(entry.attributes, epoch, own=False, leased=entry.leased)
            if current:
                self.inodes.set_name(directory, entry.name, entry.attributes.inode)
        return page
