"""The machine stops: of everything written to segments and not yet synced, each 4 KiB is there or not, as chance has it.

The store runs on real files; its segments remember what was there before each unsynced write or hole, and crash() puts random
pages of that back. The index keeps every checkpoint that had returned, which is LMDB's promise.
"""

import random
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from ringfs.base.checksums import Buffer
from ringfs.base.files import RealFiles
from ringfs.data import checkpointer
from ringfs.data.disk import Disk, Segment
from ringfs.data.identity import check_disk, make_identity
from ringfs.data.recovery import open_store
from ringfs.data.store import ObjectStore
from tests.support.stores import CLUSTER, SMALL, Made, TickingClock, adds_up, any_part, content_of, made, put, running, unpacked

PAGE = 4096


class Unsynced:
    """What was in the segments where they have changed since their last sync: (segment, offset, old bytes), oldest first."""

    def __init__(self) -> None:
        self.changes: list[tuple[int, int, bytes]] = []
        self.lock = threading.Lock()

    def crash(self, directory: Path, chance: random.Random) -> None:
        """Lose some of it."""
        for number, offset, old in reversed(self.changes):
            path = directory / "segments" / f"{number:08d}.segment"
            if not path.exists():
                continue
            with path.open("r+b") as file:
                for start in range(0, len(old), PAGE):
                    if chance.random() < 0.5:
                        file.seek(offset + start)
                        file.write(old[start : start + PAGE])


def lossy_disk(unsynced: Unsynced) -> type[Disk]:
    """A Disk that remembers there."""

    class LossySegment(Segment):
        def _remember(self, offset: int, length_bytes: int) -> None:
            old = memoryview(bytearray(length_bytes))
            self.read(old, offset, direct=False)
            with unsynced.lock:
                unsynced.changes.append((self.number, offset, bytes(old)))

        def write(self, parts: Sequence[Buffer], offset: int) -> None:
            self._remember(offset, sum(map(len, parts)))
            super().write(parts, offset)

        def punch(self, offset: int, length_bytes: int) -> None:
            self._remember(offset, length_bytes)
            super().punch(offset, length_bytes)

        def sync(self) -> None:
            with unsynced.lock:
                covered = [change for change in unsynced.changes if change[0] == self.number]
            super().sync()
            with unsynced.lock:
                unsynced.changes = [change for change in unsynced.changes if change not in covered]

    class LossyDisk(Disk):
        segment_type = LossySegment

    return LossyDisk


class Life:
    """One run of a store up to its crash, and what it had acknowledged."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.number = 0
        self.put: set[int] = set()
        self.deleting: set[int] = set()
        self.deleted: set[int] = set()
        self.acknowledged_count = 0
        #: Held, and no other task deals with them.
        self.idle: list[int] = []

    async def loop(self, store: ObjectStore) -> None:
        """Put, renew, delete, for ever."""
        while True:
            self.number += 1
            number = self.number
            await put(store, thing(number))
            self.put.add(number)
            self.acknowledged_count += 1
            self.idle.append(number)
            chosen = self.idle.pop(self.chance.randrange(len(self.idle)))
            if self.chance.random() < 0.5:
                await put(store, thing(chosen))
                self.idle.append(chosen)
            else:
                self.deleting.add(chosen)
                await store.delete([(thing(chosen).oid, 1 << 61)])
                self.deleted.add(chosen)
            self.acknowledged_count += 1


def thing(number: int) -> Made:
    """The copy or fragment of that number."""
    return any_part(made(number, random.Random(number).choice([100, 9000, 70_000, 200_000])))


async def live_and_crash(disk: Path, life: Life, clock: TickingClock) -> None:
    """Run for some acknowledgements, stop everything, lose what was not synced."""
    unsynced = Unsynced()
    identity = check_disk(RealFiles(), disk, CLUSTER) or make_identity(RealFiles(), disk, CLUSTER)
    store = await open_store(disk, identity, clock, SMALL, lossy_disk(unsynced))
    end = life.acknowledged_count + life.chance.randint(1, 60)
    life.idle.clear()
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        for _ in range(4):
            nursery.start_soon(life.loop, store)
        while life.acknowledged_count < end:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    # What threads write goes on in this process, though nobody waits for it.
    await store._put_threads.wait_idle()
    store._checkpointer._kv.close()
    store._segments.close()
    store.disk.close()
    unsynced.crash(disk, life.chance)


@pytest.mark.parametrize("seed", range(8))
async def test_nothing_acknowledged_is_lost(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Crash after crash: acknowledged puts are held and right, acknowledged deletes stay, whatever else is held is right too."""
    monkeypatch.setattr(checkpointer, "INTERVAL_S", 0.01)
    life, clock = Life(random.Random(seed)), TickingClock()
    for crash in range(5):
        hint = f"seed {seed} crash {crash}"
        await live_and_crash(tmp_path, life, clock)
        async with running(tmp_path, clock=clock) as store:
            for number in life.put - life.deleting:
                assert await content_of(store, thing(number)) == thing(number).content, f"{hint} object {number}"
            for number in life.deleted:
                assert not store.holds(*unpacked(thing(number).stored.key)), f"{hint} object {number}"
            for key, _ in store.page(b"", 10_000)[0]:
                assert (await store.verify(*unpacked(key))).is_intact, hint
            assert adds_up(store._index), hint
