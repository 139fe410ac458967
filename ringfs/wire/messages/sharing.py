"""Operations on files that several clients write at once, where nobody's lease says how the file is. They travel as those in
namespace.py do."""

from typing import Annotated

from ringfs.base.limits import COMMIT_FILES_MAX
from ringfs.wire.messages.common import Attributes, Lease
from ringfs.wire.messages.namespace import Extent, NewObject
from ringfs.wire.schema import U64, Hash, Sized, message


@message(0x016B)
class Append:
    """Put extents, whose offsets count from 0, behind the end of the file as the transaction finds it. Answer: Appended.

    objects: as in Commit, with its refusals. Refused INLINE_FULL if the chunk would have more inline bytes than it should: move
    those that are there into an object (Rewrite), or bring an object. privileged: the caller may keep suid and sgid (CAP_FSETID).
    """

    inode: U64
    objects: Annotated[list[NewObject], Sized(0, COMMIT_FILES_MAX)]
    extents: Annotated[list[Extent], Sized(1, 65536)]
    privileged: bool


@message(0x016C)
class Appended:
    """The file afterwards, and where what was appended begins. leased: the attributes may be cached."""

    attributes: Attributes
    offset: U64
    leased: Lease


@message(0x016D)
class Rewrite:
    """The same bytes in another place, as FileCommit.rewrite, if the extents that were read are still what is there, whatever else
    has changed. Answer: Attributes. Refused CHANGED.

    before: wire/pieces.py, digest, of what the extents take the place of. Stewards ask for it without a session.
    """

    inode: U64
    objects: Annotated[list[NewObject], Sized(0, COMMIT_FILES_MAX)]
    extents: Annotated[list[Extent], Sized(1, 65536)]
    before: Hash
