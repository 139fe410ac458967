"""Files without a name, the flags of chattr(1), access times. Transactions, as those of messages/namespace.py."""

from typing import Annotated

from ringfs.base.limits import ACCESSES_MAX
from ringfs.wire.schema import I64, U8, U32, U64, Sized, message


@message(0x0185)
class Tmpfile:
    """Make a regular file without a name, as Mknod would in that directory, open for the session: open_mode OPEN_READ, OPEN_WRITE.
    It ends when the session has closed it, unless Link gave it a name; is_linkable false: no Link may. Answer: Entry."""

    parent: U64
    mode: U32
    uid: U32
    gid: U32
    umask: U32
    open_mode: U8
    is_linkable: bool


#: Attributes.flags, as FS_IOC_GETFLAGS has them: immutable, append-only, not for dump(8), atime stays. FLAGS: all there are.
FLAG_IMMUTABLE = 0x10
FLAG_APPEND = 0x20
FLAG_NODUMP = 0x40
FLAG_NOATIME = 0x80
FLAGS = FLAG_IMMUTABLE | FLAG_APPEND | FLAG_NODUMP | FLAG_NOATIME


@message(0x0186)
class SetFlags:
    """Set exactly these flags of a file or directory. is_privileged: the caller has CAP_LINUX_IMMUTABLE. Answer: Attributes."""

    inode: U64
    flags: U32
    is_privileged: bool


@message(0x0187)
class NoteAccesses:
    """These inodes were read then, by the client's clock: their atime moves forward to it, and nothing else. Answer: Done."""

    inodes: Annotated[list[U64], Sized(0, ACCESSES_MAX)]
    atimes_ns: Annotated[list[I64], Sized(0, ACCESSES_MAX)]
