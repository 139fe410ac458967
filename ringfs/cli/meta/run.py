"""`ringfs meta run`, or `ringfs meta` for short."""

from functools import partial
from pathlib import Path

import click

from ringfs.base.config import ClusterConfig, MetaConfig, load_config
from ringfs.base.errors import UserError
from ringfs.base.limits import MIB
from ringfs.cli.daemon import Started, run_daemon, run_dir_option, until_told
from ringfs.cli.output import progress
from ringfs.meta.object_store import OpenObjectStore


@click.command("run")
@run_dir_option
@click.argument("config_path", metavar="CONFIG", type=click.Path(path_type=Path))
@click.option("--name", help="Which [[meta]] of CONFIG to be. Default: the only one.")
@click.option("--restore", "is_restored", is_flag=True, help="First throw its state away, and make it anew from ring and etcd.")
def command(run_dir: Path | None, config_path: Path, name: str | None, is_restored: bool) -> None:
    """Run a metadata server in the foreground. The first start formats its empty state directory.

    Says "ready" on standard output when it serves. SIGTERM ends it; whatever it answered is durable already. With [etcd], a server
    whose state directory is empty begins from ring and etcd by itself; --restore is for one whose state is damaged, or an old copy.

    \b
    Example:  ringfs meta run /etc/ringfs/cluster.toml --name meta1
    """
    config = load_config(config_path.absolute())
    server = server_named(config, name)

    async def main(started: Started) -> None:
        from ringfs.cli.ring_objects import ring_objects
        from ringfs.meta.daemon import run_meta

        ring = partial(ring_objects, config.load_key(), f"ringfs meta {server.name}")
        if is_restored:
            await _restore(config, server, ring)
        await until_told(lambda: run_meta(config, server.name, ring, started=lambda at: started(f"{server.name} serves {at}")))

    run_daemon(config, run_dir, main)


def server_named(config: ClusterConfig, name: str | None) -> MetaConfig:
    """The metadata server of that name; None: the only one. Raises UserError."""
    if name is None:
        if len(config.meta) != 1:
            raise UserError(f"{config.path} has several metadata servers: say which with --name")
        return config.meta[0]
    return config.meta_named(name)


async def _restore(config: ClusterConfig, server: MetaConfig, ring: OpenObjectStore) -> None:
    """Raises UserError, with the state as it was."""
    from ringfs.cli.meta.etcd import open_etcd
    from ringfs.meta.restoring import restore

    with progress() as shown, open_etcd(config) as (etcd, prefix):
        async with ring() as objects:
            last = await restore(
                etcd,
                prefix,
                objects,
                server.state / "store",
                config.cluster,
                lambda done, total: shown.step("reading the snapshot: MiB", done // MIB, total // MIB),
            )
    click.echo(f"{server.name} is restored; the journal goes on to transaction {last}", err=True)
