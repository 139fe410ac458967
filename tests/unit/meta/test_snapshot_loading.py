"""A state from the ring to a disk: all of it, or nothing, whatever is wrong and wherever it crashes."""

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from ringfs.base.errors import Code, Refused, UserError
from ringfs.base.files import RealFiles
from ringfs.base.kv.memory import MemoryView
from ringfs.base.kv.store import Store
from ringfs.meta import marks, snapshot_loading
from ringfs.meta.etcd.interface import Put
from ringfs.meta.marks import Marks
from ringfs.meta.namespace import machine
from ringfs.meta.snapshot_loading import SnapshotUnreadable, load_snapshot
from ringfs.meta.snapshot_pointer import SnapshotPointer, StoredObject, pointer_key
from ringfs.meta.snapshot_stream import SnapshotDamaged, StreamWriter
from ringfs.wire.messages.cluster import ClusterMap
from tests.support.etcd_model import EtcdModel, ModelClient
from tests.support.ring_model import RingModel

CLUSTER = "11111111-2222-3333-4444-555555555555"
PREFIX = b"/t/"
MAP = ClusterMap(1, CLUSTER, [])
#: Small objects, so that a snapshot has several.
OBJECT_BYTES = 4096

Change = Callable[[SnapshotPointer], SnapshotPointer]


class World:
    """An etcd, a ring, and a directory for a store."""

    def __init__(self, directory: Path) -> None:
        self.etcd = ModelClient(EtcdModel())
        self.ring = RingModel()
        self.ring.follow(MAP)
        self.directory = directory / "store"

    async def publish(self, position: int, cluster: str = CLUSTER, change: Change = lambda pointer: pointer) -> dict[bytes, bytes]:
        """Put a snapshot into the ring and its pointer into etcd; its rows."""
        view = MemoryView()
        machine.format_namespace(view, cluster, "replica:2", 0)
        chance = random.Random(position)
        for number in range(600):
            view.put(b"X" + number.to_bytes(8, "big") + b"name", chance.randbytes(chance.randint(0, 60)))
        writer = StreamWriter(OBJECT_BYTES)
        for key, value in view.pairs().items():
            writer.add(key, value)
        writer.end()
        objects = []
        while content := writer.take():
            new = await self.ring.put([memoryview(content)], "replica:2")
            objects.append(StoredObject(new.object, new.size_bytes))
        made = Marks(position, 3, 1000 + position)
        pointer = SnapshotPointer(CLUSTER, made, 9, writer.size_bytes, writer.digest(), "replica:2", tuple(objects), MAP)
        await self.etcd.transact([], [Put(pointer_key(PREFIX), change(pointer).pack())])
        return view.pairs()

    async def load(self, cluster: str = CLUSTER) -> Marks | None:
        """As a server does."""
        return await load_snapshot(self.etcd, PREFIX, self.ring, self.directory, cluster)

    def stored(self) -> tuple[Marks | None, dict[bytes, bytes]]:
        """What the store in the directory holds."""
        store = Store(self.directory)
        try:
            return marks.read(store), dict(store.scan(b"\0", b"\xff" * 9))
        finally:
            store.close()

    async def fill(self) -> tuple[Marks | None, dict[bytes, bytes]]:
        """Give the directory an older state; what it holds."""
        store = Store(self.directory)
        store.put(b"old", b"state")
        await store.checkpoint(marks.write(Marks(1, 1, 1)))
        store.close()
        return self.stored()


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Everything empty."""
    return World(tmp_path)


@pytest.mark.parametrize("is_empty", [True, False])
async def test_the_state_comes_back(world: World, autojump_clock: object, is_empty: bool) -> None:
    """Rows and marks, in the place of what was there, which may be nothing; nothing else is left beside it."""
    if not is_empty:
        await world.fill()
    rows = await world.publish(50)
    assert len(world.ring.held) > 3
    assert await world.load() == Marks(50, 3, 1050)
    assert world.stored() == (Marks(50, 3, 1050), rows)
    assert [path.name for path in world.directory.parent.iterdir()] == ["store"]


async def test_no_snapshot(world: World, autojump_clock: object) -> None:
    """Then the store stays as it is."""
    before = await world.fill()
    assert await world.load() is None
    assert world.stored() == before


async def test_many_rows_do_not_stay_in_memory(world: World, autojump_clock: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are written while they come; the state is marked as one only at the end."""
    monkeypatch.setattr(snapshot_loading, "_PENDING_BYTES_MAX", OBJECT_BYTES)
    rows = await world.publish(50)
    shown: list[tuple[int, int]] = []
    await load_snapshot(world.etcd, PREFIX, world.ring, world.directory, CLUSTER, lambda done, of: shown.append((done, of)))
    assert world.stored() == (Marks(50, 3, 1050), rows)
    assert shown == sorted(shown)
    assert len(shown) == len(world.ring.held)
    assert shown[-1][0] == shown[-1][1]


def _twice_the_first(pointer: SnapshotPointer) -> SnapshotPointer:
    return replace(pointer, objects=(pointer.objects[0], *pointer.objects))


def _without_the_last(pointer: SnapshotPointer) -> SnapshotPointer:
    last = pointer.objects[-1].size_bytes
    return replace(pointer, objects=pointer.objects[:-1], size_bytes=pointer.size_bytes - last)


@pytest.mark.parametrize(
    "change",
    [
        lambda pointer: replace(pointer, digest=bytes(32)),
        lambda pointer: replace(pointer, size_bytes=pointer.size_bytes + 1),
        lambda pointer: replace(pointer, objects=pointer.objects[::-1]),
        lambda pointer: replace(pointer, objects=()),
        _twice_the_first,
        _without_the_last,
    ],
    ids=["digest", "size", "order", "no objects", "repeated", "cut short"],
)
async def test_what_does_not_verify_is_refused(world: World, autojump_clock: object, change: Change) -> None:
    """Nothing of it is used: the old store is as it was."""
    before = await world.fill()
    await world.publish(50, change=change)
    with pytest.raises(SnapshotDamaged, match="does not verify"):
        await world.load()
    assert world.stored() == before


@pytest.mark.parametrize("is_damaged", [True, False])
async def test_object_gone_or_damaged(world: World, autojump_clock: object, is_damaged: bool) -> None:
    """The ids prove the objects: one that no node has right is not read, and that is said."""
    before = await world.fill()
    await world.publish(50)
    oid = list(world.ring.held)[2]
    if is_damaged:
        world.ring.held[oid] = bytes(OBJECT_BYTES)
    else:
        del world.ring.held[oid]
    with pytest.raises(SnapshotUnreadable, match=oid.hex()):
        await world.load()
    assert world.stored() == before
    assert world.ring.get_count > 5


async def test_wrong_cluster(world: World, autojump_clock: object) -> None:
    """Of the pointer, and of what it points to."""
    before = await world.fill()
    await world.publish(50)
    other = "99999999-2222-3333-4444-555555555555"
    with pytest.raises(UserError, match="another prefix"):
        await world.load(other)
    await world.publish(50, cluster=other)
    with pytest.raises(SnapshotDamaged, match=other):
        await world.load()
    assert world.stored() == before


async def test_damaged_pointer(world: World, autojump_clock: object) -> None:
    """It is no reason to begin with nothing."""
    before = await world.fill()
    await world.etcd.transact([], [Put(pointer_key(PREFIX), b"what is this")])
    with pytest.raises(SnapshotDamaged, match="pointer in etcd"):
        await world.load()
    assert world.stored() == before


async def test_a_pause_of_the_ring_is_waited_for(world: World, autojump_clock: object) -> None:
    """An object that cannot be read is tried again for some seconds."""
    rows = await world.publish(50)

    def before_get(number: int) -> None:
        if number in (2, 3, 6):
            raise Refused(Code.IO, "not now")

    world.ring.before_get = before_get
    await world.load()
    assert world.stored() == (Marks(50, 3, 1050), rows)


async def test_replaced_while_it_is_read(world: World, autojump_clock: object) -> None:
    """The objects of the old one are gone: the new one is loaded."""
    await world.publish(50)
    old = dict(world.ring.held)
    rows = await world.publish(70)

    def before_get(number: int) -> None:
        if number == 3:
            for oid in old:
                world.ring.held.pop(oid, None)

    newer = world.etcd.model.pairs(pointer_key(PREFIX))
    await world.publish(50)
    world.ring.before_get = before_get
    load = load_snapshot(_Replacing(world.etcd.model, newer), PREFIX, world.ring, world.directory, CLUSTER)
    assert await load == Marks(70, 3, 1070)
    assert world.stored() == (Marks(70, 3, 1070), rows)


class _Replacing(ModelClient):
    """After the first transaction, the keys are those given."""

    def __init__(self, model: EtcdModel, newer: dict[bytes, bytes]) -> None:
        super().__init__(model)
        self._newer = newer

    async def transact(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        """See Etcd."""
        done = await super().transact(*args, **kwargs)
        self.model.restore(self._newer)
        return done


class _Crash(Exception):
    pass


@pytest.mark.parametrize("step", ["get 1", "get 4", "checkpoint", "remove", "rename", "sync"])
async def test_crash(world: World, autojump_clock: object, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it stops, there is the old state, or none, or the new one; the next try brings the new one."""
    before = await world.fill()
    rows = await world.publish(50)
    with monkeypatch.context() as patched:
        _crash_at(step, world, patched)
        with suppress(_Crash):
            await world.load()
            pytest.fail("it did not crash")
    world.ring.before_get = lambda _number: None
    found = world.stored()
    assert found in (before, (None, {}), (Marks(50, 3, 1050), rows))
    assert (found == before) == (step in ("get 1", "get 4", "checkpoint", "remove"))
    assert await world.load() == Marks(50, 3, 1050)
    assert world.stored() == (Marks(50, 3, 1050), rows)
    assert [path.name for path in world.directory.parent.iterdir()] == ["store"]


def _crash_at(step: str, world: World, patched: pytest.MonkeyPatch) -> None:
    def crash(*_args: object) -> None:
        raise _Crash

    if step.startswith("get"):

        def before_get(number: int) -> None:
            if number == int(step[-1]):
                raise _Crash

        world.ring.before_get = before_get
    elif step == "checkpoint":
        patched.setattr(Store, "checkpoint", crash)
    elif step == "remove":
        whole = snapshot_loading._remove
        patched.setattr(snapshot_loading, "_remove", lambda path: crash() if path == world.directory else whole(path))
    elif step == "rename":
        patched.setattr(RealFiles, "rename", crash)
    else:
        synced = RealFiles.sync_directory
        patched.setattr(
            RealFiles,
            "sync_directory",
            lambda self, path: crash() if not (path / "store.loading").exists() and _is_moved(path) else synced(self, path),
        )


def _is_moved(path: Path) -> bool:
    return (path / "store" / "data.mdb").exists() and path.name != "store"


async def test_a_store_in_use_is_left_alone(world: World, autojump_clock: object) -> None:
    """Whoever has it open is named; nothing happens to it."""
    await world.fill()
    await world.publish(50)
    store = Store(world.directory)
    try:
        with pytest.raises(UserError, match="in use by process"):
            await world.load()
        assert store.get(b"old") == b"state"
    finally:
        store.close()
    assert marks.read(Store(world.directory)) == Marks(1, 1, 1)
