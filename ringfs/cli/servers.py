"""What each metadata server of a cluster says of itself, asked side by side. Finding the one that leads: reach.py."""

from contextlib import AbstractAsyncContextManager

import trio

from ringfs.base.config import ClusterConfig, MetaConfig
from ringfs.base.errors import ConnectionLost, Refused
from ringfs.cli.reach import caller_name, first_error
from ringfs.wire.messages.cluster import ROLE_LEADER, ROLE_STANDBY, ServerStatus
from ringfs.wire.rpc import RpcClient, open_client
from ringfs.wire.scouting import ask_server

#: A server answers at once, whatever it is busy with; one that is stopped never does.
_TIMEOUT_S = 3.0


async def ask_servers(config: ClusterConfig, verb: str) -> dict[str, ServerStatus | str]:
    """By name what each says, or why it could not be asked."""
    told: dict[str, ServerStatus | str] = {}
    key = config.load_key()

    def connect(address: str) -> AbstractAsyncContextManager[RpcClient]:
        return open_client(address, key, name=caller_name(verb))

    async def ask(server: MetaConfig) -> None:
        told[server.name] = f"does not answer in {_TIMEOUT_S:g} s"
        with trio.move_on_after(_TIMEOUT_S):
            try:
                told[server.name] = await ask_server(connect, server.address)
            except* (ConnectionLost, Refused) as group:
                told[server.name] = str(first_error(group))

    async with trio.open_nursery() as nursery:
        for server in config.meta:
            nursery.start_soon(ask, server)
    return told


def role_of(status: ServerStatus) -> str:
    """In a word."""
    return {ROLE_LEADER: "leader", ROLE_STANDBY: "standby"}.get(status.role, "starting")
