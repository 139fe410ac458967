"""Reaching the servers of a cluster from a verb: the metadata leader, a data node. Failure is one line."""

import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from ringfs.base.config import ClusterConfig
from ringfs.base.errors import ConnectionLost, Refused
from ringfs.cli.exits import NotReachable
from ringfs.wire.messages.cluster import GetStatus, Status
from ringfs.wire.rpc import RpcClient, open_client

#: Longer than a server needs for any single answer to a verb.
ANSWER_TIMEOUT_S = 60.0
#: For the first answer of a server, which tells whether it leads.
_FIRST_ANSWER_TIMEOUT_S = 10.0

Push = Callable[[Any], None]


def caller_name(verb: str) -> str:
    """What a verb calls itself at servers: for people."""
    return f"ringfs {verb} on {socket.gethostname()}, pid {os.getpid()}"


@asynccontextmanager
async def reach_leader(config: ClusterConfig, verb: str, on_push: Push | None = None) -> AsyncIterator[RpcClient]:
    """A connection to the metadata server that leads. Raises NotReachable."""
    address, _ = await _find_leader(config, verb)
    async with open_client(address, config.load_key(), name=caller_name(verb), on_push=on_push) as client:
        yield client


async def ask_status(config: ClusterConfig, verb: str) -> Status:
    """The status of the cluster as its leader tells it. Raises NotReachable."""
    return (await _find_leader(config, verb))[1]


async def _find_leader(config: ClusterConfig, verb: str) -> tuple[str, Status]:
    """Address and status of the first server that answers as leader."""
    failures = []
    for server in config.meta:
        try:
            return server.address, await _status_of(server.address, config.load_key(), verb)
        except* (ConnectionLost, Refused) as group:
            failures.append(f"{server.name}: {first_error(group)}")
    raise NotReachable(f"no metadata server answers ({'; '.join(failures)}): start it, or look at its log")


async def _status_of(address: str, key: bytes, verb: str) -> Status:
    async with open_client(address, key, name=caller_name(verb)) as client:
        status: Status = (await client.call(GetStatus(), timeout_s=_FIRST_ANSWER_TIMEOUT_S)).message
        return status


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """A leaf of the group."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
