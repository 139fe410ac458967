"""`ringfs ring show`."""

import json
from typing import Any

import click
import trio

from ringfs.cli import exits
from ringfs.cli.heal import ask_status_and_advice
from ringfs.cli.node_view import figures_of, node_json, standing_text, state_text
from ringfs.cli.output import json_option, size_text, table
from ringfs.cli.place import cluster_option, find_cluster
from ringfs.ring.classes import FRAGMENTED_BYTES_MIN, form_for, parse_class
from ringfs.ring.shares import domain_weights, heavy_domains, shares_of
from ringfs.wire.messages.cluster import Status


@click.command("show")
@click.argument("place", required=False)
@cluster_option
@json_option
def command(place: str | None, cluster: str | None, as_json: bool) -> int:
    """Show the nodes by failure domain: weight, the share of the data that is to be there (of large objects of the default
    class), and the share that is there.

    A node that is out, lost or draining has no share: what it had belongs to the others. A failure domain cannot hold two parts of
    one object: where it is too heavy for that, its share is smaller than its weight. Below is what to do if objects are not safe
    with these nodes.

    \b
    Example:  ringfs ring show /mnt/ringfs
              ringfs ring show --cluster ./cluster --json
    """
    status, advice = trio.run(ask_status_and_advice, find_cluster(cluster, place), "ring")
    if as_json:
        click.echo(json.dumps({**to_json(status), "advice": advice}))
    else:
        click.echo("\n\n".join(filter(None, [render(status), advice])))
    return exits.OK


def to_json(status: Status) -> dict[str, Any]:
    """For scripts."""
    figures, shares, held = figures_of(status), shares_of(status.map.nodes, _width(status)), _held(status)
    nodes = [
        {**node_json(node, figures.get(node.node)), "share": shares[node.node], "held_share": held[node.node]}
        for node in status.map.nodes
    ]
    return {"epoch": status.map.epoch, "default_class": status.default_class, "nodes": nodes}


def render(status: Status) -> str:
    """For people."""
    shares, held, figures = shares_of(status.map.nodes, _width(status)), _held(status), figures_of(status)
    rows = []
    for node in sorted(status.map.nodes, key=lambda each: (each.domain, each.node)):
        row = figures.get(node.node)
        sizes = ("", "") if row is None else (size_text(row.used_bytes), str(row.object_count))
        share = (str(node.weight), f"{shares[node.node]:.1%}", f"{held[node.node]:.1%}")
        rows.append((node.domain, node.name, state_text(node), standing_text(node), *share, *sizes))
    domains = len({node.domain for node in status.map.nodes})
    head = f"epoch {status.map.epoch}, {len(rows)} nodes in {domains} failure domains, default class {status.default_class}"
    columns = ("DOMAIN", "NODE", "STATE", "STANDING", "WEIGHT", "SHARE", "HOLDS", "USED", "OBJECTS")
    return "\n".join([head, "", table(columns, rows, right=(4, 5, 6, 7, 8)), *_too_heavy(status)])


def _width(status: Status) -> int:
    """Of large objects of the default class, as they are stored with so many failure domains."""
    form = form_for(parse_class(status.default_class), FRAGMENTED_BYTES_MIN, len(domain_weights(status.map.nodes)))
    return form.width


def _too_heavy(status: Status) -> list[str]:
    """A line for each failure domain that cannot hold what its weight asks for."""
    width = _width(status)
    return [
        f"{domain} has more than 1 in {width} of the weight: it holds one part of every object, and cannot hold more"
        for domain in sorted(heavy_domains(status.map.nodes, width))
    ]


def _held(status: Status) -> dict[int, float]:
    """By number: the part of all used bytes that a node has."""
    used = {row.node: row.used_bytes for row in status.nodes}
    whole = sum(used.values())
    return {node.node: used.get(node.node, 0) / whole if whole else 0.0 for node in status.map.nodes}
