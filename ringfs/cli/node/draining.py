"""Moving everything off a node and forgetting it, with a bar. Used by node drain, node remove and dev remove."""

import trio

from ringfs.base.config import ClusterConfig
from ringfs.base.errors import Code, Refused
from ringfs.cli import exits
from ringfs.cli.healing import LOOK_S, Bar, wait_healed
from ringfs.cli.node.changing import change_node, node_in
from ringfs.cli.output import Progress
from ringfs.cli.reach import ask_leader, ask_status
from ringfs.wire.messages.cluster import STANDING_DRAINING, STANDING_LOST, STANDING_OUT, ClusterMap
from ringfs.wire.messages.heal import RemoveNode, SetStanding

#: Nothing is on them that counts, or soon will be.
LEAVING = (STANDING_DRAINING, STANDING_OUT, STANDING_LOST)


async def drain(config: ClusterConfig, name: str) -> ClusterMap:
    """Let it drain, unless it is leaving already; the map then. Raises UserError, NotClean, NotReachable."""
    cluster_map = (await ask_status(config, "node")).map
    if node_in(cluster_map, name).standing in LEAVING:
        return cluster_map
    return await change_node(config, "drain", SetStanding(name, STANDING_DRAINING, 0))


async def drain_and_wait(config: ClusterConfig, name: str, shown: Progress) -> ClusterMap:
    """The same, and return once everything it held is where it belongs."""
    cluster_map = await drain(config, name)
    await wait_healed(config, "node", cluster_map.epoch, Bar(shown, f"draining {name}").show)
    return cluster_map


async def drain_and_remove(config: ClusterConfig, name: str, shown: Progress) -> ClusterMap:
    """Empty it, and forget it as soon as nobody needs it. Raises UserError, NotClean (refused for good), NotReachable."""
    await drain_and_wait(config, name, shown)
    while True:
        try:
            removed: ClusterMap = await ask_leader(config, "node", RemoveNode(name))
        except Refused as refused:
            if refused.code is not Code.BUSY:
                raise exits.NotClean(f"cannot remove {name}: {refused.detail or refused}") from None
            shown.step(f"removing {name}: {refused.detail or refused}")
            await trio.sleep(LOOK_S)
            continue
        return removed
