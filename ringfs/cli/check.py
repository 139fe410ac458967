"""`ringfs check`."""

import json
import tempfile
from pathlib import Path

import click
import trio

from ringfs.base.config import ClusterConfig
from ringfs.base.kv.store import Store
from ringfs.cli import exits
from ringfs.cli.checking.holders import HolderCheck
from ringfs.cli.checking.nodes import reach_nodes
from ringfs.cli.checking.report import Finding, Report
from ringfs.cli.checking.snapshot import copy_snapshot
from ringfs.cli.output import Progress, json_option, progress, size_text
from ringfs.cli.place import cluster_option, find_cluster
from ringfs.cli.reach import ANSWER_TIMEOUT_S, reach_leader
from ringfs.meta.namespace import check as namespace_check
from ringfs.meta.namespace import keys
from ringfs.meta.namespace.records import unpack_counters
from ringfs.ring.placement import Ring
from ringfs.wire.messages.cluster import ClusterMap, GetMap


@click.command("check")
@click.argument("place", required=False)
@cluster_option
@click.option("--deep", is_flag=True, help="Also have every part read from its disk and verified.")
@json_option
def command(place: str | None, cluster: str | None, deep: bool, as_json: bool) -> int:
    """Prove, while the cluster runs, that its namespace keeps every invariant and that every object a file points to is held
    as its form says: each copy or fragment, on failure domains of their own. Says what is wrong and where; exit code 0: clean,
    1: not.

    Copies the namespace to a temporary directory ($TMPDIR) to look at it at one position of the journal.

    \b
    Example:  ringfs check /mnt/ringfs --deep
    """
    config = find_cluster(cluster, place)
    report = Report(_quiet if as_json else lambda finding: click.echo(str(finding)))
    with progress() as shown, tempfile.TemporaryDirectory(prefix="ringfs-check-") as scratch:
        trio.run(_check, config, Path(scratch), report, shown, deep)
    click.echo(json.dumps(report.to_json()) if as_json else _summary(report))
    return exits.OK if report.is_clean else exits.NOT_CLEAN


async def _check(config: ClusterConfig, scratch: Path, report: Report, shown: Progress, deep: bool) -> None:
    """Fill the report."""
    async with reach_leader(config, "check") as leader:
        store = Store(scratch / "namespace")
        try:
            report.position = await copy_snapshot(leader, store, shown)
            shown.step("checking the namespace")
            for finding in namespace_check.check(store):
                report.found(Finding(str(finding), "namespace"))
            counters = store.get(keys.COUNTERS)
            report.inode_count = unpack_counters(counters).inode_count if counters else 0
            cluster_map: ClusterMap = (await leader.call(GetMap(), timeout_s=ANSWER_TIMEOUT_S)).message
            async with reach_nodes(config, cluster_map, "check") as nodes:
                await HolderCheck(leader, nodes, Ring(cluster_map), report, shown, deep=deep).run(store)
        finally:
            store.close()


def _quiet(_finding: Finding) -> None:
    """JSON shows all at the end."""


def _summary(report: Report) -> str:
    counts = f"{report.inode_count} inodes, {report.object_count} objects, {report.part_count} copies and fragments"
    lines = [f"at journal position {report.position}: {counts}"]
    if report.verified_count:
        lines.append(f"{report.verified_count} of them read and verified")
    if report.to_move_count:
        lines.append(f"{report.to_move_count} belong on other nodes, and are to be moved there")
    if report.unreferenced_count:
        size = size_text(report.unreferenced_bytes)
        lines.append(f"{report.unreferenced_count} parts ({size}) that no file points to: being written, or waiting for deletion")
    lines += [f"node {name} could not be asked: {why}" for name, why in report.silent.items()]
    lines.append("clean" if report.is_clean else f"not clean: {report.finding_count} findings")
    return "\n".join(lines)
