"""`ringfs dev status`."""

import json

import click

from ringfs.cli import exits
from ringfs.cli.dev.layout import open_layout
from ringfs.cli.dev.table import read_rows, render, to_json
from ringfs.cli.output import json_option


@click.command("status")
@click.argument("directory", metavar="DIR")
@json_option
def command(directory: str, as_json: bool) -> int:
    """Show the processes of the cluster in DIR. Exit code 1 if one does not run, or a mount does not answer.

    \b
    Example:  ringfs dev status ./cluster
    """
    rows = read_rows(open_layout(directory))
    click.echo(json.dumps(to_json(rows)) if as_json else render(rows))
    return exits.OK if all(row.state == "running" and not row.note for row in rows) else exits.NOT_CLEAN
