"""The driver over libfuse: pyfuse3's requests to operations.py and back. The only importer of pyfuse3.

What it cannot do, because pyfuse3 has no handler for it: locks across mounts, fallocate, SEEK_HOLE and SEEK_DATA,
copy_file_range, syncfs, tmpfile, statx's birth time, ioctl; nor can names be taken back all at once, so that the kernel believes
them for entry_timeout_s (docs/posix.md).
"""

import errno
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

import pyfuse3
import trio

from ringfs.base.ids import ROOT_INODE
from ringfs.client.coherence import KernelCache
from ringfs.client.file_system import Caller, Changes
from ringfs.client.inodes import Inode
from ringfs.fuse.at_once import Caching, Timeouts
from ringfs.fuse.entry import KernelEntry
from ringfs.fuse.errno_map import errno_of
from ringfs.fuse.operations import Operations
from ringfs.wire.messages.common import Attributes

#: Requests answered at once; each has libfuse's 1 MiB buffer.
_TASKS_MAX = 40
#: Threads that tell the kernel to drop what it caches.
_INVALIDATING_THREADS = 4
#: How long an invalidation is waited for: a page that is being read may wait for another mount, which may wait for us.
_WAIT_S = 2.0
#: Blocks that statfs counts in, and what stat says is good to read at once.
_FRAGMENT_BYTES = 4096
_PREFERRED_BYTES = 1 << 20
_T = TypeVar("_T")


def _entry_attributes(entry: KernelEntry) -> pyfuse3.EntryAttributes:
    told = _attributes(entry.attributes)
    told.entry_timeout = entry.entry_timeout_s
    told.attr_timeout = entry.attr_timeout_s
    return told


def _attributes(known: Attributes) -> pyfuse3.EntryAttributes:
    told = pyfuse3.EntryAttributes()
    told.st_ino = pyfuse3.InodeT(known.inode)
    told.st_mode = pyfuse3.ModeT(known.mode)
    told.st_nlink = known.links
    told.st_uid = known.uid
    told.st_gid = known.gid
    told.st_rdev = known.rdev
    told.st_size = known.size_bytes
    told.st_blksize = _PREFERRED_BYTES
    told.st_blocks = -(-known.stored_bytes // 512)
    told.st_atime_ns = known.atime_ns
    told.st_mtime_ns = known.mtime_ns
    told.st_ctime_ns = known.ctime_ns
    return told


def _file_info(handle: int, caching: Caching) -> pyfuse3.FileInfo:
    return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(handle), keep_cache=caching is Caching.KEEP, direct_io=caching is Caching.PASS)


def _caller(ctx: pyfuse3.RequestContext) -> Caller:
    return Caller(ctx.uid, ctx.gid, ctx.umask)


async def _answered(operation: Awaitable[_T], name: str) -> _T:
    try:
        return await operation
    except Exception as error:
        raise pyfuse3.FUSEError(errno_of(error, name)) from error


class Pyfuse3Operations(pyfuse3.Operations):
    """pyfuse3's interface; every method is a translation."""

    supports_dot_lookup = True
    enable_writeback_cache = False
    enable_acl = True

    def __init__(self, operations: Operations, kernel: "Pyfuse3KernelCache") -> None:
        super().__init__()
        self._operations = operations
        self._kernel = kernel

    def _check_pages(self, handle: int) -> None:
        if self._operations.is_page_unsure(handle) or self._operations.is_beside_pages(handle):
            number = self._operations.inode_of(handle)
            self._kernel.drop_soon([number], [number])

    async def lookup(self, parent_inode, name, ctx):  # type: ignore[no-untyped-def]
        return _entry_attributes(await _answered(self._operations.lookup(parent_inode, name), "lookup"))

    async def forget(self, inode_list: Sequence[tuple[pyfuse3.InodeT, int]]) -> None:
        """What the kernel forgets needs no bookkeeping: unlinked inodes live as long as they are open."""

    async def getattr(self, inode, ctx):  # type: ignore[no-untyped-def]
        return _entry_attributes(await _answered(self._operations.getattr(inode), "getattr"))

    async def setattr(self, inode, attr, fields, fh, ctx):  # type: ignore[no-untyped-def]
        changes = Changes(
            mode=attr.st_mode & 0o7777 if fields.update_mode else None,
            uid=attr.st_uid if fields.update_uid else None,
            gid=attr.st_gid if fields.update_gid else None,
            size_bytes=attr.st_size if fields.update_size else None,
            atime_ns=attr.st_atime_ns if fields.update_atime else None,
            mtime_ns=attr.st_mtime_ns if fields.update_mtime else None,
            ctime_ns=attr.st_ctime_ns if fields.update_ctime else None,
            privileged=ctx.uid == 0,
        )
        return _entry_attributes(await _answered(self._operations.setattr(inode, changes), "setattr"))

    async def readlink(self, inode, ctx):  # type: ignore[no-untyped-def]
        return await _answered(self._operations.readlink(inode), "readlink")

    async def mknod(self, parent_inode, name, mode, rdev, ctx):  # type: ignore[no-untyped-def]
        made = self._operations.mknod(parent_inode, name, mode, rdev, _caller(ctx))
        return _entry_attributes(await _answered(made, "mknod"))

    async def mkdir(self, parent_inode, name, mode, ctx):  # type: ignore[no-untyped-def]
        return _entry_attributes(await _answered(self._operations.mkdir(parent_inode, name, mode, _caller(ctx)), "mkdir"))

    async def unlink(self, parent_inode, name, ctx):  # type: ignore[no-untyped-def]
        await _answered(self._operations.unlink(parent_inode, name), "unlink")

    async def rmdir(self, parent_inode, name, ctx):  # type: ignore[no-untyped-def]
        await _answered(self._operations.rmdir(parent_inode, name), "rmdir")

    async def symlink(self, parent_inode, name, target, ctx):  # type: ignore[no-untyped-def]
        return _entry_attributes(await _answered(self._operations.symlink(parent_inode, name, target, _caller(ctx)), "symlink"))

    async def rename(self, parent_inode_old, name_old, parent_inode_new, name_new, flags, ctx):  # type: ignore[no-untyped-def]
        renamed = self._operations.rename(parent_inode_old, name_old, parent_inode_new, name_new, flags)
        await _answered(renamed, "rename")

    async def link(self, inode, new_parent_inode, new_name, ctx):  # type: ignore[no-untyped-def]
        return _entry_attributes(await _answered(self._operations.link(inode, new_parent_inode, new_name), "link"))

    async def create(self, parent_inode, name, mode, flags, ctx):  # type: ignore[no-untyped-def]
        created = self._operations.create(parent_inode, name, mode, flags, _caller(ctx), kills_privileges=ctx.uid != 0)
        handle, entry, caching = await _answered(created, "create")
        return _file_info(handle, caching), _entry_attributes(entry)

    async def open(self, inode, flags, ctx):  # type: ignore[no-untyped-def]
        return _file_info(*await _answered(self._operations.open(inode, flags, kills_privileges=ctx.uid != 0), "open"))

    async def read(self, fh, off, size):  # type: ignore[no-untyped-def]
        found = await _answered(self._operations.read(fh, off, size), "read")
        self._check_pages(fh)
        return found

    async def write(self, fh, off, buf):  # type: ignore[no-untyped-def]
        # Whether it is of a map is not told here; if it is, dropping its page now would wait for this answer.
        written = await _answered(self._operations.write(fh, off, buf, is_of_pages=True), "write")
        self._check_pages(fh)
        return written

    async def flush(self, fh):  # type: ignore[no-untyped-def]
        await _answered(self._operations.flush(fh), "flush")

    async def fsync(self, fh, datasync):  # type: ignore[no-untyped-def]
        await _answered(self._operations.fsync(fh), "fsync")

    async def release(self, fh):  # type: ignore[no-untyped-def]
        await _answered(self._operations.release(fh), "release")

    async def opendir(self, inode, ctx):  # type: ignore[no-untyped-def]
        return pyfuse3.FileHandleT(await _answered(self._operations.directories.opendir(inode), "opendir"))

    async def readdir(self, fh, start_id, token):  # type: ignore[no-untyped-def]
        begun = -1
        while begun != start_id:
            begun = start_id
            for name, entry, cookie in await _answered(self._operations.directories.readdir(fh, start_id), "readdir"):
                if not pyfuse3.readdir_reply(token, name, _entry_attributes(entry), cookie):
                    return
                start_id = cookie

    async def releasedir(self, fh):  # type: ignore[no-untyped-def]
        await _answered(self._operations.directories.releasedir(fh), "releasedir")

    async def fsyncdir(self, fh, datasync):  # type: ignore[no-untyped-def]
        await _answered(self._operations.directories.fsyncdir(self._operations.directories.directory_of(fh)), "fsyncdir")

    async def statfs(self, ctx):  # type: ignore[no-untyped-def]
        figures = await _answered(self._operations.statfs(ROOT_INODE), "statfs")
        told = pyfuse3.StatvfsData()
        told.f_bsize = told.f_frsize = _FRAGMENT_BYTES
        told.f_blocks = figures.total_bytes // _FRAGMENT_BYTES
        told.f_bfree = told.f_bavail = figures.free_bytes // _FRAGMENT_BYTES
        told.f_ffree = told.f_favail = max(0, figures.inode_max - figures.inode_count) if figures.inode_max else 1 << 40
        told.f_files = figures.inode_count + told.f_ffree
        told.f_namemax = 255
        return told

    async def getxattr(self, inode, name, ctx):  # type: ignore[no-untyped-def]
        return await _answered(self._operations.getxattr(inode, name), "getxattr")

    async def listxattr(self, inode, ctx):  # type: ignore[no-untyped-def]
        return await _answered(self._operations.listxattr(inode, _caller(ctx)), "listxattr")

    async def setxattr(self, inode, name, value, ctx):  # type: ignore[no-untyped-def]
        await _answered(self._operations.setxattr(inode, name, value, 0), "setxattr")

    async def removexattr(self, inode, name, ctx):  # type: ignore[no-untyped-def]
        await _answered(self._operations.removexattr(inode, name), "removexattr")

    async def access(self, inode, mode, ctx):  # type: ignore[no-untyped-def]
        """default_permissions: the kernel has decided."""
        return True


class Pyfuse3KernelCache(KernelCache):
    """Notifications to the kernel; each may block in it, so each runs in a thread."""

    def __init__(self) -> None:
        self._threads = trio.CapacityLimiter(_INVALIDATING_THREADS)
        self.nursery: trio.Nursery | None = None

    async def flush(self, inode: Inode) -> None:
        """See KernelCache: invalidating an inode's pages writes the changed ones to us first."""
        await self.drop([inode.number], [inode.number], names=False)

    async def drop(self, numbers: Sequence[int], pages: Sequence[int], *, names: bool) -> None:
        """See KernelCache."""
        with trio.move_on_after(_WAIT_S):
            call = partial(_invalidate, list(numbers), list(pages))
            await trio.to_thread.run_sync(call, limiter=self._threads, abandon_on_cancel=True)

    def drop_soon(self, numbers: Sequence[int], pages: Sequence[int] = (), *, names: bool = False) -> None:
        """See KernelCache."""
        if self.nursery is not None and (numbers or pages):
            self.nursery.start_soon(partial(self.drop, numbers, pages, names=names))


def _invalidate(numbers: Sequence[int], pages: Sequence[int]) -> None:
    """In a thread."""
    for number, attr_only in [*((number, True) for number in numbers), *((number, False) for number in pages)]:
        try:
            pyfuse3.invalidate_inode(pyfuse3.InodeT(number), attr_only)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTCONN, errno.EBADF):
                raise


class Pyfuse3Driver:
    """Implements drivers.Driver."""

    def __init__(self) -> None:
        self.kernel = Pyfuse3KernelCache()

    async def serve(self, operations: Operations, point: str, timeouts: Timeouts, *, mounted: Callable[[], object]) -> None:
        """Mount, answer until unmounted from outside, clean up."""
        operations.set_timeouts(timeouts)
        options = set(pyfuse3.default_options) | {"fsname=ringfs", "subtype=ringfs", "default_permissions", "allow_other"}
        pyfuse3.init(Pyfuse3Operations(operations, self.kernel), point, options)
        try:
            async with trio.open_nursery() as nursery:
                self.kernel.nursery = nursery
                mounted()
                await pyfuse3.main(max_tasks=_TASKS_MAX)
                self.kernel.nursery = None
                nursery.cancel_scope.cancel()
        finally:
            pyfuse3.close(unmount=True)

    def stop_serving(self) -> None:
        """Have serve return although somebody still uses the (detached) mount: what they do from now on fails."""
        pyfuse3.terminate()
