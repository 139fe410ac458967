"""`ringfs`: registers the verbs, and nothing else."""

import sys

import click

from ringfs.cli import exits
from ringfs.cli.lazy import LazyGroup

VERBS = {
    "dev": ("ringfs.cli.dev", "A whole cluster on this machine: up, status, mount, kill, stop, start, down."),
    "status": ("ringfs.cli.status", "Nodes, capacity, health and sessions of a cluster."),
    "info": ("ringfs.cli.info", "Where the bytes of a file are: inode, extents, objects, nodes."),
    "check": ("ringfs.cli.check", "Prove every invariant of the namespace and that every object is held."),
    "verify": ("ringfs.cli.verify", "Prove that files are as they were written; BLAKE3 of each, lists to compare with."),
    "node": ("ringfs.cli.node", "The data nodes: list, add, drain, remove, maintenance, weight, replace a disk."),
    "ring": ("ringfs.cli.ring", "Where objects belong, and what a change would move: show, plan."),
    "heal": ("ringfs.cli.heal", "What is rebuilt and moved: status, wait."),
    "scrub": ("ringfs.cli.scrub", "What is read and verified on the disks: status, start."),
    "class": ("ringfs.cli.class_", "How safely, and how cheaply, files are stored: show, set."),
    "quota": ("ringfs.cli.quota", "Limit what a directory and all below it may hold: set, get, list, clear."),
    "clone": ("ringfs.cli.clone", "A copy of a file or tree that shares its objects: at once, without space."),
    "bench": ("ringfs.cli.bench", "A short benchmark of a mounted directory."),
    "mount": ("ringfs.cli.mount", "Mount a cluster; runs until it is unmounted."),
    "umount": ("ringfs.cli.umount", "Unmount; returns when everything is durable."),
    "meta": ("ringfs.cli.meta", "A metadata server: run it."),
    "data": ("ringfs.cli.data", "Run a data node."),
    "version": ("ringfs.cli.version", "The versions of ringfs, Python and FUSE."),
}

_EPILOG = """\b
Example:  ringfs dev up ./cluster --mount /mnt/ringfs
Exit codes:
  0  it worked, and what was looked at is in order
  1  not clean, not verified, or not everything could be done
  2  usage: an argument, the configuration or a place does not fit
  3  the cluster cannot be reached"""


@click.group(cls=LazyGroup, verbs=VERBS, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """A scale-out POSIX file system: FUSE mounts, a journaled metadata service, data nodes on a ring."""


def main() -> None:
    """Entry point of the `ringfs` script."""
    sys.exit(exits.run(cli))


if __name__ == "__main__":
    main()
