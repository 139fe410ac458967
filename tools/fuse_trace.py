"""What one application call costs on a mount: requests of each kind, and CPU time of the mount's process per call and per request.

    python -m tools.fuse_trace MNT [--count 2000] [--json]

Asks the mount how many requests came (user.ringfs.requests on its root) and /proc how much CPU time its process used, before and
after a loop of each call. The mount should have nothing else to do.
"""

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from ringfs.cli.mount_record import read_record

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_XATTR = "user.ringfs.requests"
_BLOCK = b"x" * 4096


class Scene:
    """The files that the calls are about."""

    def __init__(self, directory: Path, count: int) -> None:
        self.directory = directory
        self.count = count
        self.file = directory / "file"
        self.file.write_bytes(_BLOCK * 256)
        self.reader = os.open(self.file, os.O_RDONLY)
        self.writer = os.open(directory / "written", os.O_RDWR | os.O_CREAT)

    def close(self) -> None:
        """Of what the calls share."""
        os.close(self.reader)
        os.close(self.writer)

    def name(self, number: int) -> str:
        """Of the files that are made, looked at and removed."""
        return f"{self.directory}/f{number}"


def create_write_close(scene: Scene, number: int) -> None:
    """creat, write of 4 KiB, close."""
    fd = os.open(scene.name(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    os.write(fd, _BLOCK)
    os.close(fd)


def open_read_close(scene: Scene, number: int) -> None:
    """open, read of 4 KiB, close."""
    fd = os.open(scene.name(number), os.O_RDONLY)
    os.read(fd, 4096)
    os.close(fd)


def stat(scene: Scene, number: int) -> None:
    """stat of a file that was just written."""
    os.stat(scene.name(number))


def stat_absent(scene: Scene, number: int) -> None:
    """stat of a name that is not there, for the first time."""
    _refused(os.stat, f"{scene.directory}/absent{number}")


def rename(scene: Scene, number: int) -> None:
    """rename within a directory."""
    os.rename(scene.name(number), scene.name(number) + "r")


def unlink(scene: Scene, number: int) -> None:
    """unlink of what was renamed."""
    os.unlink(scene.name(number) + "r")


def mkdir_rmdir(scene: Scene, number: int) -> None:
    """mkdir and rmdir."""
    os.mkdir(scene.name(number))
    os.rmdir(scene.name(number))


def pread(scene: Scene, number: int) -> None:
    """pread of 4 KiB that the kernel has cached."""
    os.pread(scene.reader, 4096, number % 256 * 4096)


def pwrite(scene: Scene, number: int) -> None:
    """pwrite of 4 KiB, in order."""
    os.pwrite(scene.writer, _BLOCK, number * 4096)


def fstat_while_writing(scene: Scene, number: int) -> None:
    """fstat of a file with dirty bytes."""
    os.pwrite(scene.writer, b"x", 0)
    os.fstat(scene.writer)


def getxattr(scene: Scene, number: int) -> None:
    """getxattr of what is not there."""
    _refused(os.getxattr, scene.file, "user.absent")


def list_directory(scene: Scene, number: int) -> None:
    """scandir of a directory with three entries."""
    for _ in os.scandir(scene.directory / "few"):
        pass


CALLS = (
    create_write_close,
    stat,
    open_read_close,
    stat_absent,
    rename,
    unlink,
    mkdir_rmdir,
    pread,
    pwrite,
    fstat_while_writing,
    getxattr,
    list_directory,
)


def _refused(call: Callable[..., object], *arguments: object) -> None:
    try:
        call(*arguments)
    except OSError:
        return
    raise AssertionError(f"{arguments} is there")


def cpu_s(pid: int) -> float:
    """CPU time of a process until now."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def measure(root: Path, pid: int, scene: Scene, call: Callable[[Scene, int], None]) -> dict[str, object]:
    """One row: the call, requests of each kind per call, µs of CPU per call."""
    before, used_s = requests(root), cpu_s(pid)
    for number in range(scene.count):
        call(scene, number)
    used_s = cpu_s(pid) - used_s
    after = requests(root)
    # The question itself comes before its answer is made.
    after["GETXATTR"] = after.get("GETXATTR", 0) - 1
    per_call = {name: round((count - before.get(name, 0)) / scene.count, 2) for name, count in after.items()}
    told = {name: count for name, count in per_call.items() if count >= 0.05}
    total = sum(count for name, count in told.items() if name not in ("FORGET", "BATCH_FORGET"))
    per_call_us = used_s / scene.count * 1e6
    return {
        "call": (call.__doc__ or "").rstrip("."),
        "requests": told,
        "cpu_us_per_call": round(per_call_us, 1),
        "cpu_us_per_request": round(per_call_us / total, 1) if total else 0.0,
    }


def requests(root: Path) -> dict[str, int]:
    """How many of each kind came until now."""
    counts: dict[str, int] = json.loads(os.getxattr(root, _XATTR))
    return counts


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mount", type=Path)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    root = options.mount.resolve()
    record = read_record(root)
    if record is None:
        parser.error(f"{root} is no mount that runs here")
    directory = Path(tempfile.mkdtemp(prefix="fuse-trace.", dir=root))
    scene = Scene(directory, options.count)
    (directory / "few").mkdir()
    for name in "abc":
        (directory / "few" / name).touch()
    try:
        rows = [measure(root, record.pid, scene, call) for call in CALLS]
    finally:
        scene.close()
        shutil.rmtree(directory)
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    print("| call | requests | CPU a call | a request |\n| --- | --- | --- | --- |")
    for row in rows:
        asked = row["requests"]
        assert isinstance(asked, dict)
        words = ", ".join(name if count == 1 else f"{count:g} {name}" for name, count in asked.items()) or "none, or not counted"
        print(f"| {row['call']} | {words} | {row['cpu_us_per_call']} µs | {row['cpu_us_per_request']} µs |")


if __name__ == "__main__":
    main()
