"""run_data: a whole data node in this process, with a metadata server that is none."""

import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from ringfs.base.clock import SystemClock
from ringfs.base.config import ClusterConfig, load_config
from ringfs.base.errors import Code, ConnectionLost, Refused, UserError
from ringfs.base.files import RealFiles
from ringfs.base.kv.store import StoreCorrupted
from ringfs.base.kv.turns import Turns
from ringfs.data import checkpointer, membership, recovery, serving
from ringfs.data.health import Health
from ringfs.data.index import IndexDamaged
from ringfs.data.node import run_data
from ringfs.data.segment_log import SegmentSizes
from ringfs.data.steward.scrub import Scrubber
from ringfs.data.steward.steward import Steward
from ringfs.data.store import ObjectStore
from ringfs.wire.messages.data import Get, GetStoreStatus, Put, PutDone
from ringfs.wire.rpc import open_client, serve_tcp
from tests.support.fake_meta import FakeMeta
from tests.support.meta_process import free_port
from tests.support.stores import CLUSTER, made, put, running
from tests.support.waiting import until

KEY = bytes(range(32))
THING = made(1)


@pytest.fixture
def config(tmp_path: Path) -> Iterator[ClusterConfig]:
    """A cluster.toml with one node, its disk an empty directory. Disks are removed at the end: each may have a gigabyte."""
    (tmp_path / "disk").mkdir()
    key = tmp_path / "key"
    key.write_text(KEY.hex())
    key.chmod(0o600)
    file = tmp_path / "cluster.toml"
    file.write_text(
        f'cluster = "{CLUSTER}"\nkey_file = "key"\n'
        f'[[meta]]\nname = "meta1"\naddress = "127.0.0.1:{free_port()}"\nstate = "meta"\n'
        f'[[data]]\nname = "data1"\naddress = "127.0.0.1:{free_port(1)}"\ndisk = "disk"\n'
    )
    yield load_config(file)
    for name in ("disk", "disk2"):
        shutil.rmtree(tmp_path / name, ignore_errors=True)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that are seconds in life."""
    monkeypatch.setattr(membership, "HEARTBEAT_S", 0.005)
    monkeypatch.setattr(membership, "_PAUSES_S", (0.01,))
    monkeypatch.setattr(serving, "LOOK_S", 0.01)


def is_up(meta: FakeMeta, join_count: int, addresses: list[str]) -> bool:
    """Whether the node has joined so many times, and said where it listens."""
    return meta.join_count >= join_count and len(addresses) > 0


async def test_serves_until_sigterm_and_again(config: ClusterConfig) -> None:
    """It joins, serves, remembers its number, ends cleanly on SIGTERM, and has everything at the next start."""
    meta = FakeMeta()
    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: serve_tcp(meta, KEY, config.meta[0].address, task_status=task_status))
            for start in (1, 2):
                stopped = trio.Event()
                addresses: list[str] = []

                async def serve(stopped: trio.Event = stopped, addresses: list[str] = addresses) -> None:
                    await run_data(config, "data1", started=addresses.append)
                    stopped.set()

                nursery.start_soon(serve)
                await until(partial(is_up, meta, start, addresses))
                assert addresses == [config.data[0].address]
                async with open_client(addresses[0], KEY, name="tester") as client:
                    if start == 1:
                        request = Put(THING.oid, len(THING.content), THING.table)
                        assert (await client.call(request, [THING.content])).message == PutDone(True)
                    assert (await client.call(Get(THING.oid, 0, 128, False))).payload == THING.content
                    status = (await client.call(GetStoreStatus())).message
                    assert (status.node, status.cluster) == (1, CLUSTER)
                os.kill(os.getpid(), signal.SIGTERM)
                await stopped.wait()
                assert "\nnode 1\n" in (config.data[0].disk / "ringfs-disk").read_text()
            nursery.cancel_scope.cancel()


async def test_a_disk_whose_identity_vanishes_is_not_written_to(config: ClusterConfig) -> None:
    """As when it is unmounted: puts are refused, gets go on, the heartbeat says why."""
    meta = FakeMeta()
    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: serve_tcp(meta, KEY, config.meta[0].address, task_status=task_status))
            nursery.start_soon(run_data, config, "data1")
            await until(lambda: meta.heartbeats)
            async with open_client(config.data[0].address, KEY, name="tester") as client:
                request = Put(THING.oid, len(THING.content), THING.table)
                await client.call(request, [THING.content])
                (config.data[0].disk / "ringfs-disk").unlink()
                await until(lambda: meta.heartbeats[-1].trouble)
                assert "identity file" in meta.heartbeats[-1].trouble
                with pytest.raises(Refused) as refused:
                    await client.call(request, [THING.content])
                assert refused.value.code is Code.DISK_FAILED
                assert (await client.call(Get(THING.oid, 0, 128, False))).payload == THING.content
            nursery.cancel_scope.cancel()


async def test_mistakes_are_user_errors(config: ClusterConfig) -> None:
    """A name that is not in the file, an address in use, a name that the cluster gave to another disk: one line each."""
    with trio.fail_after(120):
        with pytest.raises(UserError, match=r"no .*data9"):
            await run_data(config, "data9")
        with socket.socket() as taken:
            host, port = config.data[0].address.split(":")
            taken.bind((host, int(port)))
            taken.listen()
            with pytest.raises(UserError, match="cannot listen"):
                await run_data(config, "data1")
        meta = FakeMeta()
        meta.refuse_join = Code.NODE_NAME_TAKEN
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: serve_tcp(meta, KEY, config.meta[0].address, task_status=task_status))
            with pytest.raises(UserError, match="knows another disk as data node 'data1'"):
                await run_data(config, "data1")
            nursery.cancel_scope.cancel()
        (config.data[0].disk / "ringfs-disk").unlink()
        with pytest.raises(UserError, match="not empty"):
            await run_data(config, "data1")


def with_two_disks(config: ClusterConfig) -> ClusterConfig:
    """The same cluster whose node has another disk beside its own."""
    (config.path.parent / "disk2").mkdir()
    text = config.path.read_text().replace('disk = "disk"', 'disks = ["disk", "disk2"]')
    config.path.write_text(text)
    return load_config(config.path)


@asynccontextmanager
async def served(config: ClusterConfig) -> AsyncIterator[tuple[FakeMeta, trio.Event, list[str], list[UserError]]]:
    """Its data node runs: what the metadata server saw; when the node has ended; where it serves; what ended it."""
    meta, ended = FakeMeta(), trio.Event()
    addresses: list[str] = []
    mistakes: list[UserError] = []

    async def serve() -> None:
        try:
            await run_data(config, "data1", started=addresses.append)
        except UserError as mistake:
            mistakes.append(mistake)
        ended.set()

    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: serve_tcp(meta, KEY, config.meta[0].address, task_status=task_status))
            nursery.start_soon(serve)
            await until(lambda: addresses or mistakes)
            yield meta, ended, addresses, mistakes
            nursery.cancel_scope.cancel()


def opened_stores(monkeypatch: pytest.MonkeyPatch) -> list[ObjectStore]:
    """Every store that nodes open from now on."""
    stores: list[ObjectStore] = []

    async def opened(*arguments: Any) -> ObjectStore:
        stores.append(await recovery.open_store(*arguments))
        return stores[-1]

    monkeypatch.setattr(serving, "open_store", opened)
    return stores


async def put_at(address: str) -> PutDone:
    """Put there; the answer."""
    async with open_client(address, KEY, name="tester") as client:
        answer: PutDone = (await client.call(Put(THING.oid, len(THING.content), THING.table), [THING.content])).message
        return answer


async def test_each_disk_is_a_node_of_its_own(config: ClusterConfig) -> None:
    """Two disks in one process: two entries of the map, two addresses, parts apart from each other."""
    two = with_two_disks(config)
    async with served(two) as (meta, ended, addresses, _):
        await until(lambda: len(meta.nodes) == 2)
        assert addresses == [", ".join(row.address for row in two.data)]
        assert {(row.name, row.address, row.domain) for row in meta.nodes} == {
            (f"data1.{number}", two.data[number - 1].address, "data1") for number in (1, 2)
        }
        assert [await put_at(row.address) for row in two.data] == [PutDone(True), PutDone(True)]
        os.kill(os.getpid(), signal.SIGTERM)
        await ended.wait()


async def test_a_disk_that_cannot_be_opened_stops_no_other(config: ClusterConfig) -> None:
    """One without its directory: the other one serves. Both without: the node ends, and says why for each."""
    two = with_two_disks(config)
    two.data[1].disk.rmdir()
    async with served(two) as (meta, _, addresses, _):
        assert addresses == [two.data[0].address]
        assert await put_at(two.data[0].address) == PutDone(True)
        assert [row.name for row in meta.nodes] == ["data1.1"]
    (two.data[0].disk / "ringfs-disk").unlink()
    async with served(two) as (_, ended, _, mistakes):
        await ended.wait()
        assert "data1.1: " in str(mistakes[0])
        assert "is not empty" in str(mistakes[0])
        assert "data1.2: " in str(mistakes[0])


async def test_a_disk_that_vanishes_stops_no_other(config: ClusterConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so, leaves the cluster and is not served any more; the other goes on. When that vanishes too, the node ends."""
    monkeypatch.setattr(serving, "LEAVE_AFTER_S", 0.1)
    two = with_two_disks(config)
    async with served(two) as (meta, ended, _, mistakes):
        await until(lambda: {beat.node for beat in meta.heartbeats} == {1, 2})
        gone = next(row.node for row in meta.nodes if row.name == "data1.1")
        shutil.rmtree(two.data[0].disk)
        await until(lambda: meta.heartbeats[-1].node == gone and "identity file" in meta.heartbeats[-1].trouble)
        await until(lambda: not any(peer.name.startswith("data node data1.1 ") for peer in meta.peers))
        meta.heartbeats.clear()
        await until(lambda: len(meta.heartbeats) > 3)
        assert {beat.node for beat in meta.heartbeats} == {3 - gone}
        assert await put_at(two.data[1].address) == PutDone(True)
        with pytest.raises(ConnectionLost):
            await put_at(two.data[0].address)
        shutil.rmtree(two.data[1].disk)
        await ended.wait()
        assert str(mistakes[0]).startswith("no disk is left: data1.1: disk ")


async def test_a_disk_that_failed_but_is_there_answers_gets(config: ClusterConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves the cluster, so that its parts are made anew elsewhere, and can be read for all that."""
    monkeypatch.setattr(serving, "LEAVE_AFTER_S", 0.05)
    healths: list[Health] = []
    monkeypatch.setattr(recovery, "Health", lambda: healths.append(Health()) or healths[-1])  # type: ignore[func-returns-value]
    async with served(config) as (meta, ended, _, _):
        address = config.data[0].address
        await until(lambda: meta.heartbeats)
        await put_at(address)
        healths[0].fail("for the test")
        await until(lambda: "for the test" in meta.heartbeats[-1].trouble)
        await until(lambda: not meta.peers)
        async with open_client(address, KEY, name="tester") as client:
            assert (await client.call(Get(THING.oid, 0, 128, False))).payload == THING.content
        assert not ended.is_set()


async def test_a_damaged_index_is_built_anew(config: ClusterConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found while it serves, by a read or by a checkpoint: the disk is back at once with all its parts, the other one never was
    gone. Found again and again: it is given up."""
    two, stores = with_two_disks(config), opened_stores(monkeypatch)
    monkeypatch.setattr(checkpointer, "INTERVAL_S", 0.01)
    async with served(two) as (meta, _, _, _):
        await until(lambda: len(meta.nodes) == 2)
        first, second = (next(store for store in stores if store.disk.directory == row.disk) for row in two.data)
        for row in two.data:
            await put_at(row.address)
        first._index._view.put(b"o" + THING.stored.key, b"short")
        with pytest.raises(ConnectionLost):
            await put_at(two.data[0].address)
        assert await put_at(two.data[1].address) == PutDone(False)
        await until(lambda: len(stores) == 3 and first.disk.directory == stores[2].disk.directory)
        assert await until_put(two.data[0].address) == PutDone(False)

        def fail(_changes: object, _marks: object, turns: Turns) -> None:
            turns.wait()
            turns.finish()
            raise StoreCorrupted("for the test")

        monkeypatch.setattr(stores[2]._checkpointer._kv._environment, "write", fail)
        stores[2]._index.waste(1 << 32 | 1 << 28, 4096)
        await until(lambda: len(stores) == 4)
        assert await until_put(two.data[0].address) == PutDone(False)
        stores[3]._index._view.put(b"o" + THING.stored.key, b"short")
        with pytest.raises(ConnectionLost):
            await put_at(two.data[0].address)
        assert await put_at(two.data[1].address) == PutDone(False)
        assert stores[1:2] == [second] or stores[0:1] == [second]
        assert len(stores) == 4


async def test_an_index_found_damaged_while_the_node_stops(tmp_path: Path) -> None:
    """Is doubted at the next start, and the node stops as if nothing had been: no error of the program."""
    (tmp_path / "disk").mkdir()
    identity, lock = serving.take_disk(RealFiles(), tmp_path / "disk", CLUSTER)
    store = await recovery.open_store(tmp_path / "disk", identity, SystemClock(), SegmentSizes())

    async def stop() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise IndexDamaged("for the test")

    met: list[BaseException] = []
    with trio.CancelScope() as scope:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stop)
                nursery.start_soon(trio.sleep_forever)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        except BaseExceptionGroup as group:
            was_cancelled = group.split(trio.Cancelled)[0] is not None
            met.append(serving._mistake_in(group, store))
    assert was_cancelled
    assert [type(each) for each in met] == [serving._IndexFailed]
    assert store.health.failure == "its index is damaged"
    await store.close()
    lock.release()


async def until_put(address: str) -> PutDone:
    """The answer to a put once the disk is served again."""
    while True:
        with suppress(ConnectionLost):
            return await put_at(address)


async def test_a_start_that_damage_kills_is_not_the_last(config: ClusterConfig) -> None:
    """Reading a damaged LMDB file may end the process. The next start does not read it."""
    disk = config.data[0].disk
    async with served(config):
        await put_at(config.data[0].address)
    (disk / "index" / "in-doubt").touch()
    with (disk / "index" / "data.mdb").open("r+b") as file:
        file.write(bytes(file.seek(0, os.SEEK_END)))
    async with served(config):
        assert await put_at(config.data[0].address) == PutDone(False)
        assert not (disk / "index" / "in-doubt").exists()


async def test_an_index_that_lost_rows_is_built_anew(config: ClusterConfig) -> None:
    """Though it was closed properly and each row that is there is right: the start finds that one is missing."""
    async with running(config.data[0].disk, SegmentSizes()) as store:
        await put(store, THING)
        store._index._view.delete(b"o" + THING.stored.key)
    async with served(config), open_client(config.data[0].address, KEY, name="tester") as client:
        assert (await client.call(Get(THING.oid, 0, 128, False))).payload == THING.content


@pytest.mark.parametrize("rotten", ["key", "value"])
@pytest.mark.parametrize("other", [(Steward, "_look_after_share"), (Scrubber, "_scrub")], ids=["scrub", "passes"])
async def test_a_row_that_rots_between_two_runs_is_found(
    other: tuple[type, str], rotten: str, config: ClusterConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a proper end the start leaves sums to whoever reads a row. Nobody asks for this part, but the scrub comes by, and so do
    the passes of stewards (each without the other here): the index is built anew, and nothing is lost."""

    async def rest(_: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(*other, rest)
    node, stores, row_key = config.data[0], opened_stores(monkeypatch), b"o" + THING.stored.key
    async with running(node.disk, SegmentSizes()) as store:
        await put(store, THING)
        view = store._index._view
        row = view.get(row_key)
        assert row is not None
        view.delete(row_key)
        view.put(*((flipped(row_key), row) if rotten == "key" else (row_key, flipped(row))))
    async with served(config):
        await until(lambda: len(stores) == 2)
        assert [store.health.index_built_ns > 0 for store in stores] == [False, True]
        assert await until_put(node.address) == PutDone(False)
        assert (stores[1].health.lost_count, stores[1].figures().part_count) == (0, 1)


def flipped(rotten: bytes) -> bytes:
    """With another bit in its tenth byte."""
    return rotten[:9] + bytes([rotten[9] ^ 4]) + rotten[10:]
