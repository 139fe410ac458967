"""`ringfs dev add`."""

import click

from ringfs.cli.dev.health import require_leader, wait_healthy
from ringfs.cli.dev.layout import locked, open_layout
from ringfs.cli.dev.starting import start
from ringfs.cli.dev.table import read_rows, render


@click.command("add")
@click.argument("directory", metavar="DIR")
@click.argument("count", metavar="[COUNT]", type=click.IntRange(1, 64), default=1)
def command(directory: str, count: int) -> None:
    """Add COUNT data nodes (1) to the cluster in DIR, start them, and return when they are up. Their share of the data moves to
    them in the background: 'ringfs heal wait' waits for that.

    \b
    Example:  ringfs dev add ./cluster 2
    """
    layout = open_layout(directory)
    with locked(layout.root):
        require_leader(layout)
        added = layout.grow(count)
        start(layout, added)
        wait_healthy(layout, added)
    click.echo(render(read_rows(layout, added)))
