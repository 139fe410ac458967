#!/usr/bin/env python3
"""Does a film keep its pace while a data node is slow? Prints how many frames came late, for each kind of slowness.

    .venv/bin/python -m tools.frames
    .venv/bin/python -m tools.frames --seconds 20 --frame-kib 8192 --nodes 6 --class ec:4+2

A player reads 24 frames a second in order, each when it is due, and has half a second of the film in its memory: a frame is late
if it comes more than that after it was due. A frame is a file of its own (dpx), or a piece of one large file (file). Each row has a
mount of its own, which knows all nodes as good ones, or ("new") none yet. One node is well, stopped (SIGSTOP), behind a way that
takes 200 ms more, or behind one on which 5 % of all chunks are lost and sent anew 0.2 to 0.4 s later (tests/support/slow_proxy.py).
Every byte is verified. "share" is what part of the film's bytes came from that node.

Exit codes: 0 all bytes were right, 1 some were not, or the cluster went wrong, 2 called wrongly.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support.event_runs import run_on_cluster
from tests.support.mounts import DevCluster
from tests.support.player import FRAMES_PER_S, Frame, play, write_file, write_sequence
from tests.support.slow_proxy import SlowProxy, node_behind_proxy

SLOW = "data1"
KINDS = ("well", "stopped", "delay 0.2", "loss 0.05")
WAYS = ("dpx", "file", "dpx new", "file new")


class Show:
    """One run of all kinds."""

    def __init__(self, cluster: DevCluster, proxy: SlowProxy, seconds: int, size_bytes: int) -> None:
        self._cluster = cluster
        self._proxy = proxy
        self._count = seconds * FRAMES_PER_S
        self._size_bytes = size_bytes
        self._made = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        """Write and play a film for each row."""
        print(f"{'node':10} {'film':9} {'late':>5} {'longest, s':>11} {'over 0.1 s':>11} {'share':>6}")
        first = self._film("dpx", FRAMES_PER_S)
        for kind in KINDS:
            for way in WAYS:
                film = self._film(way, self._count)
                point = self._cluster.another_mount(f"mnt{self._made}")
                if not way.endswith("new"):
                    play([frame.through(self._cluster.mount, point) for frame in first])
                with self._slow(kind):
                    self._play(kind, way, [frame.through(self._cluster.mount, point) for frame in film])
                self._cluster.ringfs("umount", point)

    def _film(self, way: str, count: int) -> list[Frame]:
        self._made += 1
        write: Callable[[Path, int, int, int], list[Frame]] = write_sequence if way.startswith("dpx") else write_file
        return write(self._cluster.mount / f"film{self._made}", self._made * 1_000_000, count, self._size_bytes)

    @contextmanager
    def _slow(self, kind: str) -> Iterator[None]:
        pid = int((self._cluster.directory / SLOW / "pid").read_text())
        if kind == "stopped":
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            if kind == "stopped":
                os.kill(pid, signal.SIGCONT)

    def _play(self, kind: str, way: str, frames: Sequence[Frame]) -> None:
        weather = kind if kind.split()[0] in ("delay", "loss") else "off"
        before_bytes = self._proxy.set(weather)
        played = play(frames)
        share = (self._proxy.set("off") - before_bytes) / (len(frames) * self._size_bytes)
        over = played.count_over(0.1)
        print(f"{kind:10} {way:9} {played.late:5} {played.longest_s:11.3f} {over:11} {share:6.2f}", flush=True)
        self.wrong += [f"{kind}, {way}: frame {number} has wrong bytes" for number in played.wrong]


def main(arguments: Sequence[str]) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10, help="of each film (default 10)")
    parser.add_argument("--frame-kib", type=int, default=512, help="size of a frame (default 512)")
    parser.add_argument("--nodes", type=int, default=6, help="data nodes (default 6)")
    parser.add_argument("--class", dest="class_text", default="ec:4+2", help="class of service (default ec:4+2)")
    options = parser.parse_args(arguments)

    def run(cluster: DevCluster) -> list[str]:
        cluster.up("--data", str(options.nodes), "--class", options.class_text)
        with ExitStack() as stack:
            proxy = stack.enter_context(node_behind_proxy(cluster, SLOW))
            show = Show(cluster, proxy, options.seconds, options.frame_kib << 10)
            show.run()
            cluster.dev("down")
        return show.wrong

    return run_on_cluster("ringfs-frames.", run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
