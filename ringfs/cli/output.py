"""How verbs show things: plain aligned tables, sizes and ages for people, progress only on a terminal."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Aligned columns, two blanks apart; `right` names the columns aligned to the right. Lines carry no trailing blanks."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]

    def cell(text: str, column: int) -> str:
        return text.rjust(widths[column]) if column in right else text.ljust(widths[column])

    return "\n".join("  ".join(cell(text, column) for column, text in enumerate(line)).rstrip() for line in lines)


def size_text(size_bytes: int) -> str:
    """Bytes for people: 3 significant digits and a binary unit."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if size < 999.5 or unit == "PiB":
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.3g} {unit}"
        size /= 1024
    raise AssertionError("the last unit takes everything")


def age_text(age_s: float) -> str:
    """A duration for people: the largest unit and the next."""
    seconds = int(age_s)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    if seconds < 86400:
        return f"{seconds // 3600} h {seconds % 3600 // 60} min"
    return f"{seconds // 86400} d {seconds % 86400 // 3600} h"


class Progress(Protocol):
    """What long work reports to."""

    def step(self, what: str, done: int = 0, total: int | None = None) -> None:
        """What is being done now, and how far it is."""
        ...


class _Quiet:
    def step(self, what: str, done: int = 0, total: int | None = None) -> None:
        """Nobody is watching."""


@contextmanager
def progress() -> Iterator[Progress]:
    """A live line on stderr if that is a terminal, else nothing."""
    if not sys.stderr.isatty():
        yield _Quiet()
        return
    from rich.console import Console  # only a person waits for rich to be imported
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=None)

        class Live:
            def step(self, what: str, done: int = 0, total: int | None = None) -> None:
                """See Progress."""
                bars.update(task, description=what, completed=done, total=total)

        yield Live()
