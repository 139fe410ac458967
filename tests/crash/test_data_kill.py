"""A store whose process is killed in the middle of puts, renewals, deletes and checkpoints, several times over.

After each kill: every acknowledged put is held and right, unless its delete had begun; no acknowledged delete is undone; nothing
is corrupt or lost; an index built anew from the segments says the same. SIGKILL shows what this process had handed to the
kernel in which order; that fdatasync comes before the acknowledgement is shown by tests/unit/data/test_store.py.
"""

import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.store_worker import thing
from tests.support.stores import adds_up, content_of, running, unpacked

ROOT = Path(__file__).resolve().parents[2]


class Told:
    """What the killed processes had said."""

    def __init__(self) -> None:
        self.put: set[int] = set()
        self.deleting: set[int] = set()
        self.deleted: set[int] = set()

    def hear(self, line: str) -> None:
        """One line of a worker; the last one may be cut."""
        what, _, number = line.partition(" ")
        if line.endswith("\n") and what in ("put", "deleting", "deleted"):
            getattr(self, what).add(int(number))


def run_and_kill(disk: Path, seed: int, first: int, told: Told) -> None:
    """Let a child work for some number of lines, then kill it."""
    command = [sys.executable, "-m", "tests.support.store_worker", str(disk), str(seed), str(first)]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    lines_left = random.Random(seed).randint(1, 120)
    for line in child.stdout:
        told.hear(line)
        lines_left -= 1
        if not lines_left:
            child.kill()
            break
    for line in child.stdout.readlines():
        told.hear(line)
    assert child.wait() == -9, "the worker ended by itself"


async def check(disk: Path, told: Told, hint: str) -> set[bytes]:
    """The keys of the parts that are held, after all promises were checked."""
    async with running(disk) as store:
        assert store.health.trouble == "", hint
        for number in told.put - told.deleting:
            assert await content_of(store, thing(number)) == thing(number).content, f"{hint} {number}"
        for number in told.deleted:
            assert not store.holds(*unpacked(thing(number).stored.key)), f"{hint} {number}"
        held = {key for key, _ in store.page(b"", 100_000)[0]}
        for key in held:
            assert (await store.verify(*unpacked(key))).is_intact, f"{hint} {key.hex()}"
        assert adds_up(store._index), hint
        return held


@pytest.mark.parametrize("seed", range(3))
async def test_kill_in_the_middle_of_everything(tmp_path: Path, seed: int) -> None:
    """Kill, check, build the index anew beside it, go on."""
    disk, told = tmp_path / "disk", Told()
    disk.mkdir()
    for kill in range(4):
        run_and_kill(disk, seed * 100 + kill, 1000 * kill, told)
        hint = f"seed {seed} kill {kill}"
        rebuilt = tmp_path / f"rebuilt{kill}"
        shutil.copytree(disk, rebuilt)
        shutil.rmtree(rebuilt / "index", ignore_errors=True)
        held = await check(disk, told, hint)
        from_segments = await check(rebuilt, told, hint + " rebuilt")
        unsettled = {thing(number).stored.key for number in told.deleting - told.deleted}
        assert held - unsettled == from_segments - unsettled, hint
        shutil.rmtree(rebuilt)
    assert told.put, "something was done"
    assert told.deleted, "something was deleted"
