"""`ringfs data`."""

from pathlib import Path

import click

from ringfs.base.config import load_config
from ringfs.cli.daemon import Started, run_daemon, run_dir_option


@click.command("data")
@run_dir_option
@click.argument("config_path", metavar="CONFIG", type=click.Path(path_type=Path))
@click.argument("name", metavar="NAME")
def command(run_dir: Path | None, config_path: Path, name: str) -> None:
    """Run the data node NAME in the foreground, with all its disks. The first start formats empty disk directories.

    Says "ready" on standard output when it serves. SIGTERM ends it; whatever it acknowledged is durable already.

    \b
    Example:  ringfs data /etc/ringfs/cluster.toml data1
    """
    config = load_config(config_path.absolute())
    config.disks_of(name)

    async def main(started: Started) -> None:
        from ringfs.data.node import run_data

        await run_data(config, name, started=lambda at: started(f"{name} serves {at}"))

    run_daemon(config, run_dir, main)
