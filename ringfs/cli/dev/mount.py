"""`ringfs dev mount`."""

from pathlib import Path

import click

from ringfs.cli.dev.health import require_leader, wait_healthy
from ringfs.cli.dev.layout import locked, open_layout
from ringfs.cli.dev.starting import start
from ringfs.cli.dev.table import read_rows, render
from ringfs.cli.driver_option import driver_option
from ringfs.cli.mount_point import prepare_mount_point


@click.command("mount")
@click.argument("directory", metavar="DIR")
@click.argument("mount_point", metavar="MNT")
@driver_option
def command(directory: str, mount_point: str, driver: str | None) -> None:
    """Mount the cluster in DIR at one more place; MNT is made if it is not there.

    \b
    Example:  ringfs dev mount ./cluster /mnt/second
    """
    layout = open_layout(directory)
    with locked(layout.root):
        point = prepare_mount_point(Path(mount_point), make=True)
        require_leader(layout)
        server = layout.mount_for(point, driver)
        start(layout, [server])
        wait_healthy(layout, [server])
    click.echo(render(read_rows(layout, [server])))
