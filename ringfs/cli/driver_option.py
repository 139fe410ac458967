"""`--driver`, which several verbs have."""

import click

from ringfs.fuse import DRIVERS

driver_option = click.option(
    "--driver",
    type=click.Choice(DRIVERS),
    help=f"What carries the kernel's requests: ringfs's own driver, or libfuse through pyfuse3. Default: {DRIVERS[0]}.",
)
