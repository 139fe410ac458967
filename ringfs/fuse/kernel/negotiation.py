"""INIT: what this kernel and the driver agree on. Pure."""

from dataclasses import dataclass

from ringfs.base.errors import UserError
from ringfs.fuse.kernel import wire
from ringfs.fuse.kernel.requests import Request

#: What is wanted of a kernel that offers it. Not among them: WRITEBACK_CACHE (docs/decisions/0003-no-writeback-cache.md);
#: NO_OPEN_SUPPORT, since opens and closes are counted, and closes give locks back.
WANTED = (
    wire.INIT_ASYNC_READ
    # Without these two the kernel keeps locks by itself, for this mount only.
    | wire.INIT_POSIX_LOCKS
    | wire.INIT_FLOCK_LOCKS
    | wire.INIT_ATOMIC_O_TRUNC
    | wire.INIT_EXPORT_SUPPORT
    | wire.INIT_BIG_WRITES
    # A default ACL replaces the umask: the metadata service, which knows it, applies either.
    | wire.INIT_DONT_MASK
    | wire.INIT_DO_READDIRPLUS
    | wire.INIT_PARALLEL_DIROPS
    | wire.INIT_POSIX_ACL
    | wire.INIT_MAX_PAGES
    | wire.INIT_CACHE_SYMLINKS
    # Pages go when we say so, not when a size or a time has moved: writes through other handles of this mount move them too.
    | wire.INIT_EXPLICIT_INVAL_DATA
    # A write asks for no xattr first; and truncates say, as writes do, whether suid and sgid go.
    | wire.INIT_HANDLE_KILLPRIV_V2
    | wire.INIT_SETXATTR_EXT
    | wire.INIT_INIT_EXT
    # Files that others write are opened past the page cache; shared maps of them go on working (6.6).
    | wire.INIT_DIRECT_IO_ALLOW_MMAP
)
#: From this protocol on, one notification makes the kernel ask again for every name (Linux 6.16).
_EPOCH_MINOR = 44


@dataclass(frozen=True, slots=True)
class Agreement:
    """What came of it."""

    minor: int
    flags: int
    max_readahead_bytes: int

    @property
    def has_extended_setxattr(self) -> bool:
        """SETXATTR has the longer structure."""
        return bool(self.flags & wire.INIT_SETXATTR_EXT)

    @property
    def tells_killed_privileges(self) -> bool:
        """Requests say whether they take suid and sgid away."""
        return bool(self.flags & wire.INIT_HANDLE_KILLPRIV_V2)

    @property
    def can_expire_names(self) -> bool:
        """Names can be taken back all at once."""
        return self.minor >= _EPOCH_MINOR


def negotiate(request: Request) -> Agreement | None:
    """The agreement. Raises UserError for a kernel that is too old.

    None: it is newer than the whole protocol, and asks again once it was told ours.
    """
    if len(request.body) < wire.INIT_IN_OLD_BYTES:
        raise UserError("the kernel's FUSE is too old: Linux 5.4 is needed, and 6.1 recommended")
    major, minor, max_readahead, flags, more = wire.INIT_IN.unpack(
        request.body[: wire.INIT_IN.size].ljust(wire.INIT_IN.size, b"\0")
    )
    if major > wire.MAJOR:
        return None
    if major < wire.MAJOR or minor < wire.MINOR_MIN:
        raise UserError(f"the kernel speaks FUSE {major}.{minor}: {wire.MAJOR}.{wire.MINOR_MIN} is needed (Linux 5.4)")
    offered = flags | more << 32 if flags & wire.INIT_INIT_EXT else flags
    return Agreement(min(minor, wire.MINOR_MAX), offered & WANTED, max_readahead)


def reply_to(request: Request, agreement: Agreement | None) -> bytes:
    """The answer to INIT."""
    if agreement is None:
        return wire.pack_init(request.unique, wire.MINOR_MAX, 0, 0, wire.InitLimits())
    return wire.pack_init(request.unique, agreement.minor, agreement.max_readahead_bytes, agreement.flags, wire.InitLimits())
