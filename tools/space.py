#!/usr/bin/env python3
"""What files of a size take on the disks of a dev cluster, beside what theory says: large ones, small ones, under several classes.

    .venv/bin/python -m tools.space
    .venv/bin/python -m tools.space --mib 512 --nodes 6 --classes ec:4+2,replica:2

For each class and size, files of so many MiB altogether are written and synced. "theory" is what their bytes take under the class
(1.5 times for ec:4+2); "nodes" is what data nodes say that it takes, heads and padding included, "disks" what is in their segment
files, both as a percentage over theory. Metadata and indexes are what their files grew by. Small files are inline in the metadata.

Exit codes: 0 measured, 1 the cluster went wrong, 2 called wrongly.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ringfs.base.limits import KIB, MIB
from tests.support.event_runs import run_on_cluster
from tests.support.mounts import DevCluster
from tests.support.space import Space, measure, stored_bytes

SIZES = (64 * MIB, 4 * MIB, 1_000_000, 100_000, 20_000, 4 * KIB)
#: Of small files, so many at the most: it is not the number that is measured.
_FILES_MAX = 4000
#: So long nothing may change before it counts as settled: small bytes are moved out of the metadata in the background.
_STILL_S = 5.0


def fill(folder: Path, size: int, total_bytes: int) -> int:
    """Files of that size; how many bytes they have together."""
    folder.mkdir()
    count = max(1, min(total_bytes // size, _FILES_MAX))
    for number in range(count):
        (folder / str(number)).write_bytes(os.urandom(size))
    subprocess.run(["sync", "-f", folder], check=True)
    return count * size


def settled(cluster: DevCluster) -> Space:
    """When nothing has changed for a while."""
    last, space = None, measure(cluster)
    while last is None or (last.used, last.in_segments) != (space.used, space.in_segments):
        time.sleep(_STILL_S)
        last, space = space, measure(cluster)
    return space


def row(class_text: str, size: int, written_bytes: int, before: Space, after: Space) -> str:
    """A line of the table."""
    theory = stored_bytes(written_bytes, class_text)
    nodes = sum(after.used) - sum(before.used)
    disks = after.in_segments - before.in_segments
    over = [f"{100 * (found / theory - 1):8.2f} %" for found in (nodes, disks)]
    grown = [f"{(found / MIB):9.2f}" for found in (after.metadata - before.metadata, after.index - before.index)]
    return f"{class_text:10} {size:11,} {written_bytes / MIB:9.1f} {theory / MIB:9.1f} {' '.join(over)} {' '.join(grown)}"


def main(arguments: Sequence[str]) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=256, help="for each row (default 256)")
    parser.add_argument("--nodes", type=int, default=6, help="data nodes (default 6)")
    parser.add_argument("--classes", default="ec:4+2,replica:2", help="of service (default ec:4+2,replica:2)")
    options = parser.parse_args(arguments)

    def run(cluster: DevCluster) -> list[str]:
        cluster.up("--data", str(options.nodes))
        print("class       file bytes   MiB        theory   nodes over  disks over  metadata   indexes, MiB")
        for class_text in options.classes.split(","):
            place = cluster.mount / class_text.replace(":", "-")
            place.mkdir()
            cluster.ringfs("class", "set", place, class_text)
            for size in SIZES:
                before = settled(cluster)
                written_bytes = fill(place / str(size), size, options.mib * MIB)
                print(row(class_text, size, written_bytes, before, settled(cluster)), flush=True)
        return []

    return run_on_cluster("ringfs-space.", run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
