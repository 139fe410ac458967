"""`ringfs meta`: a metadata server, and what is done with several of them. One module per verb."""

import click

from ringfs.cli.lazy import LazyGroup

VERBS = {
    "migrate": ("ringfs.cli.meta.migrate", "Take the state of a single metadata server to a journal on etcd."),
    "promote": ("ringfs.cli.meta.promote", "Have another metadata server lead."),
    "run": ("ringfs.cli.meta.run", "Run a metadata server; the word may be left out."),
}


@click.group("meta", cls=LazyGroup, verbs=VERBS, unnamed="run")
def command() -> None:
    """Run a metadata server: `ringfs meta CONFIG` is `ringfs meta run CONFIG`. And what is done with several of them.

    \b
    Example:  ringfs meta /etc/ringfs/cluster.toml --name meta1
    """
