#!/usr/bin/env python3
"""Failover of metadata servers, or the ring of data nodes, simulated: thousands of seeds in virtual time.

    .venv/bin/python tools/simulate.py --seeds 0-2000
    .venv/bin/python tools/simulate.py --seeds 23 --log               one seed again, with what everybody logs
    .venv/bin/python tools/simulate.py --seeds 0-500 --workload names --seconds 60
    .venv/bin/python tools/simulate.py --world ring --seeds 0-500

A seed of failover is three metadata servers over a model of etcd, two data nodes, three clients at work with the real client
library, and a schedule of faults (tests/support/failover_faults.py says which). Afterwards the laws are checked: acknowledged is
durable, each request took effect once, one leader appended per term, all servers' states agree, the namespace is a tree, and who
has gone has left nothing. The same seed does the same again, to the last byte: the digest says so.

A seed of the ring is 5 to 12 data nodes with real stewards, a metadata server, clients, and faults that never exceed what the
class of promises to survive (tests/support/ring_faults.py). The laws: every live object has its tolerance or is on its way there,
no read is wrong, and in the end everything is where it belongs.

Exit codes: 0 nothing was wrong, 1 something was (the seed and the story of its faults are told), 2 called wrongly.
"""

import argparse
import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import structlog

from tests.support import failover_run, ring_run
from tests.support.failover_workloads import KINDS

_FAILED = 1
_HASH_SEED = "PYTHONHASHSEED"


def main(arguments: Sequence[str]) -> int:
    """See the module."""
    options = _parse(arguments)
    if not options.log:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    failed = []
    begun_s = time.monotonic()
    for seed in options.seeds:
        try:
            told = _WORLDS[options.world](seed, options)
        except (Exception, BaseExceptionGroup) as error:
            if isinstance(error, BaseExceptionGroup) and error.subgroup(KeyboardInterrupt):
                raise
            failed.append(seed)
            print(f"seed {seed} FAILED")
            traceback.print_exception(error)
        else:
            print(f"seed {seed}: {told}", flush=True)
    print(f"{len(options.seeds)} seeds in {time.monotonic() - begun_s:.0f} s; failed: {', '.join(map(str, failed)) or 'none'}")
    return _FAILED if failed else 0


def _failover(seed: int, options: argparse.Namespace) -> str:
    report = failover_run.run(seed, tuple(options.workload or KINDS), options.seconds or failover_run.FAULTS_S)
    return (
        f"{report.faults} faults, {report.terms} terms, {report.transactions} transactions, "
        f"{report.steps} steps, {report.checkpoints} states compared, {report.loads} snapshots loaded, digest {report.digest}"
    )


def _ring(seed: int, options: argparse.Namespace) -> str:
    report = ring_run.run(seed, options.seconds or ring_run.FAULTS_S)
    return (
        f"{report.stored_class} on {report.nodes} nodes, {report.faults} faults, {report.writes} writes, {report.reads} reads, "
        f"{report.healed} parts healed, {report.moved} moved, {report.mended} mended, {report.reformed} objects re-formed, "
        f"{report.swept} swept; healed after {report.healed_s:.0f} s, clean after {report.clean_s:.0f} s more"
    )


_WORLDS = {"failover": _failover, "ring": _ring}


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seeds", type=_seeds, default=range(100), metavar="A-B", help="from A to before B, or just A (default 0-100)"
    )
    parser.add_argument("--world", choices=_WORLDS, default="failover", help="what is simulated (default failover)")
    parser.add_argument(
        "--workload", choices=KINDS, action="append", help="of failover, only this; may be given again (default all)"
    )
    defaults = f"{failover_run.FAULTS_S:g}, ring {ring_run.FAULTS_S:g}"
    parser.add_argument("--seconds", type=float, help=f"virtual time of faults (default {defaults})")
    parser.add_argument("--log", action="store_true", help="print what servers and clients log")
    return parser.parse_args(arguments)


def _seeds(text: str) -> range:
    first, dash, last = text.partition("-")
    return range(int(first), int(last) if dash else int(first) + 1)


if __name__ == "__main__":
    if os.environ.get(_HASH_SEED) != "0":
        # The order of sets is part of what a seed decides.
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, _HASH_SEED: "0"})
    sys.exit(main(sys.argv[1:]))
