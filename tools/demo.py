#!/usr/bin/env python3
"""ringfs at work: a media archive's day, on a cluster that starts on this machine. Run it with `make demo`.

    ffmpeg makes a long MXF clip and a DPX sequence; they are ingested as growing files while a reader chases them; source
    and archive are compared by BLAKE3; a range is restored by timecode; thumbnails and sidecars are written; the tree is
    renamed; a data node is killed, everything is read and compared again, the node comes back.

Everything is under ./.ringfs-demo, which a new run replaces. Leaves the mount up. Ends with 0 only if everything verified.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from tools.demo_media import (
    CLIP_START,
    FRAMES_PER_SECOND,
    MediaError,
    frames_of,
    make_clip,
    make_sequence,
    make_thumbnail,
    picture_hashes,
    read_facts,
    read_sidecar,
    restore_range,
    timecode_of,
    write_sidecar,
)
from tools.demo_transfer import Advance, Transfer, hash_file, hash_text, ingest_chased

ROOT = Path(__file__).resolve().parents[1]
RINGFS = Path(sys.executable).with_name("ringfs")
VICTIM = "data1"


class DemoFailed(Exception):
    """Something did not verify, or could not be done; the text says what."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much media."""

    clip_frames: int = 2000
    sequence_frames: int = 520


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table at the end."""

    step: str
    size_bytes: int
    seconds: float
    verdict: str


@dataclass(slots=True)
class Demo:
    """The state of one run: where things are, what each archived file must be, what was measured."""

    home: Path
    #: Where the archive is: the mount.
    mount: Path
    scale: Scale
    console: Console
    #: BLAKE3 by path relative to the archive's directory; grows with every file that is put there.
    manifest: dict[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    @property
    def source(self) -> Path:
        """What comes from the camera."""
        return self.home / "source"

    @contextmanager
    def step(self, name: str, total: int, *, unit: str = "bytes") -> Iterator[Advance]:
        """Shows a progress bar while the block runs; the block calls what it gets with what it has done."""
        columns = (DownloadColumn(), TransferSpeedColumn()) if unit == "bytes" else (MofNCompleteColumn(), TextColumn(unit))
        with Progress(
            TextColumn("{task.description:34}"), BarColumn(), *columns, TimeRemainingColumn(), console=self.console
        ) as progress:
            task = progress.add_task(name, total=total)
            yield lambda done: progress.advance(task, done)
            progress.update(task, completed=total)

    @contextmanager
    def timed(self, name: str, size_bytes: int, verdict: str) -> Iterator[None]:
        """Adds a row with the time that the block took, if it did not raise."""
        started = time.perf_counter()
        yield
        self.rows.append(Row(name, size_bytes, time.perf_counter() - started, verdict))


def drop_caches() -> None:
    """Makes the next reads come from the data nodes, where one may."""
    os.sync()
    if os.geteuid() == 0:
        Path("/proc/sys/vm/drop_caches").write_text("3\n")


def size_below(directory: Path) -> int:
    """Bytes of all files under it."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def demand(condition: bool, failure: str) -> None:
    """Raises DemoFailed if the condition does not hold."""
    if not condition:
        raise DemoFailed(failure)


def make_media(demo: Demo) -> None:
    """The camera's side: one clip, one sequence, on the local disk."""
    demo.source.mkdir()
    clip, frames = demo.source / "A001C001.mxf", demo.scale.clip_frames
    started = time.perf_counter()
    with demo.step("ffmpeg makes an MXF clip", frames, unit="frames") as advance:
        make_clip(clip, frames, advance)
    with demo.step("ffmpeg makes a DPX sequence", demo.scale.sequence_frames, unit="frames") as advance:
        make_sequence(demo.source / "A001C002", demo.scale.sequence_frames, advance)
    count = len(list((demo.source / "A001C002").iterdir()))
    demand(count == demo.scale.sequence_frames, f"ffmpeg made {count} frames, not {demo.scale.sequence_frames}")
    demo.rows.append(Row("make media (local disk, for comparison)", size_below(demo.source), time.perf_counter() - started, ""))


def ingest_all(demo: Demo, archive: Path) -> None:
    """Every source file becomes a growing file in the archive, and is read while it grows."""
    for title, top in (("ingest MXF, reader chasing", "A001C001.mxf"), ("ingest DPX, reader chasing", "A001C002")):
        found = demo.source / top
        sources = sorted(found.iterdir()) if found.is_dir() else [found]
        names = [str(path.relative_to(demo.source)) for path in sources]
        transfer = Transfer(sources, [archive / name for name in names], archive / f"{top}.growing")
        transfer.targets[0].parent.mkdir(exist_ok=True)
        total = sum(path.stat().st_size for path in sources)
        with demo.timed(title, total, "chased bytes equal source"), demo.step(title, total) as advance:
            hashes, seen = ingest_chased(transfer, advance)
        wrong = [name for name, hashed, saw in zip(names, hashes, seen, strict=True) if hashed != saw]
        demand(not wrong, f"{wrong[:5]}: the reader that chased them saw other bytes than were ingested")
        demo.manifest.update(zip(names, hashes, strict=True))


def verify_all(demo: Demo, archive: Path, title: str) -> None:
    """Reads every archived file with cold caches and compares BLAKE3; the names must be exactly those of the manifest."""
    names = {str(path.relative_to(archive)) for path in archive.rglob("*") if path.is_file()}
    demand(names == demo.manifest.keys(), f"names in the archive differ: {sorted(names ^ demo.manifest.keys())[:5]}")
    drop_caches()
    total = size_below(archive)
    with demo.timed(title, total, f"{len(names)} files, BLAKE3 equal"), demo.step(title, total) as advance:
        for name, expected in demo.manifest.items():
            demand(hash_file(archive / name, advance) == expected, f"{name}: its BLAKE3 is not that of what was put there")


def compare_with_source(demo: Demo) -> None:
    """Hashes the source once more: the manifest is of what the camera made, not of what the ingest passed on."""
    total = size_below(demo.source)
    with demo.step("hash source", total) as advance:
        for name, expected in demo.manifest.items():
            demand(hash_file(demo.source / name, advance) == expected, f"{name}: the manifest is not the source's BLAKE3")


def restore_partially(demo: Demo, archive: Path) -> None:
    """Cuts five seconds out of the archived clip by timecode, and compares the pictures with the source's."""
    clip, skipped, wanted = archive / "A001C001.mxf", demo.scale.clip_frames // 2, 5 * FRAMES_PER_SECOND
    start = frames_of(CLIP_START) + skipped
    first, last = timecode_of(start), timecode_of(start + wanted - 1)
    target, title = demo.home / "restored.mxf", f"restore {first} to {last}"
    drop_caches()
    with demo.step(title, 3, unit="steps") as advance:
        started = time.perf_counter()
        count = restore_range(clip, first, last, target)
        seconds = time.perf_counter() - started
        advance(1)
        restored = picture_hashes(target)
        advance(1)
        original = picture_hashes(demo.source / "A001C001.mxf", skipped, wanted)
    demand(len(restored) == count == wanted, f"{len(restored)} frames were restored, not {wanted}")
    demand(restored == original, "the restored pictures differ from the source's")
    demand(read_facts(target).start_timecode == first, "the restored clip does not start at its timecode")
    demo.rows.append(Row(title, target.stat().st_size, seconds, f"{count} pictures equal"))


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip of the shoot: a file, or a directory of frames."""

    name: str
    #: A file of the archive with a picture to show, and where in it.
    picture: str
    picture_s: float
    frame_count: int


def clips_of(scale: Scale) -> tuple[Clip, Clip]:
    """Both clips; their pictures are from the middle."""
    middle = f"A001C002/{scale.sequence_frames // 2:06}.dpx"
    return (
        Clip("A001C001", "A001C001.mxf", scale.clip_frames / FRAMES_PER_SECOND / 2, scale.clip_frames),
        Clip("A001C002", middle, 0.0, scale.sequence_frames),
    )


def add_companions(demo: Demo, archive: Path) -> None:
    """A thumbnail and a sidecar beside each clip, written through the mount; they are archived like the rest."""
    title = "thumbnails and sidecars"
    made = []
    with demo.timed(title, 0, "XML read back equal"), demo.step(title, 4, unit="files") as advance:
        for clip in clips_of(demo.scale):
            thumbnail, sidecar = archive / f"{clip.name}.jpg", archive / f"{clip.name}.xml"
            make_thumbnail(archive / clip.picture, thumbnail, at_s=clip.picture_s)
            advance(1)
            facts = read_facts(archive / clip.picture)
            hashes = [hashed for name, hashed in sorted(demo.manifest.items()) if name.startswith(clip.name)]
            wanted = {
                "name": clip.name,
                "timecode": facts.start_timecode,
                "frames": str(clip.frame_count),
                "picture": f"{facts.width}x{facts.height} {facts.codec}",
                # Of the one file, or of the hashes of all frames in order.
                "blake3": hashes[0] if len(hashes) == 1 else hash_text("".join(hashes)),
            }
            write_sidecar(sidecar, wanted)
            demand(read_sidecar(sidecar) == wanted, f"{sidecar.name} does not say what was written")
            demand(thumbnail.stat().st_size > 100, f"{thumbnail.name} is empty")
            advance(1)
            made += [thumbnail, sidecar]
    for path in made:
        demo.manifest[path.name] = hash_file(path, lambda done: None)


def rename_tree(demo: Demo, archive: Path) -> Path:
    """Moves the whole shoot to its place; the new place."""
    target = demo.mount / "archive" / "2026" / "A001"
    with demo.timed("rename the tree", 0, "old name gone"):
        target.parent.mkdir(parents=True)
        archive.rename(target)
        demand(not archive.exists(), f"{archive} is still there after the rename")
    return target


def run_workflow(demo: Demo, dev: Callable[..., None] | None) -> None:
    """All of it, in order. Raises DemoFailed. Without a cluster the node's death is left out."""
    archive = demo.mount / "ingest" / "A001"
    archive.mkdir(parents=True)
    make_media(demo)
    ingest_all(demo, archive)
    compare_with_source(demo)
    verify_all(demo, archive, "read and verify")
    restore_partially(demo, archive)
    add_companions(demo, archive)
    archive = rename_tree(demo, archive)
    if dev is None:
        verify_all(demo, archive, "read and verify again")
        return
    dev("kill", VICTIM)
    try:
        verify_all(demo, archive, f"read and verify without {VICTIM}")
    finally:
        dev("start", VICTIM)


def show(demo: Demo) -> None:
    """The table of rates."""
    table = Table("step", "MB", "s", "MB/s", "verified", title="ringfs demo")
    for column in table.columns[1:4]:
        column.justify = "right"
    for row in demo.rows:
        megabytes = row.size_bytes / 1e6
        rate = f"{megabytes / row.seconds:,.0f}" if megabytes else ""
        table.add_row(row.step, f"{megabytes:,.0f}" if megabytes else "", f"{row.seconds:.1f}", rate, row.verdict)
    demo.console.print(table)


def ringfs(*arguments: str | Path) -> None:
    """Runs a ringfs command, which shows its own progress and errors."""
    finished = subprocess.run([str(RINGFS), *map(str, arguments)], stdin=subprocess.DEVNULL, check=False)
    if finished.returncode:
        raise DemoFailed(f"`ringfs {' '.join(map(str, arguments))}` ended with {finished.returncode}")


def clean(home: Path) -> None:
    """Ends and removes a previous run. Never removes through a mount."""
    if (home / "cluster").is_dir():
        ringfs("dev", "down", home / "cluster")
    mounted = [Path(line.split()[1]) for line in Path("/proc/mounts").read_text().splitlines()]
    left = [point for point in mounted if point.is_relative_to(home)]
    demand(not left, f"{left} is still mounted: run `umount --lazy {left[0] if left else ''}` first")
    if home.exists():
        shutil.rmtree(home)


def main(arguments: list[str]) -> int:
    """Runs the demo; returns the exit code."""
    parser = argparse.ArgumentParser(prog="demo.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path(".ringfs-demo"), help="where everything goes (default ./.ringfs-demo)")
    # For its own tests: the same work in any directory instead of on a cluster, and less of it.
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--frames", type=int, nargs=2, metavar=("CLIP", "SEQUENCE"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    console = Console() if sys.stdout.isatty() else Console(width=120)
    home: Path = options.home.resolve()
    demo = Demo(home, options.directory.resolve() if options.directory else home / "mnt", Scale(*(options.frames or ())), console)
    cluster = home / "cluster"
    try:
        clean(home)
        demo.mount.mkdir(parents=True, exist_ok=True)
        home.mkdir(exist_ok=True)
        if options.directory is None:
            ringfs("dev", "up", cluster, "--mount", demo.mount, "--data", "3", "--class", "replica:2")
            run_workflow(demo, lambda verb, name: ringfs("dev", verb, cluster, name))
        else:
            run_workflow(demo, None)
    except (DemoFailed, MediaError, OSError) as error:
        show(demo)
        console.print(f"demo FAILED: {error}", style="bold red", markup=False)
        return 1
    show(demo)
    if options.directory is None:
        console.print(
            f"The archive stays mounted at {demo.mount}. To end it:\n\n    {RINGFS} dev down {cluster}\n",
            markup=False,
            soft_wrap=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
