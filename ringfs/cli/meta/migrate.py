"""`ringfs meta migrate`."""

from pathlib import Path

import click
import trio

from ringfs.base.clock import SystemClock
from ringfs.base.config import ClusterConfig, MetaConfig, load_config
from ringfs.cli.meta.etcd import open_etcd
from ringfs.cli.meta.run import server_named


@click.command("migrate")
@click.argument("config_path", metavar="CONFIG", type=click.Path(path_type=Path))
@click.option("--name", help="Which [[meta]] of CONFIG has the state. Default: the only one.")
def command(config_path: Path, name: str | None) -> None:
    """Let the journal of a single metadata server, which is stopped, go on in the etcd that CONFIG now names.

    Then start that server first: it makes a snapshot, from which others begin. Interrupted, it can be done again.

    Starting etcd is yours, also for a cluster of `ringfs dev`: that starts only members of etcd which it made itself, and no
    cluster that it made with one metadata server has any.

    \b
    Example:  ringfs meta migrate /etc/ringfs/cluster.toml --name meta1
    """
    config = load_config(config_path.absolute())
    server = server_named(config, name)
    position = trio.run(_migrate, config, server)
    click.echo(f"the journal goes on in etcd after transaction {position}: start {server.name} first")


async def _migrate(config: ClusterConfig, server: MetaConfig) -> int:
    from ringfs.meta.migrating import migrate

    with open_etcd(config) as (etcd, prefix):
        return await migrate(etcd, prefix, server.state, config.cluster, config.default_class, SystemClock())
