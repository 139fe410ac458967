"""The model of etcd keeps the contract, and its faults are those it says."""

import pytest
import trio

from ringfs.meta.etcd.interface import Absent, EtcdFull, EtcdUnavailable, Get, Put
from tests.contract.etcd_contract import Connect, EtcdContract
from tests.support.etcd_model import EtcdModel, ModelClient


@pytest.fixture
def connect(autojump_clock: object) -> Connect:
    """Lines to one model, in virtual time."""
    model = EtcdModel()
    return lambda: ModelClient(model)


class TestEtcdModel(EtcdContract):
    """The contract."""


async def test_a_lost_answer(autojump_clock: object) -> None:
    """The change took effect; trying again shows it."""
    etcd = ModelClient(EtcdModel())
    etcd.answers_to_lose = 1
    with pytest.raises(EtcdUnavailable):
        await etcd.transact([Absent(b"k")], [Put(b"k", b"1")], [Get(b"k")])
    again = await etcd.transact([Absent(b"k")], [Put(b"k", b"2")], [Get(b"k")])
    assert [pair.value for pair in again.found[0]] == [b"1"]


async def test_a_cut_line_and_no_quorum(autojump_clock: object) -> None:
    """Nothing gets through; with a new leader of etcd the leases have their whole time again."""
    model = EtcdModel()
    cut, other = ModelClient(model), ModelClient(model)
    cut.is_cut = True
    with pytest.raises(EtcdUnavailable):
        await cut.transact([], [Put(b"k", b"")])
    lease, ttl_s = await other.grant(2)
    model.has_quorum = False
    await trio.sleep(10 * ttl_s)
    with pytest.raises(EtcdUnavailable):
        await other.keep_alive(lease)
    model.regain_quorum()
    assert await other.keep_alive(lease) == ttl_s
    assert not model.pairs()


async def test_a_full_database(autojump_clock: object) -> None:
    """Takes no put until there is space again and it is disarmed."""
    model = EtcdModel()
    etcd = ModelClient(model)
    await etcd.transact([], [Put(b"k", bytes(100))])
    model.quota_bytes = 250
    with pytest.raises(EtcdFull):
        await etcd.transact([], [Put(b"l", bytes(100))])
    model.quota_bytes = 1000
    with pytest.raises(EtcdFull):
        await etcd.transact([], [Put(b"l", bytes(100))])
    await etcd.disarm()
    await etcd.transact([], [Put(b"l", bytes(100))])
