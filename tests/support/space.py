"""What a dev cluster uses of its disks, by what nodes report and by what is in their segment files; what it should, by theory."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ringfs.ring.classes import parse_class
from tests.support.mounts import DevCluster

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Space:
    """At one moment. `used`: what each node says that its parts take; `in_segments`: what was ever written to its segment files and
    not given back; `allocated`: what the file system has set apart for them, with room for more."""

    used: list[int]
    in_segments: int
    allocated: int
    index: int
    metadata: int
    #: Bytes that files have, and bytes of objects that wait for their deletion.
    live: int
    dead: int
    #: Of statvfs.
    total: int
    free: int


def measure(cluster: DevCluster, mount: Path | None = None) -> Space:
    """As the nodes' heartbeats told a second ago."""
    status = json.loads(cluster.ringfs("status", "--json", "--cluster", cluster.directory, check=False).stdout)
    segments = list(cluster.directory.glob("data*/disk/segments/*"))
    told = os.statvfs(mount or cluster.mount)
    return Space(
        used=[node["used_bytes"] for node in status["nodes"]],
        in_segments=sum(map(_data_bytes, segments)),
        allocated=sum(map(_allocated_bytes, segments)),
        index=sum(map(_allocated_bytes, cluster.directory.glob("data*/disk/index/*"))),
        metadata=sum(map(_allocated_bytes, cluster.directory.glob("meta*/state/**/*"))),
        live=status["live_bytes"],
        dead=status["dead_bytes"],
        total=told.f_blocks * told.f_frsize,
        free=told.f_bavail * told.f_frsize,
    )


def _allocated_bytes(path: Path) -> int:
    try:
        return path.stat().st_blocks * 512
    except FileNotFoundError:
        return 0


def _data_bytes(path: Path) -> int:
    """Of what was written and not punched: space that was set apart and never written counts as a hole."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return 0
    try:
        return sum(_stretches(descriptor))
    finally:
        os.close(descriptor)


def _stretches(descriptor: int) -> Iterator[int]:
    at = 0
    while True:
        try:
            start = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError:
            return  # no more data
        at = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield at - start


def stored_bytes(size_bytes: int, class_text: str) -> float:
    """What large files of a class take on all disks together, if nothing but their bytes counted."""
    return size_bytes * parse_class(class_text).overhead


def set_capacity(cluster: DevCluster, names: list[str], capacity_bytes: int | None) -> None:
    """Of data nodes, which are killed and started for it. The mount stays."""
    config = cluster.directory / "cluster.toml"
    text = re.sub(r"capacity_bytes = \d+\n", "", config.read_text())
    if capacity_bytes is not None:
        text = re.sub(r'(disk = ".*"\n)', rf"\1capacity_bytes = {capacity_bytes}\n", text)
    config.write_text(text)
    for name in names:
        cluster.dev("kill", name)
    cluster.dev("up")
