"""Whether a dev cluster is healthy: one metadata server leads, others stand by, all nodes are up, mounts answer statfs."""

import time
from collections.abc import Container, Sequence

import trio

from ringfs.base.config import ClusterConfig
from ringfs.cli.dev.etcd import ETCD
from ringfs.cli.dev.etcd_health import quorum_trouble
from ringfs.cli.dev.layout import Layout, Server
from ringfs.cli.dev.mount_health import mount_trouble
from ringfs.cli.dev.supervise import is_running
from ringfs.cli.exits import NotClean, NotReachable
from ringfs.cli.reach import ask_status
from ringfs.cli.servers import ask_servers, role_of
from ringfs.wire.messages.cluster import NODE_UP, ROLE_LEADER, ROLE_STANDBY, ServerStatus, Status

_NODES_TIMEOUT_S = 120.0
_MOUNT_TIMEOUT_S = 120.0
#: Between two looks at the nodes.
_LOOK_S = 0.1


def require_leader(layout: Layout) -> None:
    """Raises NotReachable, rather than let a mount wait for a metadata service that does not run."""
    trio.run(ask_status, layout.config, "dev")


def wait_healthy(layout: Layout, servers: Sequence[Server]) -> None:
    """Return once there is a leader, and of these servers others stand by, nodes are up, and mounts answer.

    Members of etcd are waited for where they are started. What a process has begun, though it was started by another command that
    was interrupted, is waited for. Raises NotReachable, NotClean.
    """
    names = {server.name for server in servers if server.verb != ETCD}
    if names:
        if trouble := quorum_trouble(layout):
            raise NotClean(f"etcd has {trouble}: start the others, 'ringfs dev up {layout.root}' starts all")
        trio.run(_wait_servers, layout, names)
    for server in servers:
        if server.verb == "mount":
            _wait_mount(server)


async def _wait_servers(layout: Layout, names: Container[str]) -> None:
    missing = ["no answer"]
    with trio.move_on_after(_NODES_TIMEOUT_S):
        while missing:
            missing = await _missing_nodes(layout, names) or await _missing_standbys(layout, names)
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
        return (
            [f"{name} does not answer yet" for name in starting] if len(layout.config.meta) == 1 else ["no metadata server leads"]
        )


async def _missing_standbys(layout: Layout, names: Container[str]) -> list[str]:
    """A line for each metadata server of those names that neither leads nor could."""
    if len(layout.config.meta) == 1:
        return []
    told = await ask_servers(layout.config, "dev")
    return [f"{name} {trouble}" for name, status in told.items() if name in names and (trouble := _standby_trouble(status))]


def _standby_trouble(status: ServerStatus | str) -> str:
    if isinstance(status, str):
        return status
    if status.role == ROLE_LEADER or (status.role == ROLE_STANDBY and not status.trouble):
        return ""
    return f"is {role_of(status)}" + (f": {status.trouble}" if status.trouble else "")


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
        if row.process not in names:
            continue
        node = state.get(row.name)
        if node is None or node.state != NODE_UP:
            found.append(f"{row.name} is {'unknown to the metadata server' if node is None else 'down'}")
        elif trouble.get(node.node):
            found.append(f"{row.name}: {trouble[node.node]}")
    return found
