"""BLAKE3 as ringfs uses it: block hashes, object ids, keyed codes. The only importer of blake3."""

from blake3 import blake3

from ringfs.base.ids import ObjectId
from ringfs.base.limits import BLOCK_BYTES, HASH_BYTES

Buffer = bytes | bytearray | memoryview

#: Domain separation: the id of an object is never the hash of its bytes.
_OBJECT_CONTEXT = "ringfs 2026 object id v1"


def block_hash(block: Buffer) -> bytes:
    """160 bits of BLAKE3 of one block (1 to 65,536 bytes)."""
    return blake3(block).digest(length=HASH_BYTES)


def block_table(content: Buffer) -> bytes:
    """The hashes of content's 64 KiB blocks one after the other: HASH_BYTES for each begun block. Releases the GIL per block."""
    view = memoryview(content)
    return b"".join(block_hash(view[start : start + BLOCK_BYTES]) for start in range(0, len(view), BLOCK_BYTES))


def object_id(size_bytes: int, table: bytes) -> ObjectId:
    """The id that proves an object of that size with that block table."""
    hasher = blake3(derive_key_context=_OBJECT_CONTEXT)
    hasher.update(size_bytes.to_bytes(8, "big"))
    hasher.update(table)
    return ObjectId(hasher.digest(length=HASH_BYTES))


def is_table_of(oid: bytes, size_bytes: int, table: bytes) -> bool:
    """Whether table is the block table that oid proves."""
    blocks = -(-size_bytes // BLOCK_BYTES)
    return len(table) == blocks * HASH_BYTES and object_id(size_bytes, table) == oid


def first_bad_block(table: bytes, first_block: int, content: Buffer) -> int | None:
    """The number of the first block of content (which starts at first_block) that differs from table, or None."""
    view = memoryview(content)
    for index, start in enumerate(range(0, len(view), BLOCK_BYTES), first_block):
        if block_hash(view[start : start + BLOCK_BYTES]) != table[index * HASH_BYTES : (index + 1) * HASH_BYTES]:
            return index
    return None


def keyed_code(key: bytes, *parts: Buffer, length: int = 16) -> bytes:
    """A message authentication code of the parts one after the other; key is 32 bytes."""
    hasher = blake3(key=key)
    for part in parts:
        hasher.update(part)
    return hasher.digest(length=length)


def derived_key(context: str, material: bytes) -> bytes:
    """A 32-byte key for one purpose, from key material (BLAKE3 derive_key)."""
    return blake3(material, derive_key_context=context).digest()


def plain_digest(content: Buffer, length: int = 32) -> bytes:
    """BLAKE3 of content, for records in files and placement."""
    return blake3(content).digest(length=length)


class RunningDigest:
    """BLAKE3 of a stream, piece by piece: plain_digest of the whole."""

    __slots__ = ("_hasher", "add")

    def __init__(self) -> None:
        self._hasher = blake3()
        #: add(content): what comes next.
        self.add = self._hasher.update

    def digest(self, length: int = 32) -> bytes:
        """Of what was added so far."""
        return self._hasher.digest(length=length)


__all__ = [
    "Buffer",
    "RunningDigest",
    "block_hash",
    "block_table",
    "derived_key",
    "first_bad_block",
    "is_table_of",
    "keyed_code",
    "object_id",
    "plain_digest",
]
