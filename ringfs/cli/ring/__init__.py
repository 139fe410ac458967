"""`ringfs ring`: where objects belong, and what a change would move. One module per verb."""

import click

from ringfs.cli.lazy import LazyGroup

VERBS = {
    "show": ("ringfs.cli.ring.show", "Nodes by failure domain: weight, share of the ring, share of the data."),
    "plan": ("ringfs.cli.ring.plan", "What a change would move, before it is made."),
}


@click.group("ring", cls=LazyGroup, verbs=VERBS)
def command() -> None:
    """The ring that places objects on data nodes.

    \b
    Example:  ringfs ring show /mnt/ringfs
              ringfs ring plan add data4 --cluster ./cluster
    """
