"""The store: one view over two tables and LMDB, checkpoints that are all or nothing, and failures that lose nothing."""

import errno
import random
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lmdb
import pytest
import trio

from ringfs.base.errors import UserError
from ringfs.base.kv import environment
from ringfs.base.kv.merge import merged, without_deletions
from ringfs.base.kv.overlay import Overlay
from ringfs.base.kv.store import ReadDamaged, Store, StoreDamaged, StoreFailed, StoreFull
from ringfs.base.kv.turns import Turns
from ringfs.base.limits import MIB

END = b"\xff\xff"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A new one."""
    store = Store(tmp_path / "store", map_bytes=256 * MIB)
    yield store
    store.close()


def everything(store: Any) -> dict[bytes, bytes]:
    """All pairs, which scan gives in order."""
    pairs = list(store.scan(b"", END))
    assert [key for key, _ in pairs] == sorted({key for key, _ in pairs})
    return dict(pairs)


class Gate:
    """Holds a checkpoint's thread before it writes, and may make it fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failure: Exception | None = None) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()
        self._failure = failure
        self._real: Callable[..., None] = environment._put_all
        monkeypatch.setattr(environment, "_put_all", self._put_all)

    def _put_all(self, transaction: Any, changes: Any, turns: Turns) -> None:
        self.reached.set()
        self.opened.wait()
        self._real(transaction, changes, turns)
        if self._failure is not None:
            raise self._failure


def lmdb_error(number: int) -> lmdb.Error:
    """As the binding raises for an errno."""
    error = lmdb.Error("injected")
    vars(error)["code"] = number
    return error


async def until(event: threading.Event) -> None:
    """Wait for a thread."""
    await trio.to_thread.run_sync(event.wait)


@pytest.mark.parametrize("seed", range(12))
async def test_it_is_an_ordered_map(tmp_path: Path, seed: int) -> None:
    """Random changes, checkpoints (some fail), reopenings: get and scan always agree with a dictionary."""
    chance = random.Random(seed)
    store = Store(tmp_path / "store", map_bytes=64 * MIB)
    model: dict[bytes, bytes] = {}
    checkpointed: dict[bytes, bytes] = {}
    keys = [chance.randbytes(chance.randint(1, 4)) for _ in range(80)]
    for step in range(150):
        where = f"seed {seed}, step {step}"
        match chance.choice(["apply"] * 6 + ["scan"] * 4 + ["checkpoint", "fail", "reopen"]):
            case "apply":
                changes = {key: chance.choice([None, chance.randbytes(5), b""]) for key in chance.sample(keys, 6)}
                store.apply(changes)
                model.update({key: value for key, value in changes.items() if value is not None})
                for key in [key for key, value in changes.items() if value is None]:
                    model.pop(key, None)
            case "scan":
                start, stop = sorted(chance.sample([*keys, b"", END], 2))
                assert list(store.scan(start, stop)) == sorted(pair for pair in model.items() if start <= pair[0] < stop), where
            case "checkpoint":
                await store.checkpoint({b"step": b"%d" % step})
                checkpointed = dict(model)
                assert (store.mark(b"step"), store.pending_bytes) == (b"%d" % step, 0), where
            case "fail":
                with pytest.MonkeyPatch.context() as patch:
                    Gate(patch, lmdb_error(errno.ENOSPC)).opened.set()
                    with pytest.raises(StoreFull, match="injected"):
                        await store.checkpoint({b"step": b"bad"})
            case "reopen":
                store.close()
                store = Store(tmp_path / "store", map_bytes=64 * MIB)
                model = dict(checkpointed)
        for key in keys:
            assert store.get(key) == model.get(key), where
    assert everything(store) == model, f"seed {seed}"
    store.close()


async def test_reads_and_changes_go_on_during_a_checkpoint(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint has what was there when it was called; what changed meanwhile is seen at once, and is in the next."""
    store.apply({b"a": b"1", b"b": b"1", b"c": b"1"})
    gate = Gate(monkeypatch)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.checkpoint, {b"m": b"1"})
        await until(gate.reached)
        store.apply({b"a": b"2", b"b": None, b"d": b"2"})
        assert everything(store) == {b"a": b"2", b"c": b"1", b"d": b"2"}
        assert store.get(b"b") is None
        assert store.mark(b"m") is None
        gate.opened.set()
    assert everything(store) == {b"a": b"2", b"c": b"1", b"d": b"2"}
    snapshot = store.snapshot()
    assert (everything(snapshot), snapshot.mark(b"m")) == ({b"a": b"1", b"b": b"1", b"c": b"1"}, b"1")
    snapshot.close()
    await store.checkpoint({})
    assert store.mark(b"m") == b"1", "marks that are not given keep their value"
    snapshot = store.snapshot()
    assert everything(snapshot) == {b"a": b"2", b"c": b"1", b"d": b"2"}
    snapshot.close()


async def test_a_snapshot_stays_as_it_is(store: Store) -> None:
    """Over many later checkpoints, whose transactions would otherwise reuse its pages."""
    first = {b"%d" % number: b"first" * 50 for number in range(500)}
    store.apply(first)
    await store.checkpoint({b"m": b"1"})
    snapshot = store.snapshot()
    for round_number in range(6):
        store.apply(dict.fromkeys(first, b"%d" % round_number * 200))
        await store.checkpoint({b"m": b"%d" % round_number})
    assert everything(snapshot) == first
    assert snapshot.mark(b"m") == b"1"
    assert snapshot.get(b"7") == b"first" * 50
    assert list(snapshot.scan(b"498", b"5")) == [(b"498", b"first" * 50), (b"499", b"first" * 50)]
    snapshot.close()


async def test_one_checkpoint_at_a_time(store: Store) -> None:
    """Two at once are a bug of the caller."""
    with pytest.RaisesGroup(pytest.RaisesExc(AssertionError, match="one checkpoint at a time")):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.checkpoint, {})
            nursery.start_soon(store.checkpoint, {})


async def test_a_cancelled_checkpoint_is_whole(store: Store) -> None:
    """Cancelling does not stop it half-way: afterwards it has been written, and the store goes on."""
    store.put(b"a", b"1")
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.checkpoint({b"m": b"1"})
    assert (store.mark(b"m"), store.get(b"a"), store.pending_bytes) == (b"1", b"1", 0)


async def test_a_full_map_loses_nothing_and_recovers(tmp_path: Path) -> None:
    """StoreFull: all is still readable, changes go on, and once there is less to write a checkpoint succeeds."""
    store = Store(tmp_path / "store", map_bytes=MIB)
    store.put(b"small", b"1")
    await store.checkpoint({b"m": b"1"})
    large = {b"large %d" % number: bytes(3000) for number in range(1000)}
    store.apply(large)
    for _ in range(2):
        with pytest.raises(StoreFull):
            await store.checkpoint({b"m": b"2"})
        assert store.mark(b"m") == b"1"
        assert everything(store) == {b"small": b"1", **large}
        assert store.pending_bytes > 3_000_000
    store.apply(dict.fromkeys(large))
    store.put(b"other", b"2")
    await store.checkpoint({b"m": b"3"})
    store.close()
    store = Store(tmp_path / "store", map_bytes=MIB)
    assert (everything(store), store.mark(b"m")) == ({b"small": b"1", b"other": b"2"}, b"3")
    store.close()


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, StoreFull), (errno.EDQUOT, StoreFull), (errno.EIO, StoreFailed), (errno.ENOMEM, StoreFailed)],
)
async def test_lmdb_errors_are_translated(
    store: Store, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    """A full disk can be tried again; anything else stops the process. Either way the changes stay, and nothing was committed."""
    store.put(b"a", b"1")
    with monkeypatch.context() as patch:
        Gate(patch, lmdb_error(number)).opened.set()
        with pytest.raises(kind, match="injected"):
            await store.checkpoint({b"m": b"1"})
    assert (store.get(b"a"), store.mark(b"m")) == (b"1", None)
    snapshot = store.snapshot()
    assert everything(snapshot) == {}
    snapshot.close()


FULL_DISK = """
import sys, trio
from pathlib import Path
from ringfs.base.kv.store import Store, StoreFull
async def main():
    store = Store(Path(sys.argv[1]) / "store")
    store.put(b"a", b"1")
    await store.checkpoint({b"m": b"1"})
    filler = Path(sys.argv[1]) / "filler"
    filler.write_bytes(bytes(1 << 20))
    changes = {b"%d" % number: bytes(1000) for number in range(1000)}
    store.apply(changes)
    try:
        await store.checkpoint({b"m": b"2"})
    except StoreFull:
        print("full", store.mark(b"m"), len(list(store.scan(b"", b"z"))))
    filler.unlink()
    await store.checkpoint({b"m": b"3"})
    store.close()
    store = Store(Path(sys.argv[1]) / "store")
    print("recovered", store.mark(b"m"), len(list(store.scan(b"", b"z"))))
trio.run(main)
"""


async def test_a_full_disk(tmp_path: Path) -> None:
    """On a file system of 2 MiB (mounted for a child alone): StoreFull, nothing is lost, and it recovers when space returns."""
    mount = f'mount -t tmpfs -o size=2m none {tmp_path} && exec "$0" "$@"'
    alone = ["unshare", "--mount", "sh", "-c", mount]
    if (await trio.run_process([*alone, "true"], check=False, capture_stderr=True)).returncode:
        pytest.skip("mounting a tmpfs needs root")
    done = await trio.run_process([*alone, sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_stdout=True)
    assert done.stdout.decode().splitlines() == ["full b'1' 1001", "recovered b'3' 1001"]


async def test_the_loop_goes_on_during_a_checkpoint(store: Store) -> None:
    """Beside a loop that never rests, a checkpoint of many keys takes turns: the loop turns often, the checkpoint ends."""
    store.apply({b"%08d" % number: bytes(100) for number in range(20_000)})
    turns = 0
    is_done = False

    async def never_rest() -> None:
        nonlocal turns
        while not is_done:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(never_rest)
        await store.checkpoint({})
        is_done = True
    assert turns >= 10
    assert len(everything(store)) == 20_000


def test_a_thread_that_needs_no_more_turns_is_not_waited_for() -> None:
    """release() lets the thread run to its end, whatever it was waiting for."""
    turns = Turns()
    steps = []

    def work() -> None:
        turns.wait()
        for step in range(3):
            steps.append(step)
            turns.pause()
        turns.finish()

    thread = threading.Thread(target=work)
    thread.start()
    turns.give(10)
    assert steps == [0]
    turns.give(10)
    assert steps == [0, 1]
    turns.release()
    thread.join()
    assert steps == [0, 1, 2]
    assert turns.finished


def test_pending_bytes_follow_the_changes(store: Store) -> None:
    """Replacing counts once, values count with their sizes, deletions count too."""
    overhead = store._live.OVERHEAD_BYTES
    store.put(b"key", b"12345")
    assert store.pending_bytes == overhead + 8
    store.put(b"key", b"1")
    assert store.pending_bytes == overhead + 4
    store.delete(b"key")
    assert store.pending_bytes == overhead + 3
    store.delete(b"k")
    assert store.pending_bytes == 2 * overhead + 4


def test_keys_that_lmdb_cannot_have_are_bugs(store: Store) -> None:
    """Empty keys and those over 511 bytes are stopped before they get anywhere."""
    for key in (b"", bytes(512)):
        with pytest.raises(AssertionError, match=f"a key of {len(key)} bytes"):
            store.put(key, b"")
    store.put(bytes(511), b"longest")
    assert everything(store) == {bytes(511): b"longest"}


async def test_an_overlay_over_a_store(store: Store) -> None:
    """Overlay and store work together: read through, change apart, take over."""
    store.apply({b"a": b"1", b"b": b"1"})
    await store.checkpoint({})
    store.put(b"c", b"1")
    overlay = Overlay(store)
    overlay.put(b"b", b"2")
    overlay.delete(b"a")
    assert everything(overlay) == {b"b": b"2", b"c": b"1"}
    store.apply(overlay.changes())
    assert everything(store) == {b"b": b"2", b"c": b"1"}


async def test_one_process_at_a_time(tmp_path: Path) -> None:
    """The second store on a directory is refused with the pid of the first, also in the same process."""
    store = Store(tmp_path / "store")
    with pytest.raises(UserError, match="is in use by process"):
        Store(tmp_path / "store")
    store.close()
    Store(tmp_path / "store").close()


async def test_a_file_that_is_not_lmdbs(tmp_path: Path) -> None:
    """It is StoreDamaged, names the directory, and leaves no lock behind."""
    Store(tmp_path / "store").close()
    (tmp_path / "store/data.mdb").write_bytes(b"no database" * 1000)
    for _ in range(2):
        with pytest.raises(StoreDamaged, match=str(tmp_path / "store")):
            Store(tmp_path / "store")


async def test_a_damaged_page_is_noticed_or_an_error(tmp_path: Path) -> None:
    """LMDB pages carry no checksums; a page that makes no sense is an error that callers can catch, not a crash."""
    store = Store(tmp_path / "store")
    store.apply({b"%05d" % number: bytes(100) for number in range(5000)})
    await store.checkpoint({})
    store.close()
    data = bytearray((tmp_path / "store/data.mdb").read_bytes())
    page_bytes = 4096
    for page in range(2, len(data) // page_bytes):
        # Page number and flags, at the start of each page.
        data[page * page_bytes : page * page_bytes + 16] = bytes(16)
    (tmp_path / "store/data.mdb").write_bytes(data)
    with pytest.raises((*ReadDamaged, StoreDamaged)):
        everything(Store(tmp_path / "store"))


async def test_the_environment_is_safe(store: Store) -> None:
    """No flag of LMDB that trades safety for speed is on, and its reader table is."""
    flags = dict(store._environment._lmdb.flags())
    assert flags["sync"]
    assert flags["metasync"]
    assert flags["lock"]
    assert not flags["writemap"]
    assert not flags["map_async"]


def test_merging() -> None:
    """The upper pairs win, deletions hide, order is kept, and the rest of either side comes last."""
    upper = [(b"a", None), (b"b", b"u"), (b"d", None), (b"e", b"u")]
    lower = [(b"b", b"l"), (b"c", b"l"), (b"d", b"l"), (b"f", b"l"), (b"g", b"l")]
    both = [(b"a", None), (b"b", b"u"), (b"c", b"l"), (b"d", None), (b"e", b"u"), (b"f", b"l"), (b"g", b"l")]
    assert list(merged(iter(upper), iter(lower))) == both
    assert list(without_deletions(iter(both))) == [pair for pair in both if pair[1] is not None]
    assert list(merged(iter(upper), iter(()))) == upper
    assert list(merged(iter(()), iter(lower))) == lower
