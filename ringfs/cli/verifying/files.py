"""What paths mean: regular files, and directories with all below them. A page in memory at a time."""

import os
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import PAGE_ENTRIES_MAX
from ringfs.client.file_system import FileSystem
from ringfs.wire.messages.common import Attributes
from ringfs.wire.messages.queries import DirectoryEntry


@dataclass(frozen=True, slots=True)
class Found:
    """A file or directory, by the path that people know it by."""

    path: str
    attributes: Attributes


async def files_at(fs: FileSystem, path: str, number: int) -> AsyncIterator[Found]:
    """The file, or those below the directory, in no particular order but that of the service. Raises Refused STALE."""
    async for found in tree_at(fs, path, number):
        if stat.S_ISREG(found.attributes.mode):
            yield found


async def tree_at(fs: FileSystem, path: str, number: int) -> AsyncIterator[Found]:
    """The file; or the directory and all files and directories below it, each after the one it is in. Raises Refused STALE."""
    pending: list[Found] = []
    here = Found(path, (await fs.getattr(number)).attributes)
    if stat.S_ISREG(here.attributes.mode) or stat.S_ISDIR(here.attributes.mode):
        yield here
        pending = [here] if stat.S_ISDIR(here.attributes.mode) else []
    while pending:
        above = pending.pop()
        async for entry in _entries(fs, above.attributes.inode):
            below = Found(os.path.join(above.path, os.fsdecode(entry.name)), entry.attributes)
            if stat.S_ISREG(entry.attributes.mode):
                yield below
            elif stat.S_ISDIR(entry.attributes.mode):
                yield below
                pending.append(below)


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
