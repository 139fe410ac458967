"""What Rewrite.before is: a digest of extents, as those who ask for a rewrite and those who do it have to agree on."""

from collections.abc import Iterable, Sequence
from typing import Any

from ringfs.base.checksums import plain_digest
from ringfs.base.limits import HASH_BYTES
from ringfs.wire.packing import pack


def digest(pieces: Iterable[Sequence[Any]]) -> bytes:
    """What pieces point to or hold, in 160 bits: to see whether others are the same.

    A piece is [offset in the file, length, object, offset in it], or [offset in the file, inline bytes]."""
    return plain_digest(pack(list(pieces)), HASH_BYTES)
