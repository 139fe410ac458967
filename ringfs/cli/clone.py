"""`ringfs clone`."""

import json
import os
from dataclasses import asdict
from pathlib import Path, PurePosixPath

import click
import trio

from ringfs.base.config import ClusterConfig
from ringfs.base.errors import Code, Refused, UserError
from ringfs.base.ids import ROOT_INODE
from ringfs.base.log import set_up_log
from ringfs.cli import exits, mounts
from ringfs.cli.output import Progress, json_option, progress, size_text
from ringfs.cli.place import cluster_option, find_in_cluster
from ringfs.cli.reach import ask_status
from ringfs.client.cloning import Cloner, Counts
from ringfs.client.file_system import FileSystem
from ringfs.client.opening import open_file_system


@click.command("clone")
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="DST")
@cluster_option
@json_option
def command(source: str, destination: str, cluster: str | None, as_json: bool) -> int:
    """Clone the file or tree SRC to the new name DST, at once and without space: both point to the same objects.

    DST appears when it is complete. Modes, owners, times, xattrs, ACLs, symlinks, and hard links within the tree are kept; each
    file is as it is at the moment when it is cloned. It needs the cluster's key, as mounting does, and asks no permission of single
    files. SRC and DST are in a mount; with --cluster they are paths below the root of the file system.

    \b
    Example:  ringfs clone /mnt/ringfs/project /mnt/ringfs/project.monday
              ringfs clone --cluster ./cluster /clip.mxf /clip-2.mxf
    """
    set_up_log("error")  # what goes wrong is one line; what the client has to say of it besides is not
    name = os.path.basename(destination.rstrip("/"))
    if name in ("", ".", ".."):
        raise click.UsageError(f"{destination!r} is no new name")
    config, source_inode = find_in_cluster(source, cluster)
    above = Path(destination.rstrip("/")).parent
    if cluster is None:
        above = mounts.real_path(above)
        _check_access(source, above)
    other, parent_inode = find_in_cluster(str(above), cluster)
    if other.cluster != config.cluster:
        raise UserError(f"{source} and {destination} are in two clusters: copy between them")
    try:
        with progress() as shown:
            places = (source, source_inode), (str(above), parent_inode)
            counts = trio.run(_clone, config, places, os.fsencode(name), shown)
    except* Refused as group:
        raise _explained(group, source, destination) from None
    told = {"source": source, "destination": destination, **asdict(counts)}
    click.echo(json.dumps(told) if as_json else _render(destination, counts))
    return exits.OK


def _check_access(source: str, above: Path) -> None:
    """What the kernel would check for the two ends. Raises UserError."""
    if not os.access(source, os.R_OK, follow_symlinks=False):
        raise UserError(f"{source} may not be read")
    if not os.access(above, os.W_OK | os.X_OK):
        raise UserError(f"nothing may be made in {above}")


def _explained(group: BaseExceptionGroup[Refused], source: str, destination: str) -> Exception:
    refused: BaseException = group
    while isinstance(refused, BaseExceptionGroup):
        refused = refused.exceptions[0]
    assert isinstance(refused, Refused)
    if refused.code is Code.EXISTS:
        return UserError(f"{destination} exists already: name one that does not")
    if refused.code is Code.INVALID:
        return UserError(f"{destination} lies within {source}: a clone would hold itself")
    return exits.NotClean(f"cannot clone {source} to {destination}: {refused}")


async def _clone(
    config: ClusterConfig, places: tuple[tuple[str, int | None], tuple[str, int | None]], name: bytes, shown: Progress
) -> Counts:
    """Clone between two places, each a path, and its inode if that is known."""
    # Also the quick answer that nobody is there.
    status = await ask_status(config, "clone")
    async with open_file_system(config, purpose="clone") as fs:
        source, parent = [number if number is not None else await _find(fs, path) for path, number in places]
        cloner = Cloner(fs, lambda counts: shown.step("cloning", counts.files + counts.directories))
        await cloner.remove_leftovers(parent, [row.session for row in status.sessions])
        await cloner.clone(source, parent, name)
        return cloner.counts


async def _find(fs: FileSystem, path: str) -> int:
    """The inode at a path below the root."""
    number: int = ROOT_INODE
    for name in PurePosixPath("/", path).parts[1:]:
        number = (await fs.lookup(number, os.fsencode(name))).number
    return number


def _render(destination: str, counts: Counts) -> str:
    parts = [f"{counts.files} file{'s' * (counts.files != 1)}"]
    if counts.directories:
        parts.append(f"{counts.directories} director{'ies' if counts.directories != 1 else 'y'}")
    return f"{destination}: {', '.join(parts)}, {size_text(counts.bytes)} shared"
