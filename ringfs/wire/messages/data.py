"""The conversation with a data node: parts of objects in whole 64 KiB blocks. Bulk bytes travel as the frame's payload.

A part is a whole copy or a fragment; on the wire three bytes (data fragments, parity fragments, number), all 0 for a copy. Which
bytes a fragment has, and what can be made of it, is ring/parts.py's business.
"""

from typing import Annotated

from ringfs.base.limits import BLOCK_BYTES, HASH_BYTES, OBJECT_BYTES_MAX, PAGE_ENTRIES_MAX
from ringfs.wire.schema import I64, U16, U32, U64, Between, Hash, Sized, Text, message

_BLOCKS_MAX = OBJECT_BYTES_MAX // BLOCK_BYTES
ObjectSize = Annotated[int, Between(1, OBJECT_BYTES_MAX)]
Table = Annotated[bytes, Sized(0, _BLOCKS_MAX * HASH_BYTES)]
PART_BYTES = 3
WirePart = Annotated[bytes, Sized(PART_BYTES, PART_BYTES)]
#: The part that is the whole object.
WHOLE = bytes(PART_BYTES)
HELD_PARTS_MAX = 4 * PAGE_ENTRIES_MAX


@message(0x0401)
class Put:
    """Store a part of an object; payload: its bytes. Durable when answered. Answer: PutDone. Refused CORRUPT, DISK_FULL,
    DISK_FAILED.

    size_bytes and table are the whole object's; own_table has the hashes of a parity fragment's blocks, and is empty for other
    parts. Putting a part that is already held renews its birth.
    """

    object: Hash
    size_bytes: ObjectSize
    table: Table
    part: WirePart = WHOLE
    own_table: Table = b""


@message(0x0402)
class PutDone:
    """`fresh` is false if the node held it already."""

    fresh: bool


@message(0x0403)
class Get:
    """Blocks first_block … first_block+block_count-1. Answer: Blocks, payload: their bytes, verified by the node against its
    table, and to be verified again by whoever asked. Refused NOT_HELD, CORRUPT, DISK_FAILED, INVALID (no such block).

    With a part: of that part, blocks counting from its own beginning, clamped to its end. With no part (empty): blocks of the
    object, clamped to its end, from a copy or from a data fragment that has them all; a node that holds other fragments only
    answers with one of those as `part`, and no bytes.
    """

    object: Hash
    first_block: U16
    block_count: U16
    want_table: bool
    part: Annotated[bytes, Sized(0, PART_BYTES)] = b""


@message(0x0404)
class Blocks:
    """The object's size, the part that the bytes are from, and if they were wanted (else empty) the object's block table and that
    of a parity fragment."""

    size_bytes: ObjectSize
    table: Table
    part: WirePart = WHOLE
    own_table: Table = b""


@message(0x0410)
class HeldPart:
    """A part of an object that a node holds."""

    object: Hash
    part: WirePart


@message(0x0405)
class Have:
    """Which of these does the node hold? Answer: Held. Refused INVALID if it holds more parts of them than fit in an answer."""

    objects: Annotated[list[Hash], Sized(0, PAGE_ENTRIES_MAX)]


@message(0x0406)
class Held:
    """Every part of them that it holds, in the order asked."""

    parts: Annotated[list[HeldPart], Sized(0, HELD_PARTS_MAX)]


@message(0x0407)
class ListObjects:
    """Parts after an id and part (b"" for the beginning; an id alone: after all its parts), in order. Answer: ObjectPage."""

    after: Annotated[bytes, Sized(0, HASH_BYTES + PART_BYTES)]
    limit: U16


@message(0x0408)
class ObjectRow:
    """One held part; size_bytes is the whole object's, birth_ns the node's wall clock when the part was last put."""

    object: Hash
    size_bytes: U32
    birth_ns: I64
    part: WirePart = WHOLE


@message(0x0409)
class ObjectPage:
    """`more` is false on the last page."""

    objects: Annotated[list[ObjectRow], Sized(0, PAGE_ENTRIES_MAX)]
    more: bool


@message(0x040A)
class Verify:
    """Read a whole part from disk and check it. Answer: Verified. Refused NOT_HELD, DISK_FAILED."""

    object: Hash
    part: WirePart = WHOLE


@message(0x040B)
class Verified:
    """The numbers of bad blocks, in the part; header_ok is false if table or header do not match the id."""

    header_ok: bool
    bad_blocks: Annotated[list[U16], Sized(0, _BLOCKS_MAX)]


@message(0x040C)
class Delete:
    """Delete all parts of an object whose births are not newer than verdict_ns. Answer: Deleted."""

    object: Hash
    verdict_ns: I64


@message(0x040D)
class Deleted:
    """`deleted` is false if none was held, or all were newer."""

    deleted: bool


@message(0x0411)
class SurplusPart:
    """A part that is not needed where it is, and its birth when that was found."""

    object: Hash
    part: WirePart
    birth_ns: I64


@message(0x0412)
class Drop:
    """Drop parts that are held elsewhere as they should be, unless they were put again since. Answer: Dropped."""

    parts: Annotated[list[SurplusPart], Sized(0, PAGE_ENTRIES_MAX)]


@message(0x0413)
class Dropped:
    """How many of them are gone now."""

    count: U32


@message(0x040E)
class GetStoreStatus:
    """Answer: StoreStatus."""


@message(0x040F)
class StoreStatus:
    """A data node about itself. object_count counts parts; bad_part_count those that reads found wrong and that wait to be mended;
    clients_silent_ms is since a client last put or got anything."""

    node: U16
    uuid: Text
    cluster: Text
    used_bytes: U64
    free_bytes: U64
    object_count: U64
    segment_count: U32
    trouble: Text
    bad_part_count: U32 = 0
    clients_silent_ms: U64 = 0
