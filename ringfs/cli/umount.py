"""`ringfs umount`."""

from collections.abc import Sequence
from pathlib import Path

import click

from ringfs.base import mountinfo
from ringfs.base.errors import UserError
from ringfs.cli import mounts, processes
from ringfs.cli.exits import NotClean
from ringfs.cli.in_time import Unresponsive
from ringfs.cli.mount_record import read_record
from ringfs.cli.output import progress
from ringfs.cli.processes import Process


@click.command("umount")
@click.argument("mount_point", metavar="MNT")  # no click.Path: that looks at it, and it may not answer
@click.option("--timeout", "timeout_s", type=float, default=600.0, show_default=True, help="Seconds to wait until all is durable.")
@click.option("--force", is_flag=True, help="Free MNT at once, even if its process hangs; what is not durable is lost.")
def command(mount_point: str, timeout_s: float, force: bool) -> None:
    """Unmount MNT; returns when everything written there is durable and the mount's process has ended.

    Exit code 1 if something could not be made durable. The mount point of a process that died is freed, too.

    \b
    Example:  ringfs umount /mnt/ringfs
    """
    point = _point_of(mount_point)
    if force:
        mounts.clear(point)
        raise NotClean(f"{point} is free; what had no fsync may be lost")
    if mounts.is_dead(point):
        mounts.clear(point)
        raise NotClean(f"the process of the mount at {point} had died: it is free again, but what had no fsync may be lost")
    process = _process_of(point)
    with progress() as shown:
        shown.step(f"flushing {point}")
        try:
            mounts.unmount(point, timeout_s)
        except Unresponsive:
            raise NotClean(f"{point} does not write its data in {timeout_s:g} s: wait longer, or give it up with --force") from None
        _wait_end(point, process, timeout_s)
    click.echo(f"{point} is unmounted, everything is durable")


def _point_of(mount_point: str) -> Path:
    """The ringfs mount point that is meant. Raises UserError."""
    point = mounts.mount_point_of(Path(mount_point))
    if not mounts.is_ringfs(mountinfo.mount_at(point)):
        raise UserError(f"no ringfs is mounted at {point}: see the list with 'findmnt -t fuse.ringfs'")
    return point


def _process_of(point: Path) -> Process | None:
    """The process behind a live mount, held."""

    def match(argv: Sequence[str]) -> bool:
        return "mount" in argv

    record = read_record(point)
    return None if record is None else processes.hold(record.pid, match)


def _wait_end(point: Path, process: Process | None, timeout_s: float) -> None:
    """Wait for the process and look at how it ended. Raises NotClean."""
    if process is None:
        raise NotClean(f"{point} is unmounted, but its process is not known: whether it has flushed everything is in its log")
    with process:
        if not process.wait(timeout_s):
            raise NotClean(f"{point} is unmounted, but process {process.pid} still flushes after {timeout_s:g} s: look at its log")
    record = read_record(point)
    if record is None or record.code is None:
        raise NotClean(f"{point} is unmounted, but its process was killed before it ended: what had no fsync may be lost")
    if record.code:
        raise NotClean(f"{point} is unmounted, but not everything is durable: {record.words}")
