"""A store whose process is killed in the middle of checkpoints holds exactly one of them, and none that was acknowledged is lost.

LMDB maps its file and cannot run over the fault-injecting file layer: real files, and a real SIGKILL. That tests what this project
adds (one transaction for changes and marks, the order of tables and transactions); that LMDB survives a crash of the machine
with its default flags is LMDB's own promise (copy on write, data synced before the page that refers to it).
"""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from ringfs.base.kv.store import Store
from tests.support.checkpointing import expected

ROOT = Path(__file__).resolve().parents[2]


def run_and_kill(directory: Path, chance: random.Random) -> int:
    """Let a child checkpoint, and kill it at some point of a checkpoint. The last one that it said was done."""
    command = [sys.executable, "-m", "tests.support.checkpointing", str(directory)]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    begun_count = chance.randint(1, 4)
    lines = []
    for line in child.stdout:
        lines.append(line)
        begun_count -= line.startswith("begin")
        if begun_count == 0:
            # How far the checkpoint gets is the spin's and the scheduler's choice.
            sum(range(chance.choice([0, 1000, 100_000, 1_000_000])))
            child.kill()
            break
    lines += child.stdout.readlines()
    assert child.wait() == -9, "the child ended by itself"
    return max((int(line.split()[1]) for line in lines if line.startswith("done")), default=0)


@pytest.mark.parametrize("seed", range(3))
async def test_kill_in_the_middle_of_checkpoints(tmp_path: Path, seed: int) -> None:
    """Kill, look, go on, several times over."""
    chance = random.Random(seed)
    acknowledged = 0
    for _ in range(5):
        acknowledged = max(acknowledged, run_and_kill(tmp_path / "store", chance))
        store = Store(tmp_path / "store")
        held = int(store.mark(b"number") or b"0")
        assert acknowledged <= held <= acknowledged + 1, f"seed {seed}"
        assert dict(store.scan(b"", b"\xff")) == expected(held), f"seed {seed}: not the state of checkpoint {held}"
        store.close()
        acknowledged = held
