"""Objects that are less safe than promised while stewards can do nothing about it: how many, why, and what would help. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from ringfs.cli.heal_view import objects_text, sums_of
from ringfs.ring.shares import domains_with_share, is_away, is_left_short, who_needs, width_in_use
from ringfs.wire.messages.cluster import NODE_UP, STANDING_IN, STANDING_LOST, STANDING_MAINTENANCE, ClusterMap, Node
from ringfs.wire.messages.heal import HealStatus


class Exposure(NamedTuple):
    """One line, and whether all nodes that it is about were announced to be down for a while."""

    text: str
    is_announced: bool


def exposure_of(heal: HealStatus, cluster_map: ClusterMap) -> Exposure | None:
    """None: there are no such objects, or the map has just changed."""
    if heal.epoch != cluster_map.epoch:
        return None
    sums = sums_of(heal)
    counts = [(sums.unreadable, "cannot be read now"), (sums.exposed, "would not survive the next loss")]
    told = [f"{objects_text(count)} {what}" for count, what in counts if count]
    if not told:
        return None
    away = [node for node in cluster_map.nodes if is_away(node)]
    is_announced = bool(away) and all(node.standing == STANDING_MAINTENANCE for node in away)
    return Exposure(f"{', '.join(told)}: {_reason(away, cluster_map, heal)}", is_announced)


def exposure_text(heal: HealStatus, cluster_map: ClusterMap) -> str:
    """The line, or ""."""
    exposure = exposure_of(heal, cluster_map)
    return "" if exposure is None else exposure.text


def _reason(away: Sequence[Node], cluster_map: ClusterMap, heal: HealStatus) -> str:
    """And what to do."""
    if not away:
        return "there is no place for what is missing: make room, or add a node ('ringfs node add')"
    awaited = [node for node in away if not node.uuid]
    if awaited:
        return f"put the new disk of {_names(awaited)} in and start the node: what is missing is made anew then"
    width = width_in_use(cluster_map, heal.reports)
    stuck = _never_lost(away, cluster_map, width)
    if stuck:
        return f"nothing can be rebuilt without {_names(stuck)}, for {_shortage(cluster_map, width)}; {_remedies(stuck)}"
    return f"start {_names(away)}; what is not back in time is lost, and made anew on the others"


def _never_lost(away: Sequence[Node], cluster_map: ClusterMap, width: int) -> list[Node]:
    """Those that are not made up for however long they are down: too few failure domains were left."""
    nodes, stuck = list(cluster_map.nodes), []
    for node in away:
        lost = replace(node, standing=STANDING_LOST)
        if node.standing == STANDING_IN and is_left_short(nodes, lost, width):
            stuck.append(node)
        else:
            nodes = [lost if each.node == node.node else each for each in nodes]
    return stuck


def _shortage(cluster_map: ClusterMap, width: int) -> str:
    left = len(domains_with_share(node for node in cluster_map.nodes if node.state == NODE_UP))
    return f"{who_needs(cluster_map, width)} needs {width} failure domains and {left} are up"


def _remedies(stuck: Sequence[Node]) -> str:
    replacing = " or ".join(f"'ringfs node replace {node.name}'" for node in stuck)
    return f"start it, or give it another disk ({replacing}), or add a node ('ringfs node add'): the rest follows by itself"


def _names(nodes: Sequence[Node]) -> str:
    return ", ".join(node.name for node in nodes)
