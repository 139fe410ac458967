"""`ringfs mount`."""

import os
from dataclasses import replace
from pathlib import Path

import click

from ringfs.base.config import load_config
from ringfs.base.errors import UserError
from ringfs.cli.daemon import Started, recorded, run_daemon, run_dir_option
from ringfs.cli.driver_option import driver_option
from ringfs.cli.exits import NotClean
from ringfs.cli.mount_point import prepare_mount_point
from ringfs.cli.mount_record import MountRecord, write_record
from ringfs.fuse import DRIVERS

#: What fstab(5) says to mount(8) and not to a file system. ringfs has no options of its own yet.
_FSTAB_WORDS = frozenset({"defaults", "rw", "auto", "noauto", "nofail", "_netdev"})


@click.command("mount")
@run_dir_option
@click.argument("config_path", metavar="CONFIG", type=click.Path(path_type=Path))
@click.argument("mount_point", metavar="MNT")  # no click.Path: that looks at it, and it may not answer
@click.option("-o", "options", metavar="OPTION,…", multiple=True, help="Words of fstab(5); ringfs has no options of its own yet.")
@driver_option
def command(run_dir: Path | None, config_path: Path, mount_point: str, options: tuple[str, ...], driver: str | None) -> None:
    """Mount the cluster on the empty directory MNT, in the foreground, until it is unmounted.

    Says "ready" on standard output when it is mounted. SIGTERM, `ringfs umount MNT` and umount(8) end it: it flushes,
    unmounts and exits with 0, or with 1 if something could not be flushed.

    \b
    Example:  ringfs mount /etc/ringfs/cluster.toml /mnt/ringfs
    """
    config = load_config(config_path.absolute())
    _check_options(options)
    point = prepare_mount_point(Path(mount_point))
    record = MountRecord(str(point), os.getpid(), str(config.path))
    write_record(record)

    async def main(started: Started) -> None:
        from ringfs.fuse.daemon import run_mount

        try:
            served = f"{config.cluster} is mounted at {point}"
            await run_mount(config, point, driver_name=driver or DRIVERS[0], started=lambda: started(served))
        except* OSError as group:
            raise NotClean(f"the mount at {point} failed, or could not flush everything: {group.exceptions[0]}") from group

    with recorded(lambda code, words: write_record(replace(record, code=code, words=words))):
        run_daemon(config, run_dir, main)


def _check_options(options: tuple[str, ...]) -> None:
    for option in (word for part in options for word in part.split(",") if word):
        if option not in _FSTAB_WORDS:
            raise UserError(f"mount option {option!r} is not known: leave it out")
