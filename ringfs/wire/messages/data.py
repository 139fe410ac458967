"""The conversation with a data node: objects in whole 64 KiB blocks. Bulk bytes travel as the frame's payload."""

from typing import Annotated

from ringfs.base.limits import BLOCK_BYTES, HASH_BYTES, OBJECT_BYTES_MAX, PAGE_ENTRIES_MAX
from ringfs.wire.schema import I64, U16, U32, U64, Between, Hash, Sized, Text, message

_BLOCKS_MAX = OBJECT_BYTES_MAX // BLOCK_BYTES
ObjectSize = Annotated[int, Between(1, OBJECT_BYTES_MAX)]
Table = Annotated[bytes, Sized(0, _BLOCKS_MAX * HASH_BYTES)]


@message(0x0401)
class Put:
    """Store an object; payload: its bytes. Durable when answered. Answer: PutDone. Refused CORRUPT, DISK_FULL, DISK_FAILED.

    Putting an id that is already held renews its birth.
    """

    object: Hash
    size_bytes: ObjectSize
    table: Table


@message(0x0402)
class PutDone:
    """`fresh` is false if the node held it already."""

    fresh: bool


@message(0x0403)
class Get:
    """Blocks first_block … first_block+block_count-1 (clamped to the object's end). Answer: Blocks, payload: their bytes, verified
    by the node against its table, and to be verified again by the client. Refused NOT_HELD, CORRUPT, DISK_FAILED."""

    object: Hash
    first_block: U16
    block_count: U16
    want_table: bool


@message(0x0404)
class Blocks:
    """The object's size, and its block table if it was wanted (else empty)."""

    size_bytes: ObjectSize
    table: Table


@message(0x0405)
class Have:
    """Which of these does the node hold? Answer: Held."""

    objects: Annotated[list[Hash], Sized(0, PAGE_ENTRIES_MAX)]


@message(0x0406)
class Held:
    """The ones it holds, in the order asked."""

    objects: Annotated[list[Hash], Sized(0, PAGE_ENTRIES_MAX)]


@message(0x0407)
class ListObjects:
    """Objects after an id (b"" for the beginning), in order of id. Answer: ObjectPage."""

    after: Annotated[bytes, Sized(0, HASH_BYTES)]
    limit: U16


@message(0x0408)
class ObjectRow:
    """One held object; birth_ns is the node's wall clock when it was last put."""

    object: Hash
    size_bytes: U32
    birth_ns: I64


@message(0x0409)
class ObjectPage:
    """`more` is false on the last page."""

    objects: Annotated[list[ObjectRow], Sized(0, PAGE_ENTRIES_MAX)]
    more: bool


@message(0x040A)
class Verify:
    """Read a whole object from disk and check it. Answer: Verified. Refused NOT_HELD, DISK_FAILED."""

    object: Hash


@message(0x040B)
class Verified:
    """The numbers of bad blocks; header_ok is false if table or header do not match the id."""

    header_ok: bool
    bad_blocks: Annotated[list[U16], Sized(0, _BLOCKS_MAX)]


@message(0x040C)
class Delete:
    """Delete an object unless its birth is newer than verdict_ns. Answer: Deleted."""

    object: Hash
    verdict_ns: I64


@message(0x040D)
class Deleted:
    """`deleted` is false if it was not held or was newer."""

    deleted: bool


@message(0x040E)
class GetStoreStatus:
    """Answer: StoreStatus."""


@message(0x040F)
class StoreStatus:
    """A data node about itself."""

    node: U16
    uuid: Text
    cluster: Text
    used_bytes: U64
    free_bytes: U64
    object_count: U64
    segment_count: U32
    trouble: Text
