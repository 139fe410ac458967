"""The mount process: a client, the driver, the kernel's tunables, signals. `ringfs mount` runs it in the foreground."""

import contextlib
import ctypes
import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

import structlog
import trio

from ringfs.base.config import ClusterConfig
from ringfs.base.memory import keep_freed_pages
from ringfs.client.opening import open_file_system
from ringfs.fuse.operations import Operations
from ringfs.fuse.pyfuse3_driver import Pyfuse3KernelCache, serve

log = structlog.get_logger("ringfs.fuse")

_libc = ctypes.CDLL(None, use_errno=True)
_MNT_DETACH = 2
#: What the kernel reads ahead of a stream: whole requests of 1 MiB, several at once.
_READ_AHEAD_KIB = 4096
#: Freed memory that is kept for the next buffers: what one burst of writes needs.
_KEPT_BYTES = 64 << 20


async def run_mount(
    config: ClusterConfig, mount_point: Path, *, options: tuple[str, ...] = (), started: Callable[[], None] | None = None
) -> None:
    """Mount the cluster at mount_point until it is unmounted or SIGTERM or SIGINT comes; then flush everything and return.

    mount_point and the configuration's path are absolute. Raises Refused or OSError if not everything was flushed.
    `options` is for drivers; none is known today.
    """
    assert not options, "options are checked by the command line"
    keep_freed_pages(_KEPT_BYTES)
    kernel = Pyfuse3KernelCache()
    path = str(mount_point)
    async with open_file_system(config, purpose=f"mount {path}", kernel=kernel) as fs:
        operations = Operations(
            fs,
            str(config.path),
            entry_timeout_s=config.mount.entry_timeout_s,
            attr_timeout_s=config.mount.attr_timeout_s,
        )

        async with trio.open_nursery() as nursery:

            def mounted() -> None:
                nursery.start_soon(trio.to_thread.run_sync, tune_kernel, path)
                log.info("mounted", mount_point=path, session=fs.link.session)
                if started is not None:
                    started()

            nursery.start_soon(_unmount_on_signal, path)
            await serve(operations, path, mounted=mounted, kernel=kernel)
            nursery.cancel_scope.cancel()
        log.info("unmounted; flushing", mount_point=path, dirty_bytes=fs.writer.dirty_bytes)
    log.info("flushed", mount_point=path)


async def _unmount_on_signal(path: str) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            log.info("unmounting", mount_point=path, signal=signal.Signals(number).name)
            await trio.to_thread.run_sync(unmount, path)
            return


def unmount(path: str) -> None:
    """Unmount; if it is in use, write out what the kernel has dirty and detach it. For a thread: the kernel asks us meanwhile."""
    if _libc.umount2(os.fsencode(path), 0) == 0:
        return
    code = ctypes.get_errno()
    if code == errno.EBUSY:
        log.warning("mount point is in use; detaching it", mount_point=path)
        with contextlib.suppress(OSError):
            _sync_file_system(path)
        if _libc.umount2(os.fsencode(path), _MNT_DETACH) == 0:
            return
        code = ctypes.get_errno()
    if code != errno.EINVAL:
        raise OSError(code, os.strerror(code), path)


def _sync_file_system(path: str) -> None:
    """syncfs(2)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _libc.syncfs(descriptor):
            raise OSError(ctypes.get_errno(), "syncfs", path)
    finally:
        os.close(descriptor)


def tune_kernel(path: str) -> None:
    """Longer read-ahead, and no throttling of writers to 1 % of memory (the kernel's default for FUSE), if we may. For a thread."""
    device = os.stat(path).st_dev
    bdi = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}")
    for name, value in (("read_ahead_kb", _READ_AHEAD_KIB), ("strict_limit", 0), ("max_ratio", 100)):
        try:
            (bdi / name).write_text(str(value))
        except OSError as error:
            log.debug("kernel tunable left as it is", tunable=str(bdi / name), reason=str(error))
