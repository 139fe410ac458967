"""Slow holders are overtaken, once, and avoided for a while; what is read twice because of it is bounded."""

import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio

from ringfs.base.errors import Refused
from ringfs.base.limits import BLOCK_BYTES, KIB, MIB
from ringfs.objects.latency import Latencies, Latency
from ringfs.objects.racing import Budget, Failed, Race, Way
from tests.support.shelf import Shelf, shelf

CONTENT = random.Random(2).randbytes(2 * MIB)
CLASSES = ["replica:2", "ec:4+2"]


async def read_all(at: Shelf, oid: bytes, count: int = 1) -> float:
    """Fetch every block, `count` at a time, one after the other: the longest that one took."""
    longest_s = 0.0
    for first in range(0, 32, count):
        begun_s = trio.current_time()
        found = await at.fetched(oid, first, count)
        longest_s = max(longest_s, trio.current_time() - begun_s)
        assert not isinstance(found, Refused)
        assert bytes(found) == CONTENT[first * BLOCK_BYTES :][: count * BLOCK_BYTES]
    return longest_s


@pytest.mark.parametrize("stored_class", CLASSES)
@pytest.mark.parametrize("slow_s", [0.5, 1e6])
async def test_one_slow_node(stored_class: str, slow_s: float, autojump_clock: trio.testing.MockClock) -> None:
    """Answers that take very long, or never come, keep readers waiting a moment, a few times; when it is well, it is used again."""
    async with shelf(6, default_class=stored_class) as at:
        oid = await at.put(CONTENT, stored_class)
        for node in at.nodes.values():
            node.get_s = 0.002
        await read_all(at, oid)
        slow = at.order(CONTENT)[0]
        slow.get_s = slow_s
        begun_s = trio.current_time()
        assert await read_all(at, oid) < 0.1
        assert await read_all(at, oid) < 0.1
        assert trio.current_time() - begun_s < 1.0
        slow.get_s = 0.002
        # What was asked of it meanwhile is given up, and the connection with it.
        await trio.sleep(60)
        count = slow.get_count
        for _ in range(3):
            assert await read_all(at, oid) < 0.1
        assert slow.get_count > count + 8


@pytest.mark.parametrize("stored_class", CLASSES)
async def test_a_stopped_node_does_not_slow_a_stream(stored_class: str, autojump_clock: trio.testing.MockClock) -> None:
    """Sixteen units at a time for a minute, one node silent: not a thousandth of the time is spent waiting for it."""
    async with shelf(6, default_class=stored_class) as at:
        oid = await at.put(CONTENT, stored_class)
        await read_all(at, oid, 8)
        at.order(CONTENT)[0].is_mute = True
        begun_s, longest_s, rounds = trio.current_time(), 0.0, 0
        while trio.current_time() - begun_s < 60:
            async with trio.open_nursery() as nursery:
                for _ in range(8):
                    nursery.start_soon(at.fetched, oid, rounds % 16, 2)
            rounds += 1
            longest_s = max(longest_s, await read_all(at, oid, 8))
            await trio.sleep(0.5)
        assert longest_s < 0.25
        assert rounds > 110


@pytest.mark.parametrize("stored_class", CLASSES)
async def test_a_node_that_stalls_now_and_then(stored_class: str, autojump_clock: trio.testing.MockClock) -> None:
    """As behind a lossy line: it does not become usual, for the others are the measure; and the node is trusted less and less."""
    draw = random.Random(7)
    waits_s = []
    async with shelf(6, default_class=stored_class) as at:
        oid = await at.put(CONTENT, stored_class)
        for node in at.nodes.values():
            node.get_s = 0.002
        await read_all(at, oid)
        stalling = at.order(CONTENT)[0]
        for number in range(1000):
            stalling.get_s = 0.3 if draw.random() < 0.15 else 0.002
            begun_s = trio.current_time()
            await at.fetched(oid, number % 8, 1)
            waits_s.append(trio.current_time() - begun_s)
            await trio.sleep(0.04)
    assert max(waits_s) < 0.1
    assert sum(wait_s > 0.02 for wait_s in waits_s) < 12


@pytest.mark.parametrize("stored_class", ["replica:3", "ec:4+2"])
async def test_what_was_believed_is_wrong_and_the_last_holder_silent(
    stored_class: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Parts have moved, and the one that has not is at a node that has stopped: nodes are asked, and that one is not waited for."""
    async with shelf(9, default_class=stored_class) as at:
        oid = await at.put(CONTENT, stored_class)
        await read_all(at, oid)
        holders = [node for node in at.order(CONTENT) if oid in node.held]
        spare = [node for node in at.order(CONTENT) if oid not in node.held]
        holders[0].is_mute = True
        # Overtaken, so that it is the last one to be asked.
        await at.fetched(oid, 0, 1)
        for old, new in zip(holders[1:3], spare, strict=False):
            new.held[oid] = old.held.pop(oid)
        assert await read_all(at, oid, 8) < 0.5


async def test_the_last_fragments_are_late(autojump_clock: trio.testing.MockClock) -> None:
    """Of six holders two are gone, and one of the last four is late: it is waited for, for there is nobody else to ask, however
    many reads may be done twice."""
    async with shelf(6, default_class="ec:4+2") as at:
        other = await at.put(CONTENT[::-1], "ec:4+2")
        oid = await at.put(CONTENT, "ec:4+2")
        for node in at.nodes.values():
            node.get_s = 0.002
        gone, left = at.order(CONTENT)[:2], at.order(CONTENT)[2:]
        for node in gone:
            node.held.pop(oid)
        for number in range(40):
            for first in range(32):
                assert not isinstance(await at.fetched(other, first, 1), Refused)
            late = left[number % 4]
            late.get_s = 0.3
            assert await read_all(at, oid, 8) < 1.0
            late.get_s = 0.002


async def test_late_fragments_are_overtaken(autojump_clock: trio.testing.MockClock) -> None:
    """Of six holders one is gone and one silent: what is lost is made of the other four, without waiting."""
    async with shelf(6, default_class="ec:4+2") as at:
        oid = await at.put(CONTENT, "ec:4+2")
        for node in at.nodes.values():
            node.get_s = 0.002
        await read_all(at, oid)
        gone, late = at.order(CONTENT)[:2]
        gone.held.pop(oid)
        late.is_mute = True
        assert await read_all(at, oid, 8) < 1.0


@pytest.mark.parametrize("stored_class", CLASSES)
async def test_objects_that_nothing_is_known_of(stored_class: str, autojump_clock: trio.testing.MockClock) -> None:
    """As when each frame of a film is a file: a silent node keeps who asks all nodes waiting no longer than one who reads."""
    async with shelf(6, default_class=stored_class) as at, trio.open_nursery() as nursery:
        film = [await at.put(random.Random(number).randbytes(512 * KIB), stored_class) for number in range(100)]
        for node in at.nodes.values():
            node.get_s = 0.002
        at.renewed(nursery)
        for oid in film[:20]:
            assert not isinstance(await at.fetched(oid, 0, 8), Refused)
        at.nodes[1].is_mute = True
        longest_s = 0.0
        for oid in film[20:]:
            begun_s = trio.current_time()
            assert not isinstance(await at.fetched(oid, 0, 8), Refused)
            longest_s = max(longest_s, trio.current_time() - begun_s)
            await trio.sleep(0.1)
        assert longest_s < 0.15
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("stored_class", ["replica:3", "ec:4+2"])
async def test_nodes_that_open_no_connection(stored_class: str, autojump_clock: trio.testing.MockClock) -> None:
    """A client that has no connections yet, and two nodes that are stopped: the first reads and the first puts wait a moment, those
    that follow do not, though connections are tried again and again; when the nodes go on, they are used."""
    async with shelf(8, default_class=stored_class) as at, trio.open_nursery() as nursery:
        oid = await at.put(CONTENT, stored_class)
        stopped = at.order(CONTENT)[:2]
        at.silent = {node.address for node in stopped}
        at.renewed(nursery)
        assert await read_all(at, oid, 8) < 2.0
        begun_s = trio.current_time()
        for round_ in range(40):
            assert await read_all(at, oid) < 0.25, round_
            await trio.sleep(1)
        assert trio.current_time() - begun_s < 42
        begun_s = trio.current_time()
        for number in range(4):
            await at.put(random.Random(number).randbytes(MIB), stored_class)
        assert trio.current_time() - begun_s < 3.5
        at.silent.clear()
        before = stopped[0].get_count
        await trio.sleep(60)
        for _ in range(3):
            await read_all(at, oid)
            await trio.sleep(10)
        assert stopped[0].get_count > before
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("stored_class", CLASSES)
async def test_what_is_read_twice_is_bounded(stored_class: str, autojump_clock: trio.testing.MockClock) -> None:
    """When all nodes have become slow, or take very different times, hedging does not double their load."""
    draw = random.Random(3)
    async with shelf(6, default_class=stored_class) as at:
        oid = await at.put(CONTENT, stored_class)
        nodes = list(at.nodes.values())
        before = 0
        reads = 0
        for node in nodes:
            node.get_s = 0.002
        await read_all(at, oid)
        before = sum(node.get_count for node in nodes)
        for _ in range(30):
            for node in nodes:
                node.get_s = draw.choice([0.002, 0.1, 0.3])
            await read_all(at, oid)
            reads += 32
        extra = sum(node.get_count for node in nodes) - before - reads
        # Avoided holders are read around, which for fragments takes four others: that is no hedge.
        assert extra <= (0.1 * reads + 128 if stored_class == "replica:2" else 4 * reads)
        for node in nodes:
            node.get_s = 0.3
        before = sum(node.get_count for node in nodes)
        await trio.sleep(60)
        for _ in range(10):
            await read_all(at, oid)
        assert sum(node.get_count for node in nodes) - before <= 1.3 * 320 + 128


async def test_nobody_is_called_twice(autojump_clock: trio.testing.MockClock) -> None:
    """Answers that come just when they are overtaken, before and after, are handed on once (`fetched` asserts it)."""
    draw = random.Random(4)
    async with shelf(6, default_class="ec:2+2") as at:
        oid = await at.put(CONTENT, "ec:2+2")
        nodes = list(at.nodes.values())
        for _ in range(200):
            for node in nodes:
                node.get_s = draw.choice([0.0, 0.02, 0.06, 0.08, 0.1])
                node.corrupts_content = draw.random() < 0.15
            found = await at.fetched(oid, draw.randrange(32), 1)
            assert isinstance(found, Refused) or len(found) == BLOCK_BYTES


async def test_no_task_when_all_is_well(autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetches of what one node has need no task of their own: one watches all of them."""
    async with shelf(6, default_class="ec:4+2") as at:
        oid = await at.put(CONTENT, "ec:4+2")
        for node in at.nodes.values():
            node.get_s = 0.015
        await read_all(at, oid)
        await trio.sleep(0.1)
        started: list[Any] = []
        start_soon = at.objects.places.nodes.start_soon

        def counted(function: Callable[..., Awaitable[object]], *arguments: Any) -> None:
            started.append(function)
            start_soon(function, *arguments)

        monkeypatch.setattr(at.objects.places.nodes, "start_soon", counted)
        arrived: list[memoryview | Refused] = []
        for first in range(32):
            at.objects.fetch_soon(oid, first, 1, arrived.append)
        await trio.sleep(0.1)
        assert len(arrived) == 32
        assert len(started) == 1


# --- the parts by themselves ----------------------------------------------------------------------------------------


def test_latency_follows_what_is_measured() -> None:
    """Late is a few times what is usual, within bounds; one outlier does not change that much, many do."""
    latency = Latency(0.03)
    for _ in range(50):
        latency.note(0.01)
    assert 0.03 <= latency.late_after_s(0.0, 9.0) < 0.04
    assert latency.late_after_s(0.2, 9.0) == 0.2
    latency.note(1.0)
    assert latency.late_after_s(0.0, 9.0) < 2.0
    for _ in range(50):
        latency.note(1.0)
    assert 3.0 <= latency.late_after_s(0.0, 9.0) < 4.0
    assert latency.late_after_s(0.0, 1.0) == 1.0


def test_late_is_what_is_late_for_most() -> None:
    """A connection that has become slow is late by the measure of the others, until most of them are slow."""
    latencies = Latencies(0.03)
    lanes = [latencies.one_more() for _ in range(5)]
    assert latencies.late_after_s(lanes[0], 0.0, 9.0) == pytest.approx(0.18)
    for _ in range(100):
        for lane in lanes[1:]:
            latencies.note(lane, 0.01)
        latencies.note(lanes[0], 1.0)
    assert latencies.late_after_s(lanes[0], 0.0, 9.0) < 0.04
    assert latencies.late_after_s(lanes[0], 0.2, 9.0) == 0.2
    for _ in range(100):
        for lane in lanes[:3]:
            latencies.note(lane, 1.0)
    assert latencies.late_after_s(lanes[0], 0.0, 9.0) >= 3.0
    assert latencies.late_after_s(lanes[4], 0.0, 9.0) < 0.04, "each is late by its own measure, too"
    for lane in lanes[:3]:
        latencies.forget(lane)
    for _ in range(100):
        latencies.note(lanes[4], 0.01)
    fresh = latencies.one_more()
    assert latencies.late_after_s(fresh, 0.0, 9.0) < 0.04


def test_the_budget() -> None:
    """So much may be saved up, and a tenth of what is read is earned."""
    budget = Budget()
    taken = sum(budget.take(1) for _ in range(1000))
    assert taken == 128
    for _ in range(95):
        budget.earn()
    assert budget.take(9)
    assert not budget.take(1)


def _way(blamed: list[str], name: str, takes_s: float, late_s: float, *, fails: bool = False, cost: int = 1) -> Way[str]:
    async def go() -> str:
        await trio.sleep(takes_s)
        if fails:
            raise Failed(f"{name} failed", is_missing=name == "gone")
        return name

    return Way(go, late_s, cost, partial(blamed.append, name))


async def test_races(autojump_clock: trio.testing.MockClock) -> None:
    """The first one wins, unless it is late and another one is faster; failures start the next at once; late losers are blamed."""
    blamed: list[str] = []
    way = partial(_way, blamed)
    for ways, winner, took_s, blame in (
        ([way("a", 1, 2), way("b", 0, 1)], "a", 1, []),
        ([way("a", 5, 2), way("b", 1, 9)], "b", 3, ["a"]),
        ([way("a", 5, 2), way("b", 9, 9)], "a", 5, []),
        ([way("a", 1, 9, fails=True), way("b", 1, 9)], "b", 2, []),
        ([way("a", 5, 2, fails=True), way("b", 9, 1), way("c", 1, 9)], "c", 4, ["a", "b"]),
        ([way("a", 1.5, 1), way("b", 0, 1, cost=999)], "a", 1.5, []),
        ([way("a", 3, 1), way("b", 0, 1, cost=999)], "b", 2, ["a"]),
    ):
        begun_s = trio.current_time()
        blamed.clear()
        assert await Race(ways, Budget()).run() == winner
        assert trio.current_time() - begun_s == pytest.approx(took_s)
        assert blamed == blame


async def test_races_that_nobody_wins(autojump_clock: trio.testing.MockClock) -> None:
    """All reasons are given, and whether something was only not there."""
    with pytest.raises(Failed, match="a failed; b failed") as caught:
        await Race([_way([], "a", 1, 9, fails=True), _way([], "b", 1, 9, fails=True)], Budget()).run()
    assert not caught.value.is_missing
    with pytest.raises(Failed) as caught:
        await Race([_way([], "a", 1, 9, fails=True), _way([], "gone", 1, 9, fails=True)], Budget()).run()
    assert caught.value.is_missing
    with pytest.raises(Failed):
        await Race([], Budget()).run()


@pytest.mark.parametrize("size_bytes", [10 * KIB, MIB])
async def test_puts_do_not_wait_for_one_node(size_bytes: int, autojump_clock: trio.testing.MockClock) -> None:
    """A silent node costs the first put two seconds, and those that follow nothing for a while."""
    async with shelf(8, default_class="ec:4+2") as at:
        contents = [random.Random(seed).randbytes(size_bytes) for seed in range(12)]
        silent = at.order(contents[0])[1]
        silent.is_mute = True
        begun_s = trio.current_time()
        for content in contents:
            await at.put(content, "ec:4+2")
        assert trio.current_time() - begun_s < 2.5
        assert not silent.held


async def test_a_put_that_is_late_everywhere(autojump_clock: trio.testing.MockClock) -> None:
    """While nobody has answered, a silent node is no later than others; the first answers show that it is, and it is replaced."""
    async with shelf(8, default_class="ec:4+2") as at:
        for node in at.nodes.values():
            node.put_s = 3.0
        at.order(CONTENT)[1].is_mute = True
        begun_s = trio.current_time()
        await at.put(CONTENT, "ec:4+2")
        assert trio.current_time() - begun_s < 6.5


async def test_a_put_that_has_too_few_nodes_tries_again_soon(autojump_clock: trio.testing.MockClock) -> None:
    """When two of three have refused, and the third one has answered, there is nobody to wait for."""
    async with shelf(3) as at:
        refusing = at.order(CONTENT)[:2]
        for node in refusing:
            node.is_failed = True
        begun_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(at.put, CONTENT, "replica:2")
            await trio.sleep(0.5)
            for node in refusing:
                node.is_failed = False
        assert 1.0 <= trio.current_time() - begun_s < 1.5
