"""Reaching the metadata server that leads, from a verb. Which one that is: servers.py."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from ringfs.base.config import ClusterConfig
from ringfs.base.errors import ConnectionLost, Refused
from ringfs.cli.exits import NotReachable
from ringfs.cli.servers import ask_servers, caller_name, leader_among
from ringfs.wire.messages.cluster import GetStatus, Status
from ringfs.wire.rpc import RpcClient, open_client

#: Longer than a server needs for any single answer to a verb.
ANSWER_TIMEOUT_S = 60.0
#: A status is told at once, unless the server cannot tell whether it leads, or its journal is stuck.
_STATUS_TIMEOUT_S = 10.0

Push = Callable[[Any], None]


@asynccontextmanager
async def reach_leader(config: ClusterConfig, verb: str, on_push: Push | None = None) -> AsyncIterator[RpcClient]:
    """A connection to the metadata server that leads. Raises NotReachable."""
    leader = leader_among(await ask_servers(config, verb, leader_is_enough=True))
    async with _connection(config, leader.name, verb, on_push) as client:
        yield client


def _connection(config: ClusterConfig, name: str, verb: str, on_push: Push | None = None) -> AbstractAsyncContextManager[RpcClient]:
    return open_client(config.meta_named(name).address, config.load_key(), name=caller_name(verb), on_push=on_push)


async def ask_leader(config: ClusterConfig, verb: str, request: Any) -> Any:
    """The answer of the metadata server that leads to what needs no session. Raises NotReachable, Refused, ConnectionLost."""
    async with reach_leader(config, verb) as leader:
        return (await leader.call(request, timeout_s=ANSWER_TIMEOUT_S)).message
    raise AssertionError("a client does not suppress exceptions")


async def ask_status(config: ClusterConfig, verb: str) -> Status:
    """The status of the cluster as its leader tells it. Raises NotReachable."""
    leader = leader_among(await ask_servers(config, verb, leader_is_enough=True))
    return await status_at(config, leader.name, verb)


async def status_at(config: ClusterConfig, name: str, verb: str) -> Status:
    """The same, asked at a server that said it leads. If it cannot tell, all servers have their say once more."""
    try:
        async with _connection(config, name, verb) as leader:
            status: Status = (await leader.call(GetStatus(), timeout_s=_STATUS_TIMEOUT_S)).message
            return status
    except (ConnectionLost, Refused) as error:
        told = leader_among(await ask_servers(config, verb))
        # It answers nothing that it has not made durable; what keeps it from that it can say.
        why = f": {told.trouble}" if told.trouble else f" ({error}): try again"
        raise NotReachable(f"{told.name} said that it leads, and did not tell the status{why}") from error
    raise AssertionError("a client does not suppress exceptions")
