"""tools/data_load.py: every kind of load runs against real processes and tells what it cost."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.data_load import process_cpu_s

_ROOT = Path(__file__).parents[2]
_KINDS = ["seqwrite", "seqread", "randread", "par4write", "par4read", "randwrite", "fsync4k", "create4k"]


def test_every_kind_runs() -> None:
    """Each kind does what it was asked to, and each process's CPU is told."""
    command = [sys.executable, "-m", "tools.data_load", "--mib", "8", "--count", "20", "--json"]
    run = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=600, check=True)
    rows = json.loads(run.stdout)
    assert [row["name"] for row in rows] == _KINDS
    assert [row["ops"] for row in rows] == [8, 8, 20, 8, 8, 80, 10, 5]
    assert all(row["client_us"] > 0 for row in rows)
    assert all(sum(row[side] for row in rows) > 0 for side in ("nodes_us", "meta_us"))


def test_cpu_of_threads_that_have_ended_counts() -> None:
    """A data node's threads come and go."""
    program = """
import threading, time
def work():
    while time.thread_time() < 0.2:
        pass
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(time.process_time(), flush=True)
input()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        own_s = float(process.stdout.readline())
        assert process_cpu_s(process.pid) >= own_s >= 0.2
        process.kill()


def test_classes_by_turns() -> None:
    """Each class has a cluster of its own; the first one is compared with the other, round by round."""
    command = [sys.executable, "-m", "tools.data_load", "--class", "ec:2+1,replica:2", "--mib", "8", "--rows", "seqwrite"]
    run = subprocess.run([*command, "--rounds", "2"], cwd=_ROOT, capture_output=True, text=True, timeout=600, check=True)
    _, *rows, told = run.stdout.splitlines()
    assert [row.split()[:3] for row in rows] == [[name, "seqwrite", "8"] for name in ("ec:2+1", "replica:2", "replica:2", "ec:2+1")]
    first, second, third, fourth = (float(row.split()[4]) for row in rows)
    ratios = [float(ratio) for ratio in re.findall(r"\d+\.\d\d", told)]
    assert told.startswith("seqwrite: ec:2+1 beside replica:2: MB/s ")
    assert len(ratios) == 4
    # Rows tell rates to 0.1 MB/s, and the last line tells what is made of them to 0.01.
    assert ratios[1:3] == pytest.approx([first / second, fourth / third], rel=0.15, abs=0.01)
    assert ratios[0] == pytest.approx(sum(ratios[1:3]) / 2, abs=0.011)
