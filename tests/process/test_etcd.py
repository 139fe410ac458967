"""The real etcd keeps the contract that the model keeps, and the client finds a member that serves."""

import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import trio

from ringfs.base.limits import MIB
from ringfs.meta.etcd.care import Care, plan
from ringfs.meta.etcd.client import Access, EtcdClient
from ringfs.meta.etcd.interface import Delete, EtcdFull, EtcdMisused, EtcdUnavailable, Get, Put
from tests.contract.etcd_contract import Connect, EtcdContract
from tests.support.etcd import PatientEtcd, RealEtcd, patiently, running_etcd
from tests.support.waiting import PATIENCE_S


@pytest.fixture
async def connect(tmp_path: Path) -> AsyncIterator[Connect]:
    """Connections to a real etcd."""
    async with running_etcd(tmp_path / "etcd") as etcd:
        clients: list[PatientEtcd] = []

        def connect_one() -> PatientEtcd:
            clients.append(PatientEtcd(Access(etcd.endpoints)))
            return clients[-1]

        yield connect_one
        for client in clients:
            client.close()


class TestRealEtcd(EtcdContract):
    """The contract."""


async def test_the_next_member_is_tried(tmp_path: Path) -> None:
    """With one of three killed, or stopped so that it does not even refuse, calls go on after at most one failure each."""
    async with running_etcd(tmp_path / "etcd", 3) as etcd:
        client = EtcdClient(Access(etcd.endpoints))
        try:
            await patiently(lambda: client.transact([], [Put(b"k", b"1")]))
            etcd.signal(0, signal.SIGSTOP)
            await _put_again(client)
            etcd.signal(0, signal.SIGCONT)
            await etcd.wait_healthy()
            etcd.kill(1)
            await _put_again(client)
            (pair,) = (await patiently(lambda: client.transact([], [Get(b"k")]))).found[0]
            assert pair.value == b"2"
            await _until_ailing(client, [False, True, False])
        finally:
            client.close()


async def _put_again(client: EtcdClient) -> None:
    await patiently(lambda: client.transact([], [Put(b"k", b"2")], timeout_s=1))


async def _until_ailing(client: EtcdClient, expected: list[bool]) -> None:
    """Until those members have something, and no others: they may be late to know who leads."""
    with trio.fail_after(PATIENCE_S):
        while [bool(member.reason) for member in await client.members()] != expected:  # noqa: ASYNC110 -- other processes
            await trio.sleep(0.05)


async def test_a_watch_of_a_killed_member_ends(tmp_path: Path) -> None:
    """It says so, rather than being silent for ever."""
    async with running_etcd(tmp_path / "etcd") as etcd:
        client = EtcdClient(Access(etcd.endpoints))
        try:
            with pytest.raises(EtcdUnavailable):
                await _watch_a_dying_member(client, etcd)
        finally:
            client.close()


async def _watch_a_dying_member(client: EtcdClient, etcd: RealEtcd) -> None:
    async with client.watch(b"k", b"", from_revision=1) as changes:
        etcd.kill(0)
        await changes.receive()


async def test_a_request_that_is_too_large(tmp_path: Path) -> None:
    """Is a mistake in settings, said as one."""
    async with running_etcd(tmp_path / "etcd") as etcd:
        client = PatientEtcd(Access(etcd.endpoints))
        try:
            with pytest.raises(EtcdMisused, match="larger"):
                await client.transact([], [Put(b"k", bytes(4 << 20))])
        finally:
            client.close()


async def put_journal(client: EtcdClient, count: int) -> None:
    """So many half MiB."""
    for number in range(count):
        await patiently(partial(client.transact, [], [Put(b"j/%03d" % number, bytes(MIB // 2))]))


async def test_a_full_database_is_mended(tmp_path: Path) -> None:
    """Past its quota etcd takes nothing; once the journal is shorter, care gives the space back on every member, and it goes on."""
    async with running_etcd(tmp_path / "etcd", 3, [f"--quota-backend-bytes={16 * MIB}"]) as etcd:
        client = EtcdClient(Access(etcd.endpoints))
        told: list[str] = []
        care = Care(client, told.append, lambda: None, lambda: True)
        try:
            with pytest.raises(EtcdFull):
                await put_journal(client, 100)
            with trio.fail_after(PATIENCE_S):
                while not plan(await client.members()).is_full:  # noqa: ASYNC110 -- other processes
                    await trio.sleep(0.05)
            await patiently(lambda: client.transact([], [Delete(b"j/", b"j0")]))
            with trio.fail_after(PATIENCE_S):
                while any(member.alarms or member.reason for member in await client.members()):
                    with suppress(EtcdUnavailable):
                        await care.look()
            assert any("no space" in trouble for trouble in told)
            assert all(member.database_bytes < MIB for member in await client.members())
            await put_journal(client, 10)
            with trio.fail_after(PATIENCE_S):
                while told[-1]:
                    await patiently(care.look)
        finally:
            client.close()
