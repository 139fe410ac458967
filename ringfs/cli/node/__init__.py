"""`ringfs node`: the data nodes of a cluster. One module per verb; what they share: changing.py, draining.py."""

import click

from ringfs.cli.lazy import LazyGroup

VERBS = {
    "list": ("ringfs.cli.node.list", "All nodes: state, standing, what they use."),
    "add": ("ringfs.cli.node.add", "Check a new node's disk and name, and enter it in the configuration."),
    "weight": ("ringfs.cli.node.weight", "Give a node another share of the ring."),
    "drain": ("ringfs.cli.node.drain", "Move everything off a node; it counts until it is moved."),
    "remove": ("ringfs.cli.node.remove", "Forget a node that nobody needs any more."),
    "maintenance": ("ringfs.cli.node.maintenance", "A node may be down for a while, and nothing is rebuilt."),
    "in": ("ringfs.cli.node.into", "End a node's maintenance, draining or being out."),
    "out": ("ringfs.cli.node.out", "Give a node up: what it holds is rebuilt elsewhere."),
    "replace": ("ringfs.cli.node.replace", "A node's disk is gone: the next empty one takes its place."),
}


@click.group("node", cls=LazyGroup, verbs=VERBS)
def command() -> None:
    """The data nodes of a cluster: look at them, let them in and out.

    \b
    Example:  ringfs node list /mnt/ringfs
              ringfs node drain data3 --wait --cluster ./cluster
    """
