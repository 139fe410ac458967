"""`ringfs info`."""

import stat

import click
import trio

from ringfs.base.config import ClusterConfig
from ringfs.cli import exits
from ringfs.cli.checking.nodes import reach_nodes
from ringfs.cli.info_view import JsonView, TextView, Totals, View
from ringfs.cli.locate import Locator, find_inode, read_attributes
from ringfs.cli.output import json_option
from ringfs.cli.place import cluster_option, find_in_cluster
from ringfs.cli.session import Session, open_session
from ringfs.wire.messages.common import CLASS_XATTR, Attributes
from ringfs.wire.messages.queries import GetXattr, XattrFound


@click.command("info")
@click.argument("path")
@cluster_option
@json_option
def command(path: str, cluster: str | None, as_json: bool) -> int:
    """Show the inode at PATH: attributes, extents, the objects they point to, their class, and the nodes that hold them.

    PATH is a file in a mount; with --cluster (or where nothing is mounted) a path below the root of the file system. What
    mounts have not written yet is flushed first. Exit code 1 if a copy or fragment is missing.

    \b
    Example:  ringfs info /mnt/ringfs/clip.mxf
              ringfs info --cluster ./cluster /clip.mxf
    """
    config, number = find_in_cluster(path, cluster)
    return trio.run(_info, config, path, number, JsonView() if as_json else TextView())


async def _class_of(session: Session, attributes: Attributes) -> str:
    """What is written into it now, or, of a directory, what is made in it."""
    if stat.S_IFMT(attributes.mode) not in (stat.S_IFREG, stat.S_IFDIR):
        return session.opened.default_class
    found: XattrFound = await session.ask(GetXattr(attributes.inode, CLASS_XATTR))
    return found.value.decode()


async def _info(config: ClusterConfig, path: str, number: int | None, view: View) -> int:
    """Show the inode of that number, or at that path below the root."""
    totals = Totals()
    async with open_session(config, "info") as session:
        attributes = await read_attributes(session, await find_inode(session, path) if number is None else number)
        view.begin(path, attributes, await _class_of(session, attributes))
        async with reach_nodes(config, session.opened.map, "info") as nodes:
            async for pieces in Locator(session, nodes).pieces(attributes):
                view.pieces(pieces)
                totals.add(pieces)
            view.end(totals, {node.name: node.silent for node in nodes if node.silent})
    return exits.NOT_CLEAN if totals.missing_parts else exits.OK
