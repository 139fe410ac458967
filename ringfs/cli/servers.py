"""What each metadata server of a cluster says of itself, asked side by side, and which of them leads. Failure is one line."""

import os
import socket
from functools import partial

import trio

from ringfs.base.config import ClusterConfig, MetaConfig
from ringfs.base.errors import ConnectionLost, Refused
from ringfs.cli.exits import NotReachable
from ringfs.wire.messages.cluster import ROLE_LEADER, ROLE_STANDBY, ServerStatus
from ringfs.wire.rpc import open_client
from ringfs.wire.scouting import ask_server, role_text

#: A server answers at once, whatever it is busy with; one that is stopped never does.
_TIMEOUT_S = 3.0
_SILENT = f"does not answer in {_TIMEOUT_S:g} s"
#: After one has said that it leads, another one may still say that it does in a newer term.
_NEWER_TERM_S = 0.2

#: By name what each server says, or why it could not be asked.
Told = dict[str, ServerStatus | str]


def caller_name(verb: str) -> str:
    """What a verb calls itself at servers: for people."""
    return f"ringfs {verb} on {socket.gethostname()}, pid {os.getpid()}"


async def ask_servers(config: ClusterConfig, verb: str, *, leader_is_enough: bool = False) -> Told:
    """Ask all; once more if nobody answers, since it may be this machine that stood still. leader_is_enough: who has not answered
    soon after the leader is left out."""
    told = await _ask_once(config, verb, leader_is_enough=leader_is_enough)
    if _SILENT in told.values() and not any(isinstance(status, ServerStatus) for status in told.values()):
        told = await _ask_once(config, verb, leader_is_enough=leader_is_enough)
    return told


async def _ask_once(config: ClusterConfig, verb: str, *, leader_is_enough: bool) -> Told:
    told: Told = dict.fromkeys((server.name for server in config.meta), _SILENT)
    connect = partial(open_client, key=config.load_key(), name=caller_name(verb))

    async def ask(server: MetaConfig) -> None:
        try:
            told[server.name] = status = await ask_server(connect, server.address)
        except (ConnectionLost, Refused) as error:
            told[server.name] = str(error)
        else:
            if status.role == ROLE_LEADER and leader_is_enough:
                scope.deadline = min(scope.deadline, trio.current_time() + _NEWER_TERM_S)

    with trio.move_on_after(_TIMEOUT_S) as scope:
        async with trio.open_nursery() as nursery:
            for server in config.meta:
                nursery.start_soon(ask, server)
    return told


def leader_among(told: Told) -> ServerStatus:
    """The one that leads, in the newest term. Raises NotReachable, with what each has said."""
    statuses = [status for status in told.values() if isinstance(status, ServerStatus)]
    leaders = [status for status in statuses if status.role == ROLE_LEADER]
    if leaders:
        return max(leaders, key=lambda status: status.term)
    said = "; ".join(_said(name, status) for name, status in told.items())
    if statuses:
        raise NotReachable(f"no metadata server leads ({said}): look at etcd, and at their logs")
    raise NotReachable(f"no metadata server answers ({said}): start it, or look at its log")


def _said(name: str, status: ServerStatus | str) -> str:
    return f"{name} {role_text(status)}" if isinstance(status, ServerStatus) else f"{name}: {status}"


def role_of(status: ServerStatus) -> str:
    """In a word."""
    return {ROLE_LEADER: "leader", ROLE_STANDBY: "standby"}.get(status.role, "starting")
