"""`ringfs dev kill`."""

import click

from ringfs.base.errors import UserError
from ringfs.cli.dev import supervise
from ringfs.cli.dev.layout import open_layout


@click.command("kill")
@click.argument("directory", metavar="DIR")
@click.argument("name", metavar="NAME")
def command(directory: str, name: str) -> None:
    """SIGKILL one process of the cluster in DIR; returns when it has ended. What it had not made durable is lost, as in a crash.

    \b
    Example:  ringfs dev kill ./cluster data2
    """
    layout = open_layout(directory)
    if not supervise.kill(layout.server(name)):
        raise UserError(f"{name} does not run: 'ringfs dev start {directory} {name}' starts it")
    click.echo(f"{name} killed")
