"""Films are played while one of six data nodes is slow: others overtake it, so that it does not set the pace.

What is counted are frames that somebody who waits for that node could not have sooner. How well a player keeps its pace depends on
the machine too, and is measured by `tools/frames.py`.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.support.mounts import DevCluster, dev_cluster
from tests.support.player import FRAME_BYTES, Frame, Played, play, write_file, write_sequence
from tests.support.slow_proxy import SlowProxy, node_behind_proxy

#: Of a film: played while all nodes are well, and then.
FIRST_COUNT = 12
FRAME_COUNT = 96
#: Objects have a quarter of theirs in each of four fragments on six nodes: about so many frames wait for one of these. Not counted
#: while the node is a good one: on a machine that stands still all nodes look slow, and more or less is asked of them.
WAITING = FRAME_COUNT * 4 // 6
WAITING_BYTES = WAITING * FRAME_BYTES // 4
#: So long that hardly a frame takes longer for another reason: a machine that is busy, or stands still once or twice.
DELAY_S = 1.0
LOSS = 0.05
LOST_S = 2.0
#: A read takes a request, and an answer of 128 KiB: so many chunks, and each may be lost.
CHUNKS_OF_A_READ = 3
#: There and back.
WAIT_S = 2 * DELAY_S


class Cinema:
    """Films on a cluster with a proxy before one of its nodes."""

    def __init__(self, cluster: DevCluster, proxy: SlowProxy) -> None:
        self._cluster = cluster
        self._proxy = proxy
        self._count = 0

    def film(self, write: Callable[[Path, int, int], list[Frame]]) -> list[Frame]:
        """A new one."""
        self._count += 1
        return write(self._cluster.mount / f"film{self._count}", 1000 * self._count, FIRST_COUNT + FRAME_COUNT)

    def play(self, film: list[Frame], weather: str) -> tuple[Played, int]:
        """A film through a mount that has nothing of it and knows all nodes as good ones: how it went, and the bytes the node sent
        for it. Each byte is verified."""
        self._count += 1
        other = self._cluster.another_mount(f"mnt{self._count}")
        frames = [frame.through(self._cluster.mount, other) for frame in film]
        first = play(frames[:FIRST_COUNT])
        before_bytes = self._proxy.set(weather)
        played = play(frames[FIRST_COUNT:])
        sent_bytes = self._proxy.set("off") - before_bytes
        assert first.wrong + played.wrong == []
        self._cluster.ringfs("umount", other)
        return played, sent_bytes


@pytest.fixture(scope="module")
def cinema() -> Iterator[Cinema]:
    """Six nodes, ec:4+2."""
    with ExitStack() as stack:
        cluster = stack.enter_context(dev_cluster("--data", "6", "--class", "ec:4+2"))
        yield Cinema(cluster, stack.enter_context(node_behind_proxy(cluster, "data1")))


def test_slow_node(cinema: Cinema) -> None:
    """All bytes are right; far fewer frames are late than have data on the slow node; it is hardly asked while it is slow."""
    sequence = cinema.film(write_sequence)
    well, well_bytes = cinema.play(sequence, "off")
    assert well_bytes > 0

    delayed, delayed_bytes = cinema.play(sequence, f"delay {DELAY_S}")
    assert delayed.count_over(WAIT_S) < well.count_over(WAIT_S) + WAITING / 10
    assert delayed_bytes < WAITING_BYTES / 2

    lossy, _ = cinema.play(sequence, f"loss {LOSS} {LOST_S}")
    lost = WAITING * (1 - (1 - LOSS) ** CHUNKS_OF_A_READ)
    assert lossy.count_over(LOST_S) < well.count_over(LOST_S) + lost / 2


def test_slow_node_under_a_large_file(cinema: Cinema) -> None:
    """The same of a file that is read ahead, by larger reads: what is read before the node is known as slow is asked of it."""
    # 1 MiB to an object, so that chance gives the node about as much of each film.
    file = cinema.film(partial(write_file, sync_after=2))
    well, well_bytes = cinema.play(file, "off")
    assert well_bytes > 0

    delayed, delayed_bytes = cinema.play(file, f"delay {DELAY_S}")
    assert delayed.count_over(WAIT_S) < well.count_over(WAIT_S) + FRAME_COUNT / 10
    assert delayed_bytes < WAITING_BYTES / 2
