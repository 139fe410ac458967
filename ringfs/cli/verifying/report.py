"""What verify says: of each file, and of all together. Pure but for what is printed."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import click

from ringfs.cli.manifest import escape
from ringfs.cli.output import size_text
from ringfs.cli.verifying.parts import BadPart


@dataclass(frozen=True, slots=True)
class FileResult:
    """A file. `digest` is its BLAKE3, None if it could not be read; `why` says what is wrong besides bad parts, or is empty."""

    path: str
    digest: bytes | None
    size_bytes: int
    objects: int = 0
    parts: int = 0
    bad: tuple[BadPart, ...] = ()
    why: str = ""
    #: What is to be known and no fault: it was written to while it was read, it is not in the list.
    note: str = ""

    @property
    def is_good(self) -> bool:
        """Nothing is wrong with it."""
        return not self.why and not self.bad


@dataclass(slots=True)
class Totals:
    """Over all files. `silent`: nodes that could not be asked, and why."""

    files: int = 0
    bad_files: int = 0
    bytes: int = 0
    parts: int = 0
    bad_parts: int = 0
    missing_files: int = 0
    silent: dict[str, str] = field(default_factory=dict)

    def add(self, result: FileResult) -> None:
        """One more."""
        self.files += 1
        self.bad_files += not result.is_good
        self.bytes += result.size_bytes
        self.parts += result.parts
        self.bad_parts += len(result.bad)

    @property
    def is_good(self) -> bool:
        """Nothing is wrong with any, and none is missing."""
        return not self.bad_files and not self.missing_files


class View(Protocol):
    """Called in this order: file …, missing …, end."""

    def file(self, result: FileResult) -> None:
        """One that was verified."""
        ...

    def missing(self, path: str) -> None:
        """One that the list has and the file system has not."""
        ...

    def end(self, totals: Totals) -> None:
        """All that was to be done is done."""
        ...


class TextView:
    """For people: a line for each file."""

    def file(self, result: FileResult) -> None:
        """See View."""
        digest = "-" * 64 if result.digest is None else result.digest.hex()
        click.echo(f"{'ok ' if result.is_good else 'BAD'}  {digest}  {escape(result.path)}" + _note(result))
        for bad in result.bad:
            click.echo(f"     object {bad.object}, {bad.part} on {bad.node}: {bad.what}")

    def missing(self, path: str) -> None:
        """See View."""
        click.echo(f"BAD  {'-' * 64}  {escape(path)}: is in the list, and not there")

    def end(self, totals: Totals) -> None:
        """See View."""
        for name, why in totals.silent.items():
            click.echo(f"node {name} could not be asked: {why}")
        read = f"{totals.files} files, {size_text(totals.bytes)}, {totals.parts} copies and fragments read and verified"
        missing = f", {totals.missing_files} missing" if totals.missing_files else ""
        bad = f"{totals.bad_files} bad files, {totals.bad_parts} bad copies or fragments{missing}"
        click.echo(f"{read}: {'all good' if totals.is_good else bad}")


def _note(result: FileResult) -> str:
    return f": {result.why}" if result.why else f" ({result.note})" if result.note else ""


class JsonView:
    """One JSON object, written as it is learned."""

    def __init__(self) -> None:
        #: Before the next file.
        self._before = '{"files": ['

    def file(self, result: FileResult) -> None:
        """See View."""
        self._show(_to_json(result))

    def missing(self, path: str) -> None:
        """See View."""
        self._show(_to_json(FileResult(path, None, 0, why="is in the list, and not there")))

    def _show(self, shown: dict[str, Any]) -> None:
        click.echo(self._before + json.dumps(shown), nl=False)
        self._before = ",\n"

    def end(self, totals: Totals) -> None:
        """See View."""
        start = self._before if self._before.startswith("{") else ""
        click.echo(f"{start}], " + json.dumps({"totals": asdict(totals), "good": totals.is_good})[1:])


def _to_json(result: FileResult) -> dict[str, Any]:
    digest = None if result.digest is None else result.digest.hex()
    return {**asdict(result), "digest": digest, "good": result.is_good}
