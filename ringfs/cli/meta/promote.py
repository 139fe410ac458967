"""`ringfs meta promote`."""

import json
import time
from contextlib import suppress

import click
import trio

from ringfs.base.config import ClusterConfig
from ringfs.base.errors import ConnectionLost, Refused, UserError
from ringfs.cli import exits
from ringfs.cli.output import json_option
from ringfs.cli.place import cluster_option, find_cluster
from ringfs.cli.reach import ANSWER_TIMEOUT_S, reach_leader
from ringfs.cli.servers import ask_servers
from ringfs.wire.messages.cluster import ROLE_LEADER, ROLE_STANDBY, Promote, ServerStatus

#: How long is waited for the named server to lead.
_TIMEOUT_S = 30.0
_LOOK_S = 0.05


@click.command("promote")
@click.argument("name")
@cluster_option
@json_option
def command(name: str, cluster: str | None, as_json: bool) -> int:
    """Have the metadata server NAME lead, now: for upgrades and repairs. Clients notice a pause of less than a second.

    \b
    Example:  ringfs meta promote meta2 --cluster ./cluster
    """
    config = find_cluster(cluster, None)
    config.meta_named(name)
    term, seconds = trio.run(_promote, config, name)
    if as_json:
        click.echo(json.dumps({"leader": name, "term": term, "seconds": round(seconds, 3)}))
    else:
        click.echo(f"{name} leads, term {term}, after {seconds:.2f} s")
    return exits.OK


async def _promote(config: ClusterConfig, name: str) -> tuple[int, float]:
    """Its term, and the seconds it took. Raises UserError, NotReachable, NotClean."""
    if config.etcd is None:
        raise UserError(f"{config.path} has one metadata server on the file journal: there is nobody to hand over to")
    told = (await ask_servers(config, "promote"))[name]
    if not isinstance(told, ServerStatus) or told.role not in (ROLE_STANDBY, ROLE_LEADER):
        why = told if isinstance(told, str) else told.trouble or "it is starting"
        raise exits.NotClean(f"{name} cannot lead now: {why}; see 'ringfs status'")
    begun_s = time.monotonic()
    if told.role == ROLE_STANDBY:
        await _ask_leader(config, name)
    with trio.move_on_after(_TIMEOUT_S):
        while True:
            told = (await ask_servers(config, "promote"))[name]
            if isinstance(told, ServerStatus) and told.role == ROLE_LEADER:
                return told.term, time.monotonic() - begun_s
            await trio.sleep(_LOOK_S)
    raise exits.NotClean(f"{name} does not lead after {_TIMEOUT_S:g} s: see 'ringfs status' for who does")


async def _ask_leader(config: ClusterConfig, name: str) -> None:
    try:
        async with reach_leader(config, "promote") as leader:
            # The connection ends with the leadership, perhaps before the answer.
            with suppress(ConnectionLost):
                await leader.call(Promote(name), timeout_s=ANSWER_TIMEOUT_S)
    except Refused as refused:
        raise UserError(f"the leader refuses: {refused}") from None
