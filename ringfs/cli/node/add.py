"""`ringfs node add`: what a new node needs before its first start."""

import json
from pathlib import Path

import click
import trio

from ringfs.base.config import ClusterConfig
from ringfs.base.errors import UserError
from ringfs.base.files import RealFiles
from ringfs.base.limits import WEIGHT_MAX
from ringfs.cli import exits
from ringfs.cli.config_text import add_section, data_section
from ringfs.cli.output import json_option
from ringfs.cli.place import cluster_option, find_cluster
from ringfs.cli.reach import ask_status
from ringfs.data.identity import check_disk
from ringfs.wire.messages.cluster import ClusterMap


@click.command("add")
@click.argument("name", metavar="NODE")
@click.option("--address", metavar="HOST:PORT", help="Where it is to listen, if cluster.toml does not have it yet.")
@click.option("--advertise", metavar="HOST:PORT", help="Where others reach it, if that is another address.")
@click.option("--disk", "disks", metavar="DIR", multiple=True, help="Its disk, an empty directory; said again, one more disk.")
@click.option("--domain", help="Its failure domain. Default: its name.")
@click.option("--weight", type=click.IntRange(1, WEIGHT_MAX), help="Its share of the ring. Default: what its disk's size says.")
@cluster_option
@json_option
def command(
    name: str,
    address: str | None,
    advertise: str | None,
    disks: tuple[str, ...],
    domain: str | None,
    weight: int | None,
    cluster: str | None,
    as_json: bool,
) -> int:
    """Prepare the new data node NODE, on its own machine: enter it in cluster.toml if it is not there yet, see that its disks are
    empty or its own, and that the cluster has no other node of that name. Then it says how to start it, which is what lets it in.

    \b
    Example:  ringfs node add data4 --address 10.0.0.5:7001 --disk /disks/one --domain rack2 --cluster /etc/ringfs
    """
    config = find_cluster(cluster)
    cluster_map = trio.run(ask_status, config, "node").map
    is_new = name not in {row.process for row in config.data}
    if is_new:
        if address is None or not disks:
            raise click.UsageError(f"{config.path} has no node {name!r}: give --address and --disk")
        section = data_section(name, address, [str(Path(disk).absolute()) for disk in disks], domain, weight, advertise)
        config = add_section(config.path, section, lambda changed: _check(name, changed, cluster_map))
    elif (address, advertise, disks, domain, weight) != (None, None, (), None, None):
        raise click.UsageError(f"{config.path} has {name!r} already: change it there, or leave the options out")
    else:
        _check(name, config, cluster_map)
    start = f"ringfs data {config.path} {name}"
    if as_json:
        click.echo(json.dumps({"name": name, "configuration": str(config.path), "entered": is_new, "start": start}))
    else:
        where = f"is entered in {config.path}" if is_new else f"is in {config.path}"
        click.echo(f"{name} {where}; its disks are in order. Start it, and it joins: {start}")
    return exits.OK


def _check(name: str, config: ClusterConfig, cluster_map: ClusterMap) -> None:
    """Raises UserError where its start would end, or another node's disk would be in its way."""
    for node in config.disks_of(name):
        identity = check_disk(RealFiles(), node.disk, config.cluster)
        disk = None if identity is None else str(identity.disk)
        for other in cluster_map.nodes:
            if other.name == node.name and other.uuid and other.uuid != disk:
                raise UserError(
                    f"the cluster has a node {node.name} with another disk: choose another name, "
                    f"or, if that disk is gone for good, 'ringfs node replace {node.name}'"
                )
            if other.uuid == disk and other.name != node.name:
                raise UserError(f"disk {node.disk} is that of the node {other.name}: give {node.name} an empty one")
