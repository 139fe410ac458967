"""Who may write to an open file, and what that takes away: flags of chattr(1), suid, sgid, capabilities.

What does not depend on a handle is decided in transactions (meta/namespace/protection.py).
"""

from collections.abc import Awaitable, Callable

from ringfs.base.errors import Code, Refused
from ringfs.client.coherence import Coherence
from ringfs.client.inodes import Inode, InodeTable
from ringfs.meta.namespace.xattrs import CAPABILITY
from ringfs.wire.messages.common import Attributes
from ringfs.wire.messages.files import FLAG_APPEND, FLAG_IMMUTABLE, SetFlags
from ringfs.wire.messages.namespace import KILL_PRIVILEGES, Setattr


class Protection:
    """See the module. has_xattr: whether an inode has an extended attribute; fsync: commit what is dirty of it."""

    def __init__(
        self,
        coherence: Coherence,
        inodes: InodeTable,
        has_xattr: Callable[[int, bytes], Awaitable[bool]],
        fsync: Callable[[Inode], Awaitable[None]],
    ) -> None:
        self._coherence = coherence
        self._inodes = inodes
        self._has_xattr = has_xattr
        self._fsync = fsync

    async def set_flags(self, inode: Inode, flags: int, *, is_privileged: bool) -> Inode:
        """chattr(1), after what was written before. flags: FLAG_…"""
        await self._fsync(inode)
        attributes, _ = await self._coherence.change(SetFlags(inode.number, flags, is_privileged))
        return self._inodes.absorb(attributes, 0, own=True)

    async def kill_privileges(self, inode: Inode, *, keeps_suid: bool) -> None:
        """A write takes file capabilities away, and without CAP_FSETID suid, and sgid of a group-executable file. keeps_suid: the
        caller has it."""
        mode, xattr_count = inode.attributes.mode, inode.attributes.xattr_count
        has_suid = bool(mode & 0o4000 or (mode & 0o2000 and mode & 0o010))
        if (has_suid and not keeps_suid) or (xattr_count and await self._has_xattr(inode.number, CAPABILITY)):
            # As a truncate that changes no size does it: root's leaves suid.
            operation = Setattr(inode.number, KILL_PRIVILEGES, 0, 0, 0, 0, 0, 0, 0, keeps_suid)
            attributes, _ = await self._coherence.change(operation)
            self._inodes.absorb(attributes, 0, own=True)
            inode.xattrs.clear()


def refuse_opening(attributes: Attributes, *, writes: bool, appends: bool) -> None:
    """Refused NOT_PERMITTED if a file's flags forbid to open it so (may_open)."""
    if writes and (attributes.flags & FLAG_IMMUTABLE or (attributes.flags & FLAG_APPEND and not appends)):
        raise Refused(Code.NOT_PERMITTED, f"inode {attributes.inode} is immutable or append-only")


def refuse_writing(attributes: Attributes) -> None:
    """Refused NOT_PERMITTED if a file has become immutable since it was opened (ext4_write_checks)."""
    if attributes.flags & FLAG_IMMUTABLE:
        raise Refused(Code.NOT_PERMITTED, f"inode {attributes.inode} is immutable")


def refuse_times(attributes: Attributes) -> None:
    """Refused NOT_PERMITTED if given times (others than now) cannot be set (setattr_prepare)."""
    if attributes.flags & (FLAG_IMMUTABLE | FLAG_APPEND):
        raise Refused(Code.NOT_PERMITTED, f"inode {attributes.inode} is immutable or append-only")
