"""`ringfs info`."""

import os
from pathlib import Path

import click
import trio

from ringfs.base.config import ClusterConfig, load_config
from ringfs.base.errors import UserError
from ringfs.cli import exits, mounts
from ringfs.cli.checking.nodes import reach_nodes
from ringfs.cli.in_time import Unresponsive, in_time
from ringfs.cli.info_view import JsonView, TextView, Totals, View
from ringfs.cli.locate import Locator, find_inode, read_attributes
from ringfs.cli.output import json_option
from ringfs.cli.place import cluster_option, find_cluster
from ringfs.cli.session import open_session


@click.command("info")
@click.argument("path")
@cluster_option
@json_option
def command(path: str, cluster: str | None, as_json: bool) -> int:
    """Show the inode at PATH: attributes, extents, the objects they point to, their class, and the nodes that hold them.

    PATH is a file in a mount; with --cluster (or where nothing is mounted) a path below the root of the file system. What
    mounts have not written yet is flushed first. Exit code 1 if a copy is missing.

    \b
    Example:  ringfs info /mnt/ringfs/clip.mxf
              ringfs info --cluster ./cluster /clip.mxf
    """
    config, number = _find(path, cluster)
    return trio.run(_info, config, path, number, JsonView() if as_json else TextView())


def _find(path: str, cluster: str | None) -> tuple[ClusterConfig, int | None]:
    """The cluster, and the inode if a mount tells it."""
    if cluster is not None:
        return find_cluster(cluster), None
    place = Path(os.path.abspath(path))
    root = mounts.ringfs_mount_of(place) or mounts.ringfs_mount_around(place.parent)
    if root is None:
        return find_cluster(None), None
    config = load_config(mounts.config_of(root))
    try:
        return config, in_time(lambda: os.lstat(place).st_ino)
    except Unresponsive:
        raise UserError(
            f"the mount at {root} does not answer: name the cluster with --cluster, and the path below its root"
        ) from None
    except OSError as error:
        raise UserError(f"cannot look at {path}: {error.strerror}") from None


async def _info(config: ClusterConfig, path: str, number: int | None, view: View) -> int:
    """Show the inode of that number, or at that path below the root."""
    totals = Totals()
    async with open_session(config, "info") as session:
        attributes = await read_attributes(session, await find_inode(session, path) if number is None else number)
        view.begin(path, attributes, session.opened.default_class)
        async with reach_nodes(config, session.opened.map, "info") as nodes:
            async for pieces in Locator(session, nodes).pieces(attributes):
                view.pieces(pieces)
                totals.add(pieces)
            view.end(totals, {node.name: node.silent for node in nodes if node.silent})
    return exits.NOT_CLEAN if totals.missing_copies else exits.OK
