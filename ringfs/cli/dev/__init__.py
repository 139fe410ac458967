"""`ringfs dev`: a whole cluster on this machine, as real processes in the background. One module per verb."""

import click

from ringfs.base.log import set_up_log
from ringfs.cli.lazy import LazyGroup

VERBS = {
    "up": ("ringfs.cli.dev.up", "Make or start a cluster; returns when it is healthy and mounted."),
    "status": ("ringfs.cli.dev.status", "Its processes: running or not, since when, where."),
    "mount": ("ringfs.cli.dev.mount", "One more mount."),
    "kill": ("ringfs.cli.dev.kill", "SIGKILL one process."),
    "stop": ("ringfs.cli.dev.stop", "SIGTERM one process, and wait for its end."),
    "start": ("ringfs.cli.dev.start", "Start one process again, and wait until it is healthy."),
    "add": ("ringfs.cli.dev.add", "One more data node, or several."),
    "remove": ("ringfs.cli.dev.remove", "Drain a data node, and remove it."),
    "down": ("ringfs.cli.dev.down", "Flush, unmount and stop everything; leaves nothing running."),
}


@click.group("dev", cls=LazyGroup, verbs=VERBS)
def command() -> None:
    """A whole cluster on this machine: meta1, data1 … and mount1 … as processes in the background, with --meta 3 also etcd1 …

    Each keeps its state, log and pid in DIR/NAME/.

    \b
    Example:  ringfs dev up ./cluster --mount /mnt/ringfs
    """
    # What goes wrong is the verb's one line; what the libraries that it uses have to say of it besides is not.
    set_up_log("error")
