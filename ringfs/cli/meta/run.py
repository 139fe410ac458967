"""`ringfs meta run`, or `ringfs meta` for short."""

from functools import partial
from pathlib import Path

import click

from ringfs.base.config import load_config
from ringfs.base.errors import UserError
from ringfs.cli.daemon import Started, run_daemon, run_dir_option, until_told


@click.command("run")
@run_dir_option
@click.argument("config_path", metavar="CONFIG", type=click.Path(path_type=Path))
@click.option("--name", help="Which [[meta]] of CONFIG to be. Default: the only one.")
def command(run_dir: Path | None, config_path: Path, name: str | None) -> None:
    """Run a metadata server in the foreground. The first start formats its empty state directory.

    Says "ready" on standard output when it serves. SIGTERM ends it; whatever it answered is durable already.

    \b
    Example:  ringfs meta run /etc/ringfs/cluster.toml --name meta1
    """
    config = load_config(config_path.absolute())
    if name is None:
        if len(config.meta) != 1:
            raise UserError(f"{config_path} has several metadata servers: say which with --name")
        name = config.meta[0].name
    server = config.meta_named(name)

    async def main(started: Started) -> None:
        from ringfs.cli.ring_objects import ring_objects
        from ringfs.meta.daemon import run_meta

        ring = partial(ring_objects, config.load_key(), f"ringfs meta {server.name}")
        await until_told(lambda: run_meta(config, server.name, ring, started=lambda at: started(f"{server.name} serves {at}")))

    run_daemon(config, run_dir, main)
