"""Load on the data path below FUSE: one client in this process, a metadata server and data nodes in others, over loopback.

    python -m tools.data_load [--rows seqread,randread] [--mib 256] [--json]

Starts a cluster of its own in a temporary directory: 3 data nodes and replica:2, or as --nodes and --class say; of several classes
(--class ec:4+2,replica:3) each has a cluster, their loads run by turns, and in the end the first one is compared with each other.
Reads are cold: a new client, and nothing of the segments in the page cache. Per operation (a call of client/file_system.py: 1 MiB,
or 4 KiB) it tells the time and the CPU of the client (this process, whose making of the load counts as its own, so that it is next
to nothing: what is written are views of 16 MiB, no two alike), of all nodes together, and of the metadata server. On a shared
machine the CPU is what to compare.
"""

import argparse
import json
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import median

import trio

from ringfs.base.config import ClusterConfig, load_config
from ringfs.base.ids import ROOT_INODE
from ringfs.base.limits import KIB, MIB
from ringfs.base.memory import collect_seldom, keep_freed_pages
from ringfs.cli.dev.ports import free_ports
from ringfs.client.file_system import Caller, FileSystem, Handle
from ringfs.client.opening import open_file_system

_STEP_BYTES = MIB
_SMALL_BYTES = 4 * KIB
#: What is written is a step long and begins at one of a prime number of places, each at a cache line of random bytes.
_BASE_BYTES = 16 * MIB
_PLACE_BYTES = 64
_PLACES = 245_759
#: From one step's place to the next one's: about a step, so that a stream finds nothing in the caches that a real one would not.
_STRIDE = 16_411
_STREAMS = 4
#: CPUCLOCK_SCHED, not of a thread (linux/posix-timers.h).
_PROCESS_CLOCK = 2
_HEAD = """\
cluster = "{cluster}"
key_file = "key"
default_class = "{stored_class}"
[log]
level = "warning"
[[meta]]
name = "meta1"
address = "{address}"
state = "meta1"
"""
_NODE = """\
[[data]]
name = "{name}"
address = "{address}"
disk = "{name}"
"""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is done."""

    file_bytes: int
    reads: int
    writes: int
    syncs: int
    files: int


@dataclass(frozen=True, slots=True)
class Row:
    """What one kind of load cost: µs of time and of CPU for each operation."""

    stored_class: str
    name: str
    ops: int
    ops_per_s: float
    mb_per_s: float
    time_us: float
    client_us: float
    nodes_us: float
    meta_us: float

    @property
    def cpu_us(self) -> float:
        """Of all processes."""
        return self.client_us + self.nodes_us + self.meta_us


@dataclass(slots=True)
class Cluster:
    """A running cluster."""

    stored_class: str
    config: ClusterConfig
    directory: Path
    meta: int
    nodes: list[int]

    def drop_caches(self) -> None:
        """Let go of what the page cache has of the segments."""
        for path in self.directory.glob("data*/segments/*"):
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)

    def cpu_s(self) -> tuple[float, float, float]:
        """Of the client, all nodes, and the metadata server."""
        own = time.process_time()
        return own, sum(process_cpu_s(pid) for pid in self.nodes), process_cpu_s(self.meta)


def process_cpu_s(pid: int) -> float:
    """User and system time of a process so far, in nanoseconds and with that of threads that have ended: clock_getcpuclockid(3)."""
    return time.clock_gettime((~pid << 3) | _PROCESS_CLOCK)


@contextmanager
def running_cluster(node_count: int, stored_class: str) -> Iterator[Cluster]:
    """A fresh cluster, gone at the end."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="ringfs-load-") as name, ExitStack() as stack:
        directory = Path(name)
        ports = free_ports(node_count + 1)
        text = _HEAD.format(cluster=uuid.uuid4(), stored_class=stored_class, address=f"127.0.0.1:{ports[0]}")
        names = [f"data{number}" for number in range(1, node_count + 1)]
        for node, port in zip(names, ports[1:], strict=True):
            text += _NODE.format(name=node, address=f"127.0.0.1:{port}")
        path = directory / "cluster.toml"
        path.write_text(text)
        (directory / "key").write_text(secrets.token_bytes(32).hex())
        (directory / "key").chmod(0o600)
        meta = _started(stack, "meta", str(path))
        for node in names:
            (directory / node).mkdir()
        nodes = [_started(stack, "data", str(path), node) for node in names]
        yield Cluster(stored_class, load_config(path), directory, meta, nodes)


def _started(stack: ExitStack, *verb: str) -> int:
    """The pid of a server that is ready; it ends with the stack."""
    server = subprocess.Popen([sys.executable, "-m", "ringfs.cli.main", *verb], stdout=subprocess.PIPE)
    stack.callback(server.wait)
    stack.callback(server.terminate)
    assert server.stdout is not None
    if not server.stdout.readline():
        raise SystemExit(f"{verb[0]} did not start")
    return server.pid


# --- the kinds of load --------------------------------------------------------------------------------------------------


class Load:
    """What is measured, by name: each takes a file system of a client that knows nothing yet."""

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        self._base = memoryview(random.Random(1).randbytes(_BASE_BYTES))
        self._steps = 0
        #: Operations of the last load, and their bytes.
        self.done = 0
        self.bytes = 0

    def kinds(self) -> dict[str, Callable[[FileSystem], Awaitable[None]]]:
        """In the order in which they can run: those that read need the files of those that write."""
        return {
            "seqwrite": lambda fs: self._write(fs, b"seq", self._sizes.file_bytes),
            "seqread": lambda fs: self._read(fs, b"seq"),
            "randread": self._random_reads,
            "par4write": lambda fs: self._parallel(self._write, fs, self._sizes.file_bytes // _STREAMS),
            "par4read": lambda fs: self._parallel(self._read, fs),
            "randwrite": self._random_writes,
            "fsync4k": self._small_syncs,
            "create4k": self._small_files,
        }

    def _note(self, size_bytes: int) -> None:
        self.done += 1
        self.bytes += size_bytes

    async def _write(self, fs: FileSystem, name: bytes, size_bytes: int) -> None:
        async with _open(fs, name, writes=True) as handle:
            for offset in range(0, size_bytes, _STEP_BYTES):
                step = self._next_step()
                await fs.write(handle, offset, step)
                self._note(len(step))
            await fs.fsync(handle)

    def _next_step(self) -> memoryview:
        """Bytes that no step before had: equal objects would be stored once."""
        self._steps += 1
        assert self._steps < _PLACES, f"no more than {_PLACES} MiB in one run"
        start = self._steps * _STRIDE % _PLACES * _PLACE_BYTES
        return self._base[start : start + _STEP_BYTES]

    async def _read(self, fs: FileSystem, name: bytes) -> None:
        async with _open(fs, name, writes=False) as handle:
            offset = 0
            while step := await fs.read(handle, offset, _STEP_BYTES):
                offset += len(step)
                self._note(len(step))

    async def _random_reads(self, fs: FileSystem) -> None:
        places = random.Random(2)
        async with _open(fs, b"seq", writes=False) as handle:
            for _ in range(self._sizes.reads):
                offset = places.randrange(self._sizes.file_bytes // _SMALL_BYTES) * _SMALL_BYTES
                self._note(len(await fs.read(handle, offset, _SMALL_BYTES)))

    async def _random_writes(self, fs: FileSystem) -> None:
        places = random.Random(3)
        async with _open(fs, b"seq", writes=True) as handle:
            for number in range(self._sizes.writes):
                offset = places.randrange(self._sizes.file_bytes // _SMALL_BYTES) * _SMALL_BYTES
                await fs.write(handle, offset, b"%16d" % number + bytes(self._base[16:_SMALL_BYTES]))
                self._note(_SMALL_BYTES)
                # A driver gives others their turn too.
                await trio.lowlevel.checkpoint()
            await fs.fsync(handle)

    async def _small_syncs(self, fs: FileSystem) -> None:
        async with _open(fs, b"sync", writes=True) as handle:
            for number in range(self._sizes.syncs):
                await fs.write(handle, number * _SMALL_BYTES, self._base[:_SMALL_BYTES])
                await fs.fsync(handle)
                self._note(_SMALL_BYTES)

    async def _small_files(self, fs: FileSystem) -> None:
        for number in range(self._sizes.files):
            async with _open(fs, b"small%d" % number, writes=True) as handle:
                await fs.write(handle, 0, self._base[:_SMALL_BYTES])
            self._note(_SMALL_BYTES)
        await fs.sync()

    async def _parallel(self, one: Callable[..., Awaitable[None]], fs: FileSystem, *arguments: int) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(_STREAMS):
                nursery.start_soon(one, fs, b"par%d" % number, *arguments)


@asynccontextmanager
async def _open(fs: FileSystem, name: bytes, *, writes: bool) -> AsyncIterator[Handle]:
    if writes:
        handle = await fs.create(ROOT_INODE, name, 0o644, Caller(), writes=True, exclusive=False)
    else:
        handle = await fs.open((await fs.lookup(ROOT_INODE, name)).number, writes=False)
    try:
        yield handle
    finally:
        await fs.release(handle)


# --- measuring ----------------------------------------------------------------------------------------------------------


async def measure(cluster: Cluster, load: Load, name: str) -> Row:
    """Run one kind of load with a new client."""
    cluster.drop_caches()
    load.done = load.bytes = 0
    async with open_file_system(cluster.config, purpose="load") as fs:
        before, begun_s = cluster.cpu_s(), time.perf_counter()
        await load.kinds()[name](fs)
        took_s = time.perf_counter() - begun_s
        used_us = [(now - then) * 1e6 / load.done for now, then in zip(cluster.cpu_s(), before, strict=True)]
    return Row(
        cluster.stored_class, name, load.done, load.done / took_s, load.bytes / took_s / 1e6, took_s * 1e6 / load.done, *used_us
    )


async def measure_all(clusters: list[Cluster], load: Load, rounds: int, wanted: Sequence[str]) -> AsyncIterator[Row]:
    """The wanted kinds of load, each on all clusters by turns."""
    made: set[str] = set()
    for number, name in product(range(rounds), load.kinds()):
        is_needed = name in ("seqwrite", "par4write") and name not in made
        if name not in wanted and not is_needed:
            continue
        made.add(name)
        # Who goes first has the disk's and the machine's moods: that is each in its turn.
        for cluster in clusters[number % len(clusters) :] + clusters[: number % len(clusters)]:
            row = await measure(cluster, load, name)
            if name in wanted:
                yield row


def compared(rows: Sequence[Row], first: str, other: str) -> Iterator[str]:
    """A line for each kind of load: how the first class did beside the other one."""
    for name in dict.fromkeys(row.name for row in rows):
        mine, its = ([row for row in rows if (row.name, row.stored_class) == (name, wanted)] for wanted in (first, other))
        rates = [own.mb_per_s / theirs.mb_per_s for own, theirs in zip(mine, its, strict=True)]
        cpu = sum(row.cpu_us for row in its) / sum(row.cpu_us for row in mine)
        yield f"{name}: {first} beside {other}: MB/s {median(rates):.2f} ({_listed(rates)}), per CPU second {cpu:.2f}"


def _listed(rates: Sequence[float]) -> str:
    return ", ".join(f"{rate:.2f}" for rate in rates)


def _print(row: Row) -> None:
    print(
        f"{row.stored_class:10} {row.name:10} {row.ops:6} {row.ops_per_s:9.0f} {row.mb_per_s:8.1f} {row.time_us:9.0f}"
        f" {row.client_us:9.0f} {row.nodes_us:9.0f} {row.meta_us:9.0f}",
        flush=True,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Load on the data path of a cluster of its own, below FUSE.")
    parser.add_argument("--rows", default="", help="which kinds of load to show, with commas between (default: all)")
    parser.add_argument("--mib", type=int, default=256, help="MiB of the large file, and of four others together (default 256)")
    parser.add_argument("--count", type=int, default=2000, help="small operations of each kind (default 2000)")
    parser.add_argument("--rounds", type=int, default=1, help="how often to run everything (default 1)")
    parser.add_argument("--json", action="store_true", help="one JSON list of rows instead of a table")
    parser.add_argument("--nodes", type=int, default=3, help="data nodes (default 3)")
    parser.add_argument(
        "--class", dest="stored_class", default="replica:2", help="class of service, or several with commas (default replica:2)"
    )
    return parser.parse_args()


async def main() -> None:
    """See the module."""
    arguments = _arguments()
    count = arguments.count
    load = Load(Sizes(arguments.mib * MIB, count, 4 * count, count // 2, count // 4))
    wanted = arguments.rows.split(",") if arguments.rows else list(load.kinds())
    classes = arguments.stored_class.split(",")
    # As a mount does.
    keep_freed_pages(32 * MIB)
    collect_seldom()
    rows: list[Row] = []
    with ExitStack() as stack:
        clusters = [stack.enter_context(running_cluster(arguments.nodes, stored_class)) for stored_class in classes]
        if not arguments.json:
            print(
                f"{'':21} {'ops':>6} {'ops/s':>9} {'MB/s':>8} {'µs/op':>9} {'client µs':>9} {'nodes µs':>9} {'meta µs':>9}",
                flush=True,
            )
        async for row in measure_all(clusters, load, arguments.rounds, wanted):
            rows.append(row)
            if not arguments.json:
                _print(row)
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows]))
        return
    for other in classes[1:]:
        for line in compared(rows, classes[0], other):
            print(line)


if __name__ == "__main__":
    trio.run(main)
