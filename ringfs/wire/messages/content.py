"""Operations on ranges of files' contents: space, holes, copies by reference. They travel as those in namespace.py do."""

from ringfs.wire.messages.common import Attributes
from ringfs.wire.schema import I64, U32, U64, Name, message

#: Allocate.mode, as fallocate(2).
KEEP_SIZE = 0x01
PUNCH_HOLE = 0x02
COLLAPSE_RANGE = 0x08
ZERO_RANGE = 0x10
INSERT_RANGE = 0x20


@message(0x0170)
class Allocate:
    """fallocate(2): grow the file, make a hole, take a range out or put a hole in between. Answer: Attributes. privileged: the
    caller may keep suid and sgid (CAP_FSETID)."""

    inode: U64
    mode: U32
    offset: U64
    length: U64
    privileged: bool


@message(0x0171)
class CopyRange:
    """Have the destination's bytes be the source's, by pointing to the same objects. Answer: RangeCopied.

    Ends with the source; may end sooner, at a chunk's beginning, if there are many extents: go on from there.
    Refused NOT_BY_REFERENCE if a chunk of the destination would hold too much. privileged: as in Allocate.
    """

    source: U64
    source_offset: U64
    destination: U64
    destination_offset: U64
    length: U64
    privileged: bool


@message(0x0172)
class RangeCopied:
    """How much was copied (0: the source has no more), how much is left of what was asked for and the source has, and how the
    destination is now."""

    copied_bytes: U64
    left_bytes: U64
    destination: Attributes


@message(0x0173)
class Clone:
    """Make an inode like another one under a name: type, mode, owner, atime, mtime, xattrs, target, and its content by reference.
    A directory begins empty. Answer: Entry. A large file may be copied only up to a chunk's beginning: go on with CopyRange.
    """

    source: U64
    parent: U64
    name: Name


@message(0x0174)
class FindChunk:
    """Question: the first chunk from first_chunk on that has extents. Answer: ChunkFound."""

    inode: U64
    first_chunk: U32


@message(0x0175)
class ChunkFound:
    """`chunk` is -1 if there is none."""

    inode: U64
    chunk: I64


@message(0x0176)
class ReleaseDoomed:
    """The leader lets go of some extents of doomed chunks (session 0). Answer: DoomedReleased."""

    extents_max: U32


@message(0x0177)
class DoomedReleased:
    """Whether there are more."""

    more: bool
