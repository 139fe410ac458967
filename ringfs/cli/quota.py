"""`ringfs quota`: set, get, list, clear."""

import json
import os
from dataclasses import asdict
from typing import Any

import click
import trio

from ringfs.base.config import ClusterConfig
from ringfs.base.limits import QUOTA_MAX, QUOTAS_PAGE_MAX
from ringfs.cli import exits
from ringfs.cli.locate import find_inode
from ringfs.cli.output import json_option, size_text, table
from ringfs.cli.place import cluster_option, find_cluster, find_in_cluster
from ringfs.cli.session import Session, open_session
from ringfs.cli.values import Size
from ringfs.wire.messages.quota import GetQuota, ListQuotas, Quota, Quotas, SetQuota


@click.group("quota")
def command() -> None:
    """Limit what a directory and all below it may hold. In force at once, exact, and nothing is scanned.

    Bytes are what files store (as du has it: holes cost nothing, copies on several nodes count once), files are files, directories
    and whatever else has an inode; a file with several names counts once.

    \b
    Example:  ringfs quota set /mnt/ringfs/home/anna --bytes 10G --files 100000
              ringfs quota list --cluster ./cluster
    """


@command.command("set")
@click.argument("path")
@click.option("--bytes", "bytes_max", type=Size(), help="Most bytes, as 10G; 0: any. Default: as it is.")
@click.option("--files", "files_max", type=click.IntRange(0, QUOTA_MAX), help="Most files; 0: any. Default: as it is.")
@cluster_option
@json_option
def set_command(path: str, bytes_max: int | None, files_max: int | None, cluster: str | None, as_json: bool) -> int:
    """Limit the directory PATH. What is there already stays, even if it is more."""
    if bytes_max is None and files_max is None:
        raise click.UsageError("give --bytes or --files")

    async def change(session: Session, number: int) -> Quota:
        found: Quota = await session.ask(GetQuota(number))
        wanted_bytes = found.bytes_max if bytes_max is None else bytes_max
        changed: Quota = await session.change(SetQuota(number, wanted_bytes, found.files_max if files_max is None else files_max))
        return changed

    return _on_directory(path, cluster, change, as_json)


@command.command("get")
@click.argument("path")
@cluster_option
@json_option
def get_command(path: str, cluster: str | None, as_json: bool) -> int:
    """Show what is below the directory PATH, and its limits; at once, however much there is."""

    async def look(session: Session, number: int) -> Quota:
        found: Quota = await session.ask(GetQuota(number))
        return found

    return _on_directory(path, cluster, look, as_json)


@command.command("clear")
@click.argument("path")
@cluster_option
@json_option
def clear_command(path: str, cluster: str | None, as_json: bool) -> int:
    """Take the limits of the directory PATH away."""

    async def change(session: Session, number: int) -> Quota:
        changed: Quota = await session.change(SetQuota(number, 0, 0))
        return changed

    return _on_directory(path, cluster, change, as_json)


@command.command("list")
@click.argument("path", required=False)
@cluster_option
@json_option
def list_command(path: str | None, cluster: str | None, as_json: bool) -> int:
    """Show all directories with limits, or those at PATH and below."""
    config, number = (find_cluster(cluster), None) if path is None else find_in_cluster(path, cluster)
    quotas = trio.run(_list, config, path, number)
    if as_json:
        click.echo(json.dumps([_to_json(quota) for quota in quotas]))
    else:
        click.echo(_render(quotas) if quotas else "no quotas")
    return exits.OK


def _on_directory(path: str, cluster: str | None, act: Any, as_json: bool) -> int:
    config, number = find_in_cluster(path, cluster)
    quota: Quota = trio.run(_act, config, path, number, act)
    click.echo(json.dumps(_to_json(quota)) if as_json else _render([quota]))
    return exits.OK


async def _act(config: ClusterConfig, path: str, number: int | None, act: Any) -> Quota:
    async with open_session(config, "quota") as session:
        done: Quota = await act(session, await find_inode(session, path) if number is None else number)
        return done


async def _list(config: ClusterConfig, path: str | None, number: int | None) -> list[Quota]:
    """All, in order of path."""
    quotas: list[Quota] = []
    async with open_session(config, "quota") as session:
        top = b"/"
        if path is not None:
            top = (await session.ask(GetQuota(await find_inode(session, path) if number is None else number))).path
        more = True
        while more:
            page: Quotas = await session.ask(ListQuotas(quotas[-1].directory if quotas else 0, QUOTAS_PAGE_MAX))
            quotas += page.quotas
            more = page.more
    return sorted((quota for quota in quotas if _is_within(quota.path, top)), key=lambda quota: quota.path)


def _is_within(path: bytes, top: bytes) -> bool:
    return path == top or path.startswith(top.rstrip(b"/") + b"/")


def _to_json(quota: Quota) -> dict[str, Any]:
    return {**asdict(quota), "path": os.fsdecode(quota.path)}


def _render(quotas: list[Quota]) -> str:
    rows = []
    for quota in quotas:
        most_bytes = size_text(quota.bytes_max) if quota.bytes_max else "any"
        most_files = str(quota.files_max) if quota.files_max else "any"
        where = os.fsdecode(quota.path) or f"inode {quota.directory}"
        rows.append((where, size_text(quota.bytes_used), most_bytes, str(quota.files_used), most_files))
    return table(("PATH", "BYTES", "OF", "FILES", "OF"), rows, right=(1, 2, 3, 4))
