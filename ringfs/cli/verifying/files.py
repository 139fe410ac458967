"""The regular files that paths mean: themselves, or all that is below a directory, in order of name. A page in memory at a time."""

import os
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import PAGE_ENTRIES_MAX
from ringfs.client.file_system import FileSystem
from ringfs.wire.messages.common import Attributes
from ringfs.wire.messages.namespace import DirectoryEntry


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file, by the path that people know it by."""

    path: str
    attributes: Attributes


async def files_at(fs: FileSystem, path: str, number: int) -> AsyncIterator[Found]:
    """The file, or those below the directory, in no particular order but that of the service. Raises Refused STALE."""
    attributes = (await fs.getattr(number)).attributes
    if stat.S_ISREG(attributes.mode):
        yield Found(path, attributes)
        return
    pending = [(path, number)] if stat.S_ISDIR(attributes.mode) else []
    while pending:
        above, directory = pending.pop()
        async for entry in _entries(fs, directory):
            below = os.path.join(above, os.fsdecode(entry.name))
            if stat.S_ISREG(entry.attributes.mode):
                yield Found(below, entry.attributes)
            elif stat.S_ISDIR(entry.attributes.mode):
                pending.append((below, entry.attributes.inode))


async def _entries(fs: FileSystem, directory: int) -> AsyncIterator[DirectoryEntry]:
    """Of a directory that may be removed meanwhile: then there are no more."""
    after, more = 0, True
    while more:
        try:
            page = await fs.readdir(directory, after, PAGE_ENTRIES_MAX)
        except Refused as refused:
            if refused.code is Code.STALE:
                return
            raise
        for entry in page.entries:
            yield entry
            after = entry.cookie
        more = page.more
