"""tools/many_parts.py: a disk that it filled is one that a data node starts on, in every way, works on, and lists."""

import json
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_COUNT = 3000


def test_every_start() -> None:
    """The same parts each time, and after SIGKILL under load those that were put besides (the tool looks at each); all figures."""
    command = [sys.executable, "-m", "tools.many_parts", "--count", str(_COUNT), "--load-s", "1", "--rebuild", "--json"]
    run = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=800, check=True)
    rows = {row["name"]: row for row in json.loads(run.stdout)}
    quiet = ["after filling", "after a clean end", "after SIGKILL"]
    assert list(rows) == [*quiet, "after SIGKILL under load", "without its index"]
    assert all(rows[name]["parts"] == _COUNT for name in quiet)
    answered = rows["after SIGKILL"]["answered"]
    put_count = answered["large puts"] + answered["small puts"]
    assert rows["without its index"]["parts"] == rows["after SIGKILL under load"]["parts"] >= _COUNT + put_count
    assert all(row["start_cpu_s"] > 0 and row["list_cpu_s"] > 0 and row["page_rows_max"] <= 1024 for row in rows.values())
    memories = [row["started"] for row in rows.values()] + [rows["after SIGKILL"]["loaded"]]
    assert all(0 < memory["own"] < memory["proportional"] <= memory["resident"] <= memory["peak"] for memory in memories)
