"""`ringfs dev stop`."""

import click

from ringfs.cli.dev import supervise
from ringfs.cli.dev.layout import locked, open_layout
from ringfs.cli.exits import NotClean

_TIMEOUT_S = 60.0


@click.command("stop")
@click.argument("directory", metavar="DIR")
@click.argument("name", metavar="NAME")
@click.option("--timeout", "timeout_s", type=float, default=_TIMEOUT_S, show_default=True, help="Seconds to wait for its end.")
def command(directory: str, name: str, timeout_s: float) -> None:
    """SIGTERM one process of the cluster in DIR, and wait until it has ended. A mount flushes first.

    \b
    Example:  ringfs dev stop ./cluster data2
    """
    layout = open_layout(directory)
    server = layout.server(name)
    with locked(layout.root):
        if not supervise.stop(server, timeout_s):
            raise NotClean(f"{name} has not ended after {timeout_s:g} s: look at {server.log}, wait longer, or 'ringfs dev kill'")
    ended = supervise.last_exit(server.directory)
    if ended is not None and ended[0] != 0:
        raise NotClean(f"{name} has ended, but not cleanly: {ended[1] or f'exit code {ended[0]}'} (log: {server.log})")
    click.echo(f"{name} stopped")
