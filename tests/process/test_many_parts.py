"""tools/many_parts.py: a disk that it filled is one that a data node starts on, in every way, and lists."""

import json
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[2]


def test_every_start() -> None:
    """The same parts each time, and all figures are told."""
    command = [sys.executable, "-m", "tools.many_parts", "--count", "3000", "--rebuild", "--json"]
    run = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=120, check=True)
    rows = json.loads(run.stdout)
    assert [row["name"] for row in rows] == ["after filling", "after a clean end", "after SIGKILL", "without its index"]
    assert {row["parts"] for row in rows} == {3000}
    assert all(row["start_cpu_s"] > 0 and row["list_cpu_s"] > 0 and row["page_rows_max"] <= 1024 for row in rows)
    assert all(0 < row["started"]["own"] < row["started"]["resident"] <= row["started"]["peak"] for row in rows)
