"""Long runs of events on a dev cluster as programs: their options, and what becomes of the cluster. For tools."""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.support.crashes import Stuck
from tests.support.mounts import DevCluster


def run_on_cluster(prefix: str, run: Callable[[DevCluster], list[str]], parent: str | None = None) -> int:
    """Have `run` make a cluster in a new directory and say what is wrong; the exit code. The files of what went wrong are kept."""
    root = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    root.chmod(0o755)
    cluster = DevCluster(root)
    try:
        findings = run(cluster)
    except (Stuck, AssertionError, pytest.fail.Exception, subprocess.SubprocessError) as error:
        findings = [f"{type(error).__name__}: {error}"]
    if findings:
        print("\n".join([*findings, f"the cluster is down, its files are in {root}"]), file=sys.stderr)
        cluster.dev("down", check=False)
        return 1
    cluster.destroy()
    return 0


def event_parser(description: str | None, kinds: Sequence[str]) -> argparse.ArgumentParser:
    """Options rounds, kinds and seed."""

    def chosen(text: str) -> tuple[str, ...]:
        wanted = tuple(text.split(","))
        if unknown := set(wanted) - set(kinds):
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: not one of {', '.join(kinds)}")
        return wanted

    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1, help="how often each kind (default 1)")
    parser.add_argument("--kinds", type=chosen, default=tuple(kinds), metavar="K,K", help=f"of {', '.join(kinds)} (default all)")
    parser.add_argument("--seed", type=int, default=os.getpid(), help="of writers, fsx and choices (default random)")
    return parser
