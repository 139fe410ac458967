"""The bytes of a file, all of them, read through the client (which verifies every block), as one BLAKE3."""

from collections.abc import Callable
from dataclasses import dataclass

import trio

from ringfs.base.checksums import RunningDigest
from ringfs.base.limits import MIB
from ringfs.client.file_system import FileSystem

_READ_BYTES = 4 * MIB


@dataclass(frozen=True, slots=True)
class Content:
    """What a file's bytes are. is_changing: it was written to while it was read, so they may never have been there together."""

    digest: bytes
    size_bytes: int
    is_changing: bool


async def read_content(fs: FileSystem, number: int, step: Callable[[int], object]) -> Content:
    """Read all of it; step is told of bytes that were read. Raises Refused IO if some cannot be had, STALE, and others."""
    handle = await fs.open(number, writes=False)
    handle.keeps_atime = True
    change = handle.inode.attributes.change
    digest, size_bytes = RunningDigest(), 0
    try:
        while content := await fs.read(handle, size_bytes, _READ_BYTES):
            # Hashing releases the GIL: other files are read meanwhile.
            await trio.to_thread.run_sync(digest.add, content)
            size_bytes += len(content)
            step(len(content))
        is_changing = (await fs.getattr(number)).attributes.change != change
    finally:
        with trio.CancelScope(shield=True):
            await fs.release(handle)
    return Content(digest.digest(), size_bytes, is_changing)
