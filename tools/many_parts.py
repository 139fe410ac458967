"""A data node with very many parts: how long its start takes, what it keeps in memory, how long a page of its list takes.

    python -m tools.many_parts [--count 1000000] [--directory DIR] [--load-s 30] [--rebuild] [--json]

Fills a disk with small objects in the real format (8 KiB each; without asking a node, which would take an hour for a million),
then starts `ringfs data` on it: after a clean end, after SIGKILL at rest and under load (many_parts_load.py, with a metadata
server), and with --rebuild without its index. With --directory the disk is kept there and used again. Times are from the process's
beginning to its "ready", so they include Python's own start, and CPU that of the child which reads the index; on a shared machine
the CPU is what to compare.
"""

import argparse
import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import trio

from ringfs.base.checksums import block_table, object_id
from ringfs.base.config import load_config
from ringfs.base.files import RealFiles
from ringfs.base.kv.store import Store
from ringfs.base.limits import SEGMENT_BYTES
from ringfs.cli.dev.ports import free_ports
from ringfs.data.disk import Disk
from ringfs.data.identity import Identity, check_disk, make_identity
from ringfs.data.index import Index, position_of
from ringfs.data.segment_format import HEAD_BYTES, KIND_PART, Head, SegmentHeader, pack_head, pack_header, record_bytes
from ringfs.data.stored_part import StoredPart, Tables
from ringfs.wire.messages.data import ListObjects, ObjectPage
from ringfs.wire.rpc import open_client
from tools.data_load import process_cpu_s
from tools.many_parts_load import Load

CLUSTER = str(uuid.UUID(int=1))
_CONTENT_BYTES = 100
_RECORD_BYTES = record_bytes(_CONTENT_BYTES)
_BATCH = 512
_CHECKPOINT_EVERY = 50_000
_CONFIG = """\
cluster = "{cluster}"
key_file = "key"
[ring]
# The metadata server knows none of these objects, and would have them deleted.
sweep_after_s = 315360000
[log]
level = "warning"
[[meta]]
name = "meta1"
address = "127.0.0.1:{meta}"
state = "meta1"
[[data]]
name = "data1"
address = "127.0.0.1:{data}"
disk = "disk"
"""


@dataclass(frozen=True, slots=True)
class Memory:
    """MiB of a process: in memory; what of that is its own, not pages of files; the same with each page that others use too counted
    in part; the most it ever had in memory."""

    resident: float
    own: float
    proportional: float
    peak: float

    def __str__(self) -> str:
        return f"{self.resident:.0f} MiB ({self.own:.0f} own, {self.proportional:.0f} proportional, at most {self.peak:.0f})"


@dataclass(frozen=True, slots=True)
class Row:
    """One start, and the list of all parts after it."""

    name: str
    parts: int
    start_s: float
    start_cpu_s: float
    started: Memory
    list_s: float
    list_cpu_s: float
    page_ms_max: float
    page_rows_max: int
    listed: Memory
    #: After load, if there was any, and how often which kind of request was answered.
    loaded: Memory | None = None
    answered: dict[str, int] | None = None

    def __str__(self) -> str:
        loaded = f"\n  under load ({self.answered}): {self.loaded}" if self.loaded else ""
        return (
            f"{self.name:18} {self.parts} parts: ready after {self.start_s:.2f} s (CPU {self.start_cpu_s:.2f} s) "
            f"with {self.started}; list {self.list_s:.1f} s (CPU {self.list_cpu_s:.1f} s), "
            f"slowest page of up to {self.page_rows_max} {self.page_ms_max:.1f} ms, then {self.listed}{loaded}"
        )


# --- filling --------------------------------------------------------------------------------------------------------------


async def fill(directory: Path, count: int) -> None:
    """Make an empty directory a disk with so many objects."""
    identity = make_identity(RealFiles(), directory, CLUSTER)
    disk, kv = Disk(directory), Store(directory / "index")
    index = Index(kv, identity.disk.bytes)
    per_segment = (SEGMENT_BYTES - HEAD_BYTES) // _RECORD_BYTES
    chance = random.Random(1)
    written = 0
    for number in range(1, -(-count // per_segment) + 1):
        header = pack_header(SegmentHeader(number, identity.disk.bytes, identity.record_key, time.time_ns()))
        segment = disk.create(number, SEGMENT_BYTES, header)
        for first in range(0, min(per_segment, count - written), _BATCH):
            batch = range(first, min(first + _BATCH, per_segment, count - written))
            offset = HEAD_BYTES + first * _RECORD_BYTES
            content = b"".join(_record(index, identity, chance, number, offset + i * _RECORD_BYTES) for i in range(len(batch)))
            os.pwrite(segment._buffered, content, offset)
            if kv.pending_bytes > _CHECKPOINT_EVERY * 200:
                await _checkpoint(index, kv, position_of(number, offset + len(content)))
        written += min(per_segment, count - written)
        segment.sync()
        segment.close()
    await _checkpoint(index, kv, position_of(number, HEAD_BYTES + (count - 1) % per_segment * _RECORD_BYTES + _RECORD_BYTES))
    kv.close()
    disk.close()


async def _checkpoint(index: Index, kv: Store, mark: int) -> None:
    index.flush(mark)
    await kv.checkpoint({})


def _record(index: Index, identity: Identity, chance: random.Random, segment: int, offset: int) -> bytes:
    """The bytes of one object's record, which the index knows from now on."""
    content = chance.randbytes(_CONTENT_BYTES)
    table = block_table(content)
    stored = StoredPart(object_id(_CONTENT_BYTES, table), _CONTENT_BYTES)
    birth_ns = index.next_birth(time.time_ns())
    index.add(stored.key, position_of(segment, offset), _CONTENT_BYTES, birth_ns)
    head = pack_head(Head(KIND_PART, stored, birth_ns, Tables(table)), identity.record_key, segment, offset)
    return head + content.ljust(_RECORD_BYTES - HEAD_BYTES, b"\0")


# --- measuring ------------------------------------------------------------------------------------------------------------


def measure(directory: Path, *, load_s: float, rebuild: bool) -> Iterator[Row]:
    """Each kind of start: its name, and how the process ends after it."""
    known: set[bytes] = set()
    for kind, end in [
        ("after filling", signal.SIGTERM),
        ("after a clean end", signal.SIGKILL),
        ("after SIGKILL", None),
        ("after SIGKILL under load", signal.SIGTERM),
        *([("without its index", signal.SIGTERM)] if rebuild else []),
    ]:
        if kind == "without its index":
            shutil.rmtree(directory / "disk" / "index")
        row, listed, put = _measure_one(directory, kind, end, load_s)
        assert known <= listed, f"{len(known - listed)} of {len(known)} parts are not listed"
        known = listed | put
        yield row


def _measure_one(directory: Path, kind: str, end: signal.Signals | None, load_s: float) -> tuple[Row, set[bytes], set[bytes]]:
    """The row, the parts that are listed, and those put after that, if it ends (None) killed under load."""
    begun = time.perf_counter()
    with _started(directory, "data") as server:
        start_s, start_cpu_s, started = time.perf_counter() - begun, _cpu_s(server.pid), _memory(server.pid)
        parts, list_s, page_s, page_rows = trio.run(_list, directory)
        listed, list_cpu_s = _memory(server.pid), _cpu_s(server.pid) - start_cpu_s
        row = Row(kind, len(parts), start_s, start_cpu_s, started, list_s, list_cpu_s, page_s * 1000, page_rows, listed)
        if end is not None:
            server.send_signal(end)
            return row, parts, set()
        with _started(directory, "meta"):
            load = Load(load_config(directory / "cluster.toml"))
            loaded = trio.run(_load_and_kill, load, server, load_s)
        return replace(row, loaded=loaded, answered=load.answered), parts, load.put


@contextmanager
def _started(directory: Path, server: str) -> Iterator[subprocess.Popen[bytes]]:
    """A data node or metadata server that is ready; ended afterwards."""
    name = ["--name", "meta1"] if server == "meta" else ["data1"]
    command = [sys.executable, "-m", "ringfs.cli.main", server, str(directory / "cluster.toml"), *name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        try:
            if not process.stdout.readline():
                raise SystemExit(f"the {server} server did not start")
            yield process
        finally:
            process.terminate()


async def _load_and_kill(load: Load, server: subprocess.Popen[bytes], load_s: float) -> Memory:
    """What the server has after so long under load; it is killed in the middle of that."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load.run)
        await trio.sleep(load_s)
        await load.wait_worked()
        loaded = _memory(server.pid)
        server.kill()
    return loaded


async def _list(directory: Path) -> tuple[set[bytes], float, float, int]:
    """The parts' ids, the time for all pages, for the slowest, and the most rows of one."""
    config = load_config(directory / "cluster.toml")
    address, key = config.data[0].address, config.load_key()
    slowest, most, after, begun = 0.0, 0, b"", time.perf_counter()
    parts: set[bytes] = set()
    async with open_client(address, key, name="steward of nobody") as client:
        while True:
            asked = time.perf_counter()
            page: ObjectPage = (await client.call(ListObjects(after, 4096), timeout_s=60)).message
            slowest = max(slowest, time.perf_counter() - asked)
            parts.update(row.object for row in page.objects)
            most = max(most, len(page.objects))
            if not page.more:
                return parts, time.perf_counter() - begun, slowest, most
            after = page.objects[-1].object + page.objects[-1].part


def _memory(pid: int) -> Memory:
    """What a process has in memory now. The kernel's high-water mark is of counters that lag by some pages (proc(5), VmHWM)."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text().partition("\n")[2] + Path(f"/proc/{pid}/status").read_text()
    lines = dict(line.split(":", 1) for line in text.splitlines())
    resident, own, proportional, peak = (int(lines[name].split()[0]) / 1024 for name in ("Rss", "Anonymous", "Pss", "VmHWM"))
    return Memory(resident, own, proportional, max(peak, resident))


def _cpu_s(pid: int) -> float:
    """User and system time of a process and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return process_cpu_s(pid) + (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def prepare(directory: Path, count: int) -> None:
    """A configuration with free ports, and a filled disk unless there is one."""
    directory.mkdir(parents=True, exist_ok=True)
    meta, data = free_ports(2)
    (directory / "cluster.toml").write_text(_CONFIG.format(cluster=CLUSTER, meta=meta, data=data))
    (directory / "key").write_text(secrets.token_bytes(32).hex())
    (directory / "key").chmod(0o600)
    disk = directory / "disk"
    disk.mkdir(exist_ok=True)
    if check_disk(RealFiles(), disk, CLUSTER) is None:
        trio.run(fill, disk, count)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--load-s", type=float, default=30.0, help="how long there is load before SIGKILL")
    parser.add_argument("--rebuild", action="store_true", help="also start without the index")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="ringfs-parts-") as name:
        directory = (options.directory or Path(name)).absolute()
        prepare(directory, options.count)

        rows = []
        for row in measure(directory, load_s=options.load_s, rebuild=options.rebuild):
            rows.append(row)
            if not options.json:
                print(row, flush=True)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))


if __name__ == "__main__":
    main()
