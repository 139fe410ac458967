"""Whether a dev cluster is healthy: the metadata service answers, every node is up, every mount answers statfs."""

import time
from collections.abc import Container, Sequence

import trio

from ringfs.base.config import ClusterConfig
from ringfs.cli.dev.etcd import ETCD
from ringfs.cli.dev.layout import Layout, Server
from ringfs.cli.dev.mount_health import mount_trouble
from ringfs.cli.dev.supervise import is_running
from ringfs.cli.exits import NotClean, NotReachable
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

    Members of etcd are waited for where they are started. What a process has begun, though it was started by another command that
    was interrupted, is waited for. Raises NotReachable, NotClean.
    """
    names = {server.name for server in servers if server.verb != ETCD}
    if names:
        trio.run(_wait_nodes, layout, names)
    for server in servers:
        if server.verb == "mount":
            _wait_mount(server)


async def _wait_nodes(layout: Layout, names: Container[str]) -> None:
    missing = ["no answer"]
    with trio.move_on_after(_NODES_TIMEOUT_S):
        while missing:
            missing = await _missing_nodes(layout, names)
            await trio.sleep(_LOOK_S if missing else 0)
    if missing:
        raise NotClean(f"not healthy after {_NODES_TIMEOUT_S:.0f} s: {', '.join(missing)}; look at its log, or 'ringfs status'")


async def _missing_nodes(layout: Layout, names: Container[str]) -> list[str]:
    try:
        return nodes_not_up(layout.config, await ask_status(layout.config, "dev"), names)
    except NotReachable:
        starting = [server.name for server in layout.servers() if server.verb == "meta" and is_running(server)]
        if not starting:
            raise
        return [f"{name} does not answer yet" for name in starting]


def _wait_mount(server: Server) -> None:
    """Raises NotClean if its process ends, or it does not answer in time."""
    deadline_s = time.monotonic() + _MOUNT_TIMEOUT_S
    trouble = mount_trouble(server, _MOUNT_TIMEOUT_S)
    while trouble and is_running(server) and time.monotonic() < deadline_s:
        time.sleep(_LOOK_S)
        trouble = mount_trouble(server, _MOUNT_TIMEOUT_S)
    if trouble:
        raise NotClean(f"{server.name} at {server.arguments[0]} {trouble}: look at {server.log}")


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
