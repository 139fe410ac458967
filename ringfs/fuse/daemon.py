"""The mount process: a client, the driver, the kernel's tunables, signals. `ringfs mount` runs it in the foreground."""

import ctypes
import errno
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog
import trio

from ringfs.base.buffers import buffers
from ringfs.base.config import ClusterConfig
from ringfs.base.memory import keep_freed_pages
from ringfs.base.mountinfo import mount_at
from ringfs.client.opening import open_file_system
from ringfs.fuse import DRIVERS
from ringfs.fuse.at_once import Timeouts
from ringfs.fuse.drivers import Driver, make_driver
from ringfs.fuse.operations import Operations

log = structlog.get_logger("ringfs.fuse")

_libc = ctypes.CDLL(None, use_errno=True)
_MNT_DETACH = 2
#: What the kernel reads ahead of a stream: whole requests of 1 MiB, several at once.
_READ_AHEAD_KIB = 4096
#: What a mount in use may take to write out what the kernel has dirty, before it is detached all the same.
_SYNC_TIMEOUT_S = 30.0
#: Freed memory that is kept for the next buffers: what one burst of writes needs.
_KEPT_BYTES = 32 << 20
#: The same for pooled ones: dirty bytes, by default 64 MiB, come and go in those of one size, which may be two thirds of it.
_KEPT_BUFFER_BYTES = 96 << 20


async def run_mount(
    config: ClusterConfig, mount_point: Path, *, driver_name: str = DRIVERS[0], started: Callable[[], None] | None = None
) -> None:
    """Mount the cluster at mount_point until it is unmounted or SIGTERM or SIGINT comes; then flush everything and return.

    mount_point and the configuration's path are absolute. Raises Refused or OSError if not everything was flushed, UserError if
    it cannot be mounted.
    """
    keep_freed_pages(_KEPT_BYTES)
    buffers.keep(_KEPT_BUFFER_BYTES)
    driver = make_driver(driver_name)
    path = str(mount_point)
    tunables = config.mount
    timeouts = Timeouts(tunables.entry_timeout_s, tunables.attr_timeout_s)
    async with open_file_system(config, purpose=f"mount {path}", kernel=driver.kernel) as fs:
        operations = Operations(fs, str(config.path), timeouts)

        async with trio.open_nursery() as nursery:

            def mounted() -> None:
                tune_kernel(path)
                log.info("mounted", mount_point=path, session=fs.link.session, driver=driver_name)
                if started is not None:
                    started()

            nursery.start_soon(_unmount_on_signal, path, fs.sync, driver)
            await driver.serve(operations, path, timeouts, mounted=mounted)
            nursery.cancel_scope.cancel()
        log.info("unmounted; flushing", mount_point=path, dirty_bytes=fs.writer.dirty_bytes)
    log.info("flushed", mount_point=path)


async def _unmount_on_signal(path: str, flush: Callable[[], Awaitable[None]], driver: Driver) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            log.info("unmounting", mount_point=path, signal=signal.Signals(number).name)
            if await trio.to_thread.run_sync(unmount, path, 0):
                return
            log.warning("mount point is in use; detaching it", mount_point=path)
            # In a process of its own: the kernel asks us meanwhile, and if we cannot answer, only that process hangs.
            with trio.move_on_after(_SYNC_TIMEOUT_S):
                await trio.run_process(["sync", "--file-system", path], check=False, stderr=subprocess.DEVNULL)
            await flush()
            await trio.to_thread.run_sync(unmount, path, _MNT_DETACH)
            driver.stop_serving()
            return


def unmount(path: str, flags: int) -> bool:
    """umount2(2); False if the mount point is in use. For a thread: the kernel has dirty pages written to us meanwhile."""
    if _libc.umount2(os.fsencode(path), flags) == 0:
        return True
    code = ctypes.get_errno()
    if code == errno.EBUSY:
        return False
    if code == errno.EINVAL:
        return True  # it is not mounted any more
    raise OSError(code, os.strerror(code), path)


def tune_kernel(path: str) -> None:
    """Longer read-ahead, and no throttling of writers to 1 % of memory (the kernel's default for FUSE), if we may."""
    mount = mount_at(Path(path))
    if mount is None:
        return
    bdi = Path("/sys/class/bdi") / mount.device
    for name, value in (("read_ahead_kb", _READ_AHEAD_KIB), ("strict_limit", 0), ("max_ratio", 100)):
        try:
            (bdi / name).write_text(str(value))
        except OSError as error:
            log.debug("kernel tunable left as it is", tunable=str(bdi / name), reason=str(error))
