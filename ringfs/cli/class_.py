"""`ringfs class`: show and set the class of service of files and directories."""

import json
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass

import click
import trio

from ringfs.base.config import ClusterConfig
from ringfs.base.errors import Code, Refused, UserError
from ringfs.cli import exits
from ringfs.cli.healing import Bar, wait_healed
from ringfs.cli.locate import find_inode
from ringfs.cli.output import Progress, json_option, progress, size_text
from ringfs.cli.place import cluster_option, find_in_cluster
from ringfs.cli.reach import ANSWER_TIMEOUT_S, reach_leader
from ringfs.cli.session import open_session
from ringfs.cli.verifying.files import Found, tree_at
from ringfs.client.file_system import FileSystem
from ringfs.client.opening import open_file_system
from ringfs.ring.classes import parse_class
from ringfs.wire.messages.common import CLASS_XATTR, Attributes
from ringfs.wire.messages.heal import Reclass, Reclassed, StartHeal
from ringfs.wire.messages.quota import GetQuota
from ringfs.wire.rpc import RpcClient

_DEFAULT = "default"


@click.group("class")
def command() -> None:
    """How files are stored: replica:N are N copies; ec:K+M are K fragments of the data and M of parity, any K of which suffice.

    A class survives the loss of N-1, or M, failure domains. What is made in a directory has the directory's class.
    In a mount, 'setfattr -n user.ringfs.class -v CLASS PATH' sets it too.

    \b
    Example:  ringfs class show /mnt/ringfs/archive
              ringfs class set /mnt/ringfs/archive ec:4+2 --recursive --wait
    """


@dataclass(slots=True)
class Done:
    """What was set: how many files and directories have another class now, and how much of their data is to be stored anew."""

    path: str
    stored_class: str
    files: int = 0
    directories: int = 0
    changed_objects: int = 0
    changed_bytes: int = 0
    is_healed: bool = False


@command.command("show")
@click.argument("path")
@cluster_option
@json_option
def show_command(path: str, cluster: str | None, as_json: bool) -> int:
    """Show the class of PATH: that of a file's data, or of what is made in a directory.

    \b
    Example:  ringfs class show /mnt/ringfs/archive
    """
    config, number = find_in_cluster(path, cluster)
    text, is_own = trio.run(_show, config, path, number)
    if as_json:
        click.echo(json.dumps({"path": path, "class": text, "is_default": not is_own}))
    else:
        click.echo(f"{path}  {text}{'' if is_own else ' (the default)'}")
    return exits.OK


@command.command("set")
@click.argument("path")
@click.argument("class_text", metavar="CLASS")
@click.option("--recursive", is_flag=True, help="Also everything below the directory; its data is stored anew in the background.")
@click.option("--wait", is_flag=True, help="Return when all data is stored as it should be.")
@cluster_option
@json_option
def set_command(path: str, class_text: str, recursive: bool, wait: bool, cluster: str | None, as_json: bool) -> int:
    """Give PATH the class CLASS, or "default". A file's data follows in the background; a directory's, with --recursive.

    May be repeated, and interrupted: what is done stays. It is refused if CLASS needs more failure domains than there are.

    \b
    Example:  ringfs class set /mnt/ringfs/archive ec:4+2 --recursive --wait
    """
    if class_text != _DEFAULT:
        parse_class(class_text)
    config, number = find_in_cluster(path, cluster)
    with progress() as shown:
        done = trio.run(_Setting(config, path, class_text, shown).run, number, recursive, wait)
    if as_json:
        click.echo(json.dumps({("class" if name == "stored_class" else name): value for name, value in asdict(done).items()}))
    else:
        click.echo(_told(done))
    return exits.OK


async def _show(config: ClusterConfig, path: str, number: int | None) -> tuple[str, bool]:
    """The class, and whether it was set."""
    async with _opened(config, path, number) as (fs, inode):
        text = (await fs.getxattr(inode, CLASS_XATTR)).decode()
        return text, CLASS_XATTR in await fs.listxattr(inode)
    raise AssertionError("a file system does not suppress exceptions")


@asynccontextmanager
async def _opened(config: ClusterConfig, path: str, number: int | None) -> AsyncIterator[tuple[FileSystem, int]]:
    """A file system, and the inode of the path in it."""
    if number is None:
        async with open_session(config, "class") as session:
            number = await find_inode(session, path)
    async with open_file_system(config, purpose="class") as fs:
        yield fs, number


class _Setting:
    """One `set` at work."""

    def __init__(self, config: ClusterConfig, path: str, text: str, shown: Progress) -> None:
        self._config = config
        self._text = text
        self._shown = shown
        self._done = Done(path, text)
        self._total: int | None = None

    async def run(self, number: int | None, recursive: bool, wait: bool) -> Done:
        """Set, give the objects their class, have stewards look. Raises UserError: the class is refused; Refused."""
        path, done = self._done.path, self._done
        epoch = 0
        async with _opened(self._config, path, number) as (fs, inode), reach_leader(self._config, "class") as leader:
            if recursive:
                self._total = await self._count(inode)
            async for found in tree_at(fs, path, inode):
                await self._set(fs, leader, found)
                if not recursive:
                    break
            if done.changed_objects:
                epoch = (await leader.call(StartHeal(), timeout_s=ANSWER_TIMEOUT_S)).message.epoch
        if wait:
            bar = Bar(self._shown, "storing anew")
            await wait_healed(self._config, "class", epoch, bar.show)
            done.is_healed = True
        return done

    async def _count(self, inode: int) -> int | None:
        """Files and directories at a directory and below; None if it is a file."""
        async with open_session(self._config, "class") as session:
            try:
                return int((await session.ask(GetQuota(inode))).files_used) + 1
            except Refused as refused:
                if refused.code is not Code.NOT_DIRECTORY:
                    raise
        return None

    async def _set(self, fs: FileSystem, leader: RpcClient, found: Found) -> None:
        try:
            await self._set_class(fs, found.attributes)
            if stat.S_ISREG(found.attributes.mode):
                await self._give_objects(leader, found.attributes.inode)
        except Refused as refused:
            if refused.code is Code.INVALID:
                raise UserError(f"cannot give {found.path} the class {self._text}: {refused.detail}") from None
            if refused.code not in (Code.STALE, Code.NO_XATTR):
                raise
        else:
            self._count_done(found)

    def _count_done(self, found: Found) -> None:
        done = self._done
        if stat.S_ISREG(found.attributes.mode):
            done.files += 1
        else:
            done.directories += 1
        count = done.files + done.directories
        self._shown.step(f"{size_text(done.changed_bytes)} to store anew; files and directories", count, self._total)

    async def _set_class(self, fs: FileSystem, known: Attributes) -> None:
        if self._text == _DEFAULT:
            if known.class_number:
                await fs.removexattr(known.inode, CLASS_XATTR)
        elif not known.class_number or fs.link.class_of(known) != self._text:
            await fs.setxattr(known.inode, CLASS_XATTR, self._text.encode())

    async def _give_objects(self, leader: RpcClient, inode: int) -> None:
        """Tell the objects of a file. What a mount has not committed yet comes with the class anyway."""
        position: tuple[int, bytes] = (0, b"")
        while position[0] >= 0:
            answer: Reclassed = (await leader.call(Reclass(inode, *position), timeout_s=ANSWER_TIMEOUT_S)).message
            position = answer.next_chunk, answer.after
            self._done.changed_objects += answer.changed_count
            self._done.changed_bytes += answer.changed_bytes


def _told(done: Done) -> str:
    what = [f"{done.path}  {done.stored_class}"]
    if done.files + done.directories > 1:
        what.append(f"{done.files} files, {done.directories} directories")
    if done.changed_objects:
        state = "stored anew" if done.is_healed else "being stored anew: see 'ringfs heal status'"
        what.append(f"{size_text(done.changed_bytes)} {state}")
    return "; ".join(what)
