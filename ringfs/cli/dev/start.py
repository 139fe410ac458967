"""`ringfs dev start`."""

import click

from ringfs.cli.dev.health import require_leader, wait_healthy
from ringfs.cli.dev.layout import locked, open_layout
from ringfs.cli.dev.starting import start
from ringfs.cli.dev.table import read_rows, render


@click.command("start")
@click.argument("directory", metavar="DIR")
@click.argument("name", metavar="NAME")
def command(directory: str, name: str) -> None:
    """Start one process of the cluster in DIR again, and wait until it is healthy. Nothing happens if it runs.

    \b
    Example:  ringfs dev start ./cluster data2
    """
    layout = open_layout(directory)
    server = layout.server(name)
    with locked(layout.root):
        if server.verb == "mount":
            require_leader(layout)
        start(layout, [server])
        wait_healthy(layout, [server])
    click.echo(render(read_rows(layout, [server])))
