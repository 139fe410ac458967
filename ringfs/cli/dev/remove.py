"""`ringfs dev remove`."""

import click
import trio

from ringfs.base.errors import UserError
from ringfs.cli.dev import supervise
from ringfs.cli.dev.layout import Layout, Server, locked, open_layout
from ringfs.cli.exits import NotClean
from ringfs.cli.node.draining import drain_and_remove
from ringfs.cli.output import progress

_TIMEOUT_S = 60.0


@click.command("remove")
@click.argument("directory", metavar="DIR")
@click.argument("name", metavar="NAME")
def command(directory: str, name: str) -> None:
    """Drain the data node NAME of the cluster in DIR, wait until nobody needs it, stop it, and remove it with its directory.

    What it held is on the others then. Interrupted, it can be said again; 'ringfs node in' takes a draining node back.

    \b
    Example:  ringfs dev remove ./cluster data3
    """
    layout = open_layout(directory)
    server = _data_node(layout, name)
    with progress() as shown:
        for disk in layout.config.disks_of(name):
            trio.run(drain_and_remove, layout.config, disk.name, shown)
    with locked(layout.root):
        if not supervise.stop(server, _TIMEOUT_S):
            raise NotClean(f"{name} is removed from the cluster, but has not ended after {_TIMEOUT_S:g} s: look at {server.log}")
        Layout(layout.root).shrink(name)
    click.echo(f"{name} is removed")


def _data_node(layout: Layout, name: str) -> Server:
    server = layout.server(name)
    names = list(dict.fromkeys(row.process for row in layout.config.data))
    if server.verb != "data":
        raise UserError(f"{name} is no data node: this removes {', '.join(names)}")
    if len(names) == 1:
        raise UserError(f"{name} is the only data node: 'ringfs dev down' ends the cluster")
    return server
