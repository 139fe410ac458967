"""`ringfs bench`."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from ringfs.base.errors import UserError
from ringfs.base.limits import MIB
from ringfs.cli.bench_runs import RUNS, Result, Sizes, scratch_in
from ringfs.cli.output import json_option, progress, table


@click.command("bench")
@click.argument("directory", metavar="DIR")
@click.option("--size", "size_mib", type=click.IntRange(1), default=256, show_default=True, help="MiB of the large file.")
@click.option("--files", "file_count", type=click.IntRange(1), default=500, show_default=True, help="Number of small files.")
@json_option
def command(directory: str, size_mib: int, file_count: int, as_json: bool) -> None:
    """A short benchmark in DIR, on a mount or any file system: one process, one thread, as most programs are.

    Works in a new directory below DIR, and removes it. tools/fio is for more.

    \b
    Example:  ringfs bench /mnt/ringfs --size 512
    """
    if not Path(directory).is_dir():
        raise UserError(f"{directory} is no directory: name one in a mount")
    results: list[Result] = []
    with scratch_in(Path(directory)) as scratch, progress() as shown:
        for number, (name, run) in enumerate(RUNS.items()):
            shown.step(name, number, len(RUNS))
            results.append(run(name, scratch, Sizes(size_mib * MIB, file_count)))
    click.echo(json.dumps([asdict(result) for result in results]) if as_json else _render(results))


def _render(results: list[Result]) -> str:
    rows = [
        (
            result.name,
            f"{result.rate:,.1f}",
            result.unit,
            f"{result.median_us:,.0f}",
            f"{result.slow_us:,.0f}",
            f"{result.seconds:.2f}",
        )
        for result in results
    ]
    return table(("WHAT", "RATE", "UNIT", "MEDIAN µs", "99 % µs", "SECONDS"), rows, right=(1, 3, 4, 5))
