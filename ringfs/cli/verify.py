"""`ringfs verify`."""

import os
import stat
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import BinaryIO

import click
import trio

from ringfs.base.config import ClusterConfig
from ringfs.base.errors import Code, Refused, UserError
from ringfs.base.ids import ROOT_INODE
from ringfs.base.limits import MIB
from ringfs.base.log import set_up_log
from ringfs.cli import exits
from ringfs.cli.checking.nodes import reach_nodes
from ringfs.cli.locate import find_inode, read_attributes
from ringfs.cli.manifest import pack_line, parse_lines
from ringfs.cli.output import Progress, json_option, progress, size_text
from ringfs.cli.place import cluster_option, find_in_cluster
from ringfs.cli.session import Session, open_session
from ringfs.cli.verifying.files import Found, files_at
from ringfs.cli.verifying.parts import PartVerifier
from ringfs.cli.verifying.report import FileResult, JsonView, TextView, Totals, View
from ringfs.cli.verifying.verifier import Verifier
from ringfs.client.file_system import FileSystem
from ringfs.client.opening import open_file_system
from ringfs.wire.messages.quota import GetQuota

#: The whole of more places than these is not asked for before they are read.
_SIZED_MAX = 64

#: A path, and its inode if a mount tells it.
Place = tuple[str, int | None]


@click.command("verify")
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option("--manifest", metavar="FILE", help="Write the BLAKE3 of every file that could be read, in the format of b3sum.")
@click.option("--against", metavar="FILE", help="Compare with such a list; without PATHs, verify the files in it.")
@cluster_option
@json_option
def command(paths: tuple[str, ...], manifest: str | None, against: str | None, cluster: str | None, as_json: bool) -> int:
    """Prove that files are as they were written: the nodes read every copy and fragment of them from their disks and verify it, and
    the whole content is read as a mount reads it. Directories stand for all files below them. Exit code 1 if anything is bad.

    What is bad on a disk, the node mends from the others. PATH is in a mount; with --cluster a path below the root.

    \b
    Example:  ringfs verify /mnt/ringfs/archive --manifest archive.b3
              ringfs verify --against archive.b3
    """
    set_up_log("error")  # what the client has to say of a node that answers wrongly, the report says
    expected = None if against is None else _read_list(against)
    chosen = paths or tuple(expected or ())
    if not chosen:
        raise click.UsageError("name a file or directory, or a list of files with --against")
    config, places = _find(chosen, cluster, is_list=not paths)
    view: View = JsonView() if as_json else TextView()
    with progress() as shown, _opened(manifest) as file:
        totals = trio.run(_verify, config, places, _Job(chosen, expected, file, view, shown))
    view.end(totals)
    return exits.OK if totals.is_good else exits.NOT_CLEAN


def _read_list(path: str) -> dict[str, bytes]:
    try:
        with open(path, "rb") as file:
            return parse_lines(file, path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


@contextmanager
def _opened(path: str | None) -> Iterator[BinaryIO | None]:
    """The list that is to be written, which takes its name when it is complete."""
    if path is None:
        yield None
        return
    new = f"{path}.new"
    try:
        with open(new, "wb") as file:
            yield file
        os.replace(new, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            os.unlink(new)


def _find(paths: Sequence[str], cluster: str | None, *, is_list: bool) -> tuple[ClusterConfig, list[Place]]:
    """All are in one cluster. What a list names and is not there is left out, as long as anything is there."""
    there = [path for path in paths if os.path.lexists(path)] if is_list and cluster is None else list(paths)
    found = [(path, *find_in_cluster(path, cluster)) for path in there or paths[:1]]
    for path, config, _ in found:
        if config.cluster != found[0][1].cluster:
            raise UserError(f"{found[0][0]} and {path} are in two clusters: verify one after the other")
    return found[0][1], [(path, number) for path, _, number in found]


@dataclass(slots=True)
class _Job:
    """What was asked for: `expected` digests by path, a list to write; and where it is shown."""

    chosen: Sequence[str]
    expected: dict[str, bytes] | None
    manifest: BinaryIO | None
    view: View
    shown: Progress
    totals: Totals = field(default_factory=Totals)

    def take(self, result: FileResult) -> None:
        """One file is done."""
        self.totals.add(result)
        self.view.file(result)
        if self.expected is not None:
            self.expected.pop(result.path, None)
        if self.manifest is not None and result.digest is not None:
            self.manifest.write(pack_line(result.path, result.digest))

    def end(self) -> None:
        """What the list has below the paths that were asked for, and did not come."""
        for path in self.expected or ():
            if any(path == each or path.startswith(each.rstrip("/") + "/") for each in self.chosen):
                self.totals.missing_files += 1
                self.view.missing(path)


async def _verify(config: ClusterConfig, places: Sequence[Place], job: _Job) -> Totals:
    async with (
        open_session(config, "verify") as session,
        reach_nodes(config, session.opened.map, "verify") as nodes,
        open_file_system(config, purpose="verify") as fs,
    ):
        bar = _Bar(job, await _size_of(session, places))
        verifier = Verifier(fs, PartVerifier(session, nodes), job.expected, bar.step)
        async for result in verifier.results(_files(session, fs, places, is_list=job.expected is not None)):
            job.take(result)
        job.totals.silent = {node.name: node.silent for node in nodes if node.silent}
    job.end()
    return job.totals


async def _files(session: Session, fs: FileSystem, places: Sequence[Place], *, is_list: bool) -> AsyncIterator[Found]:
    for path, known in places:
        try:
            number = await find_inode(session, path) if known is None else known
        except Refused as refused:
            if is_list and refused.code in (Code.NOT_FOUND, Code.NOT_DIRECTORY):
                continue
            raise
        async for found in files_at(fs, path, number):
            yield found


async def _size_of(session: Session, places: Sequence[Place]) -> int | None:
    """Bytes in files at these places, holes left out; None: it would take long to know."""
    if len(places) > _SIZED_MAX or any(number is None for _, number in places):
        return None
    size_bytes = 0
    for _, number in places:
        attributes = await read_attributes(session, number or ROOT_INODE)
        is_directory = stat.S_ISDIR(attributes.mode)
        size_bytes += (await session.ask(GetQuota(attributes.inode))).bytes_used if is_directory else attributes.size_bytes
    return size_bytes


class _Bar:
    """How far it is: bytes that were read."""

    def __init__(self, job: _Job, size_bytes: int | None) -> None:
        self._job = job
        self._size_bytes = size_bytes
        self._read_bytes = 0

    def step(self, read_bytes: int) -> None:
        """So many more."""
        self._read_bytes += read_bytes
        whole_mib = None if self._size_bytes is None else max(self._size_bytes, self._read_bytes) // MIB
        what = f"verifying: {self._job.totals.files} files, {size_text(self._read_bytes)}; MiB"
        self._job.shown.step(what, self._read_bytes // MIB, whole_mib)
