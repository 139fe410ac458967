"""The benchmark measures what it says, and leaves nothing behind."""

import json
from pathlib import Path

from click.testing import CliRunner

from ringfs.cli.bench import command
from ringfs.cli.bench_runs import RUNS, _timed


def test_small_run(tmp_path: Path) -> None:
    """Every measurement gives a rate above zero; the directory is as it was."""
    (tmp_path / "mine").touch()
    done = CliRunner().invoke(command, [str(tmp_path), "--size", "1", "--files", "3", "--json"])
    assert done.exit_code == 0, done.output
    results = json.loads(done.output)
    assert [result["name"] for result in results] == list(RUNS)
    assert all(result["rate"] > 0 and result["median_us"] <= result["slow_us"] for result in results)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_table(tmp_path: Path) -> None:
    """People get a line for each measurement."""
    done = CliRunner().invoke(command, [str(tmp_path), "--size", "1", "--files", "1"])
    lines = done.output.splitlines()
    assert lines[0].startswith("WHAT")
    assert len(lines) == 1 + len(RUNS)


def test_counts() -> None:
    """The rate is steps, or MiB, by the time they took."""
    done: list[int] = []
    steps = _timed("x", (lambda: done.append(1) for _ in range(50)))
    assert len(done) == 50
    assert steps.unit == "1/s"
    assert abs(steps.rate * steps.seconds - 50) < 1e-6
    moved = _timed("x", (lambda: None for _ in range(4)), step_bytes=1 << 19)
    assert moved.unit == "MiB/s"
    assert abs(moved.rate * moved.seconds - 2) < 1e-6
