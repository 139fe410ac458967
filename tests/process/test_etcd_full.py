"""A whole cluster whose etcd is full: it says so, waits without an error and without losing anything, and goes on by itself."""

import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path

import trio

from ringfs.base.limits import KIB, MIB
from ringfs.cli.dev import layout as layouts
from ringfs.cli.dev.etcd import LIST_NAME
from ringfs.meta.etcd.client import Access, EtcdClient
from ringfs.meta.etcd.interface import Delete, EtcdFull, EtcdUnavailable, Get, Put
from tests.support.etcd import RealEtcd, running_etcd
from tests.support.mounts import DevCluster
from tests.support.waiting import PATIENCE_S

_QUOTA_BYTES = 8 * MIB
_FULL = "etcd's database is full"


@asynccontextmanager
async def cluster_on(etcd: RealEtcd) -> AsyncIterator[DevCluster]:
    """Three metadata servers on an etcd that `ringfs dev` did not make, up and mounted."""
    cluster = DevCluster(Path(tempfile.mkdtemp(prefix="ringfs-test.")))
    cluster.directory.mkdir()
    layout = layouts.create_layout(cluster.directory, 1, "replica:1", 3)
    assert layout.config.etcd is not None
    (cluster.directory / LIST_NAME).write_bytes(b"")
    endpoints = ", ".join(f'"{endpoint}"' for endpoint in etcd.endpoints)
    text = layout.config_path.read_text()
    layout.config_path.write_text(f"{text[: text.index('[etcd]')]}[etcd]\nendpoints = [{endpoints}]\n")
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.destroy()


async def fill(client: EtcdClient) -> None:
    """By somebody else who uses the same etcd: to the last KiB, so that nothing but removing helps."""
    number = count()
    for size_bytes in (MIB // 2, 32 * KIB, KIB):
        with suppress(EtcdFull):
            while True:
                with suppress(EtcdUnavailable):
                    await client.transact([], [Put(b"others/%06d" % next(number), bytes(size_bytes))], timeout_s=10)
        if size_bytes > KIB:
            await shrink(client)
            await client.disarm()


async def shrink(client: EtcdClient) -> None:
    """As an operator would: history goes, and what it leaves is given back."""
    revision = (await client.transact([], [Get(b"others/", keys_only=True)], timeout_s=10)).revision
    await client.compact(revision)
    for member in await client.members():
        await client.defragment(member.endpoint)


def status(cluster: DevCluster) -> tuple[int, str]:
    """Exit code and text of `ringfs status`."""
    done = cluster.ringfs("status", "--cluster", cluster.directory, check=False)
    return done.returncode, done.stdout


async def until(condition: Callable[[], bool]) -> None:
    """Other processes bring it about."""
    with trio.fail_after(PATIENCE_S):
        while not await trio.to_thread.run_sync(condition):  # noqa: ASYNC110 -- other processes bring it about
            await trio.sleep(0.2)


async def write(path: Path) -> None:
    """Durably; by a process, which can be killed if that never ends."""
    await trio.run_process(["dd", "if=/dev/zero", f"of={path}", "bs=4096", "count=2", "conv=excl,fsync", "status=none"])


async def test_a_full_etcd_is_said_waited_for_and_mended(tmp_path: Path) -> None:
    """What is synced meanwhile is acknowledged once there is space again; the alarm is taken back by the leader."""
    async with running_etcd(tmp_path / "etcd", 1, [f"--quota-backend-bytes={_QUOTA_BYTES}"]) as etcd:
        client = EtcdClient(Access(etcd.endpoints))
        try:
            async with cluster_on(etcd) as cluster:
                await write(cluster.mount / "before")
                await fill(client)
                await _write_meanwhile(client, cluster)
                await write(cluster.mount / "after")
                await until(lambda: status(cluster)[0] == 0)
                assert sorted(os.listdir(cluster.mount)) == ["after", "before", "meanwhile"]
                assert cluster.ringfs("check", "--cluster", cluster.directory).returncode == 0
        finally:
            client.close()


async def _write_meanwhile(client: EtcdClient, cluster: DevCluster) -> None:
    acknowledged = trio.Event()

    async def write_it() -> None:
        await write(cluster.mount / "meanwhile")
        acknowledged.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write_it)
        await until(lambda: _FULL in status(cluster)[1])
        assert not acknowledged.is_set()
        await client.transact([], [Delete(b"others/", b"others0")], timeout_s=10)
        await shrink(client)
