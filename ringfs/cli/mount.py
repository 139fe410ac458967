"""`ringfs mount`."""

from pathlib import Path

import click

from ringfs.base.config import load_config
from ringfs.cli.daemon import Started, run_daemon, run_dir_option
from ringfs.cli.mount_point import prepare_mount_point


@click.command("mount")
@run_dir_option
@click.argument("config_path", metavar="CONFIG", type=click.Path(path_type=Path))
@click.argument("mount_point", metavar="MNT", type=click.Path(path_type=Path))
@click.option("-o", "options", metavar="OPTION[,…]", multiple=True, help="Mount options, as for mount(8): ro, allow_other …")
def command(run_dir: Path | None, config_path: Path, mount_point: Path, options: tuple[str, ...]) -> None:
    """Mount the cluster on the empty directory MNT, in the foreground, until it is unmounted.

    Says "ready" on standard output when it is mounted. SIGTERM, `ringfs umount MNT` and umount(8) end it: it flushes,
    unmounts and exits with 0, or with 1 if something could not be flushed.

    \b
    Example:  ringfs mount /etc/ringfs/cluster.toml /mnt/ringfs -o ro
    """
    config = load_config(config_path.absolute())
    point = prepare_mount_point(mount_point)
    wanted = [option for part in options for option in part.split(",") if option]

    async def main(started: Started) -> None:
        from ringfs.fuse.daemon import run_mount

        await run_mount(config, point, options=wanted, started=started)

    run_daemon(config, run_dir, f"{config.cluster} is mounted at {point}", main)
