"""Whether a dev cluster is healthy: the metadata service answers, every node is up, every mount answers statfs."""

import os
from collections.abc import Container, Sequence
from pathlib import Path

import trio

from ringfs.base.config import ClusterConfig
from ringfs.cli import mounts
from ringfs.cli.dev.layout import Layout, Server
from ringfs.cli.exits import NotClean
from ringfs.cli.in_time import Unresponsive, in_time
from ringfs.cli.reach import ask_status
from ringfs.wire.messages.cluster import NODE_UP, Status

_NODES_TIMEOUT_S = 30.0
_MOUNT_TIMEOUT_S = 30.0
#: Between two looks at the nodes.
_LOOK_S = 0.05


def require_leader(layout: Layout) -> None:
    """Raises NotReachable, rather than let a mount wait for a metadata service that does not run."""
    trio.run(ask_status, layout.config, "dev")


def wait_healthy(layout: Layout, servers: Sequence[Server]) -> None:
    """Return once the metadata service answers, and those of the servers that are nodes are up, and mounts answer.

    Raises NotReachable, NotClean.
    """
    trio.run(_wait_nodes, layout.config, {server.name for server in servers})
    for server in servers:
        trouble = mount_trouble(server, _MOUNT_TIMEOUT_S) if server.verb == "mount" else ""
        if trouble:
            raise NotClean(f"{server.name} at {server.arguments[0]} {trouble}: look at {server.log}")


async def _wait_nodes(config: ClusterConfig, names: Container[str]) -> None:
    missing = ["no answer"]
    with trio.move_on_after(_NODES_TIMEOUT_S):
        while missing:
            missing = nodes_not_up(config, await ask_status(config, "dev"), names)
            await trio.sleep(_LOOK_S if missing else 0)
    if missing:
        raise NotClean(f"not healthy after {_NODES_TIMEOUT_S:.0f} s: {', '.join(missing)}; look at its log, or 'ringfs status'")


def nodes_not_up(config: ClusterConfig, status: Status, names: Container[str]) -> list[str]:
    """One text for each data node of those names that is not up, or says that something is wrong."""
    state = {node.name: node for node in status.map.nodes}
    trouble = {row.node: row.trouble for row in status.nodes}
    found = []
    for row in config.data:
        if row.name not in names:
            continue
        node = state.get(row.name)
        if node is None or node.state != NODE_UP:
            found.append(f"{row.name} is {'unknown to the metadata server' if node is None else 'down'}")
        elif trouble.get(node.node):
            found.append(f"{row.name}: {trouble[node.node]}")
    return found


def mount_trouble(server: Server, timeout_s: float) -> str:
    """Empty if a mount answers statfs in that time, else what is wrong."""
    point = server.arguments[0]
    try:
        in_time(lambda: os.statvfs(point) and None, timeout_s)
    except Unresponsive:
        return f"does not answer in {timeout_s:g} s"
    except OSError as error:
        return f"answers {os.strerror(error.errno or 0)}"
    return "" if mounts.is_ringfs(mounts.mount_at(Path(point))) else "is not mounted"
