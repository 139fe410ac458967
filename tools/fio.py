#!/usr/bin/env python3
"""Runs the fio jobs of tools/fio/ in a directory, in an order that lets later ones read what earlier ones wrote; prints a table.

    tools/fio.py /mnt/ringfs                 all jobs
    tools/fio.py DIR --only verify           those whose name contains a word
    tools/fio.py DIR --size 1024 --json      larger files; the table as JSON

Works in a directory of its own under DIR and removes it. Needs fio; drops the kernel's caches before cold jobs if it may.
Exit codes: 0 all jobs clean, 1 a job failed or a checksum was wrong, 2 called wrongly.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

JOBS_DIRECTORY = Path(__file__).with_name("fio")
#: Order matters: reads need the writes before them.
JOBS = (
    "seq-write-1m",
    "seq-read-1m",
    "rand-read-4k",
    "rand-write-4k",
    "write-4k-fsync",
    "parallel-write",
    "parallel-read",
    "verify-seq",
    "verify-rand",
    "verify-4jobs",
)
COLD = ("seq-read-1m", "rand-read-4k", "parallel-read")
JOB_SECONDS_MAX = 900


@dataclass(frozen=True, slots=True)
class Row:
    """What one job did. Rates are of the whole job, in MB/s (10^6 bytes) and operations per second."""

    job: str
    read_mb_s: float
    write_mb_s: float
    read_iops: float
    write_iops: float
    #: Of completions, 99th percentile, in milliseconds.
    p99_ms: float
    #: Empty if the job was clean.
    error: str


def drop_caches() -> None:
    """Makes the next read cold, where one may."""
    os.sync()
    if os.geteuid() == 0:
        Path("/proc/sys/vm/drop_caches").write_text("3\n")


def parse(job: str, report: dict[str, Any]) -> Row:
    """The row of fio's JSON report (one group)."""
    group = report["jobs"][0]
    read, write = group["read"], group["write"]
    p99_ns = max(side.get("clat_ns", {}).get("percentile", {}).get("99.000000", 0) for side in (read, write))
    error = f"fio error {group['error']}" if group["error"] else ""
    return Row(job, read["bw_bytes"] / 1e6, write["bw_bytes"] / 1e6, read["iops"], write["iops"], p99_ns / 1e6, error)


def run_job(job: str, directory: Path, environment: dict[str, str]) -> Row:
    """One job; what fio says on failure is the row's error."""
    if job in COLD:
        drop_caches()
    # What all jobs share; options on the command line would not reach the jobs of a file.
    text = f"[global]\nioengine=psync\nfallocate=none\nrefill_buffers\ndirectory={directory}\n"
    finished = subprocess.run(
        ["fio", "--output-format=json", "-"],
        input=text + (JOBS_DIRECTORY / f"{job}.fio").read_text(),
        env=os.environ | environment,
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=JOB_SECONDS_MAX,
        check=False,
    )
    start = finished.stdout.find("{")
    complaint = " ".join(finished.stderr.split())[:200]
    if start < 0:
        return Row(job, 0, 0, 0, 0, 0, complaint or f"fio ended with {finished.returncode}")
    row = parse(job, json.loads(finished.stdout[start:]))
    return Row(**{**asdict(row), "error": row.error or complaint}) if finished.returncode else row


def show(rows: list[Row], console: Console) -> None:
    """The table for people."""
    table = Table("job", "read MB/s", "write MB/s", "read IOPS", "write IOPS", "p99 ms", "result", title="fio")
    for column in table.columns[1:6]:
        column.justify = "right"
    for row in rows:
        rates = (row.read_mb_s, row.write_mb_s, row.read_iops, row.write_iops, row.p99_ms)
        table.add_row(row.job, *(f"{rate:,.1f}" if rate else "" for rate in rates), row.error or "clean")
    console.print(table)


def main(arguments: list[str]) -> int:
    """Runs the chosen jobs; returns the exit code."""
    parser = argparse.ArgumentParser(prog="fio.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--only", default="", metavar="WORD", help="jobs whose name contains WORD")
    parser.add_argument("--size", type=int, default=256, metavar="MIB", help="size of the large file (default 256)")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    options = parser.parse_args(arguments)
    jobs = [job for job in JOBS if options.only in job]
    if not jobs or not options.directory.is_dir() or options.size < 16:
        parser.error("DIR must be a directory, WORD part of a job's name, MIB at least 16")
    environment = {
        "FIO_SIZE": f"{options.size}M",
        "FIO_SMALL_SIZE": f"{max(1, options.size // 16)}M",
        "FIO_QUARTER_SIZE": f"{options.size // 4}M",
        "FIO_VERIFY_SIZE": f"{options.size // 4}M",
    }
    work = Path(tempfile.mkdtemp(prefix="fio.", dir=options.directory))
    try:
        rows = [run_job(job, work, environment) for job in jobs]
    finally:
        shutil.rmtree(work)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        show(rows, Console() if sys.stdout.isatty() else Console(width=120))
    return int(any(row.error for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
