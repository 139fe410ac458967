"""A dev cluster on disk: DIR with cluster.toml, the key, and a directory for each process.

DIR/cluster.toml   configuration of every process        DIR/key        the cluster key, mode 0600
DIR/dev.lock       marks a dev cluster; held by one      DIR/mnt        where mount1 is mounted if nothing is said
                   `ringfs dev` command at a time
DIR/etcd.members   where the members of etcd are, if there are several metadata servers
DIR/NAME/          pid, log, exit (code and last words of a process that ended by itself), and
                   state/ (etcd, meta), disk/ (data), or mount_point and perhaps driver (mount)
"""

import fcntl
import os
import re
import secrets
import shutil
import sys
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ringfs.base.config import ClusterConfig, load_config
from ringfs.base.errors import UserError
from ringfs.cli.config_text import add_section, data_section, remove_data
from ringfs.cli.dev import etcd
from ringfs.cli.dev.ports import free_ports
from ringfs.cli.place import CONFIG_NAME

_MARK = "dev.lock"
_MOUNT_POINT = "mount_point"
_DRIVER = "driver"
_DATA_NAME = re.compile(r"data([1-9][0-9]{0,5})")


@dataclass(frozen=True, slots=True)
class Server:
    """One process of a dev cluster: its verb, and what the verb is given after the configuration; options come before arguments.

    A member of etcd has "etcd" for a verb, and all it is told as arguments.
    """

    name: str
    verb: str
    arguments: tuple[str, ...]
    directory: Path
    options: tuple[str, ...] = ()

    @property
    def log(self) -> Path:
        """Where it writes its log."""
        return self.directory / "log"


class Layout:
    """The files of one dev cluster."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config_path = root / CONFIG_NAME
        #: As of the last reading; changed only under the lock, by grow().
        self.config: ClusterConfig = load_config(self.config_path)

    def servers(self) -> list[Server]:
        """All processes in the order in which they are started: etcd, metadata, data nodes, mounts."""
        meta = [Server(row.name, "meta", ("--name", row.name), self.root / row.name) for row in self.config.meta]
        processes = dict.fromkeys(row.process for row in self.config.data)
        data = [Server(name, "data", (name,), self.root / name) for name in processes]
        return self.members() + meta + data + self.mounts()

    def members(self) -> list[Server]:
        """The members of etcd; none if the only metadata server has a journal of its own, or etcd is none of ours."""
        members = etcd.read_members(self.root)
        return [
            Server(each.name, etcd.ETCD, etcd.options_of(each, members, self.config.cluster), self.root / each.name)
            for each in members
        ]

    def mounts(self) -> list[Server]:
        """The mounts, in order of their number."""
        return mounts_in(self.root)

    def server(self, name: str) -> Server:
        """The process of that name. Raises UserError."""
        servers = self.servers()
        for server in servers:
            if server.name == name:
                return server
        raise UserError(f"{self.root} has no process {name!r}: it has {', '.join(server.name for server in servers)}")

    def set_mount(self, name: str, point: Path, driver: str | None) -> Server:
        """Say where a mount belongs, and through which driver if that is to change; it is not started."""
        directory = self.root / name
        directory.mkdir(exist_ok=True)
        _write(directory / _MOUNT_POINT, os.fsencode(point))
        if driver is not None:
            _write(directory / _DRIVER, driver.encode())
        return _mount_in(directory)

    def mount_for(self, point: Path, driver: str | None) -> Server:
        """The mount that belongs at point, or a new one."""
        mounts = self.mounts()
        taken = {server.name for server in mounts}
        free = next(f"mount{number}" for number in range(1, len(taken) + 2) if f"mount{number}" not in taken)
        name = next((server.name for server in mounts if server.arguments == (str(point),)), free)
        return self.set_mount(name, point, driver)

    def grow(self, count: int) -> list[Server]:
        """Add so many data nodes to the configuration: the new ones. Numbers of nodes that are gone may come back, disks do not."""
        numbers = [int(found[1]) for row in self.config.data if (found := _DATA_NAME.fullmatch(row.name))]
        first = max(numbers, default=0) + 1
        added = range(first, first + count)
        _make_disks(self.root, added)
        for number, port in zip(added, free_ports(count), strict=True):
            self.config = add_section(self.config_path, _data_section(number, port))
        return [self.server(f"data{number}") for number in added]

    def shrink(self, name: str) -> None:
        """Take a data node out of the configuration, and remove its directory with all that it held."""
        self.config = remove_data(self.config_path, name)
        shutil.rmtree(self.root / name, ignore_errors=True)


def mounts_in(root: Path) -> list[Server]:
    """The mounts that were ever made for a cluster, in order of their number."""
    found = []
    for entry in root.iterdir():
        number = re.fullmatch(r"mount([1-9][0-9]*)", entry.name)
        if number and (entry / _MOUNT_POINT).is_file():
            found.append((int(number.group(1)), _mount_in(entry)))
    return [server for _, server in sorted(found, key=lambda pair: pair[0])]


def _mount_in(directory: Path) -> Server:
    """The mount whose files are in a directory."""
    point = os.fsdecode((directory / _MOUNT_POINT).read_bytes())
    driver = directory / _DRIVER
    options = ("--driver", driver.read_text()) if driver.is_file() else ()
    return Server(directory.name, "mount", (point,), directory, options)


def is_dev_cluster(root: Path) -> bool:
    """Whether `ringfs dev up` made this directory."""
    return (root / _MARK).is_file() and (root / CONFIG_NAME).is_file()


def find_root(directory: str) -> Path:
    """The real path of a directory that holds a dev cluster. Raises UserError."""
    root = Path(directory).resolve()
    if not root.is_dir():
        raise UserError(f"{directory} does not exist: 'ringfs dev up {directory}' makes a cluster there")
    if not is_dev_cluster(root):
        raise UserError(f"{directory} is no dev cluster (it has no {_MARK} and {CONFIG_NAME}): name one that 'ringfs dev up' made")
    return root


def open_layout(directory: str) -> Layout:
    """The dev cluster in a directory. Raises UserError."""
    return Layout(find_root(directory))


def create_layout(root: Path, data_count: int, class_text: str, meta_count: int = 1) -> Layout:
    """Make a dev cluster in a directory that is new or empty. cluster.toml comes last: without it there is no cluster yet."""
    (root / _MARK).touch()
    _write(root / "key", secrets.token_hex(32).encode() + b"\n", mode=0o600)
    _make_disks(root, range(1, data_count + 1))
    member_count = meta_count if meta_count > 1 else 0
    ports = iter(free_ports(meta_count + data_count + 2 * member_count))
    sections = [_head(class_text)]
    sections += (_meta_section(number, next(ports)) for number in range(1, meta_count + 1))
    sections += (_data_section(number, next(ports)) for number in range(1, data_count + 1))
    members = etcd.make_members(list(ports))
    _write(root / etcd.LIST_NAME, etcd.pack_members(members))
    sections.append(_RING_SECTION)
    if members:
        sections.append(_etcd_section(members))
    _write(root / CONFIG_NAME, "".join(sections).encode())
    return Layout(root)


def check_creatable(root: Path) -> None:
    """Refuse a directory that holds something else than a dev cluster, finished or begun. Raises UserError."""
    if root.exists() and not root.is_dir():
        raise UserError(f"{root} is not a directory: name a new or empty one")
    if root.is_dir() and not (root / _MARK).is_file() and any(root.iterdir()):
        raise UserError(f"{root} is not empty and no dev cluster: name a new or empty directory")


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """One `ringfs dev` command at a time changes a cluster."""
    with (root / _MARK).open("ab") as mark:
        try:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"ringfs: waiting for another 'ringfs dev' command on {root}", file=sys.stderr)
            fcntl.flock(mark, fcntl.LOCK_EX)
        yield


def _make_disks(root: Path, numbers: Iterable[int]) -> None:
    """Once, before a node is known: a disk that is missing later is not there, and must not be made anew."""
    for number in numbers:
        (root / f"data{number}" / "disk").mkdir(parents=True, exist_ok=True)


#: What takes minutes and hours elsewhere is to be seen here.
_RING_SECTION = "\n[ring]\nout_after_s = 30\nscan_s = 30\nsweep_after_s = 300\n"


def _head(class_text: str) -> str:
    return (
        "# Made by `ringfs dev up`. Every process of this cluster reads it when it starts.\n"
        f'cluster = "{uuid.uuid4()}"\nkey_file = "key"\ndefault_class = "{class_text}"\n'
    )


def _meta_section(number: int, port: int) -> str:
    return f'\n[[meta]]\nname = "meta{number}"\naddress = "127.0.0.1:{port}"\nstate = "meta{number}/state"\n'


def _data_section(number: int, port: int) -> str:
    return data_section(f"data{number}", f"127.0.0.1:{port}", [f"data{number}/disk"])


def _etcd_section(members: Iterable[etcd.Member]) -> str:
    endpoints = ", ".join(f'"{member.client}"' for member in members)
    return f"\n[etcd]\nendpoints = [{endpoints}]\n"


def _write(path: Path, content: bytes, mode: int = 0o644) -> None:
    """All of it or nothing, also after a crash."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with open(new, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
