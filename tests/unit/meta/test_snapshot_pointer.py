"""The pointer to the latest snapshot: its recorded bytes, and that only a leader that still leads moves it on, once."""

from pathlib import Path

import pytest
import trio

from ringfs.meta.etcd.interface import CreatedAt, Delete, EtcdFull, EtcdUnavailable, Put
from ringfs.meta.marks import Marks
from ringfs.meta.snapshot_pointer import (
    SnapshotPointer,
    StoredObject,
    Superseded,
    look_at_pointer,
    unpack_pointer,
    write_pointer,
)
from ringfs.meta.snapshot_stream import SnapshotDamaged
from ringfs.wire.messages.cluster import NODE_UP, ClusterMap, Node
from tests.support.etcd_model import EtcdModel, ModelClient

GOLDEN = Path(__file__).with_name("snapshot.v1.hex")
CLUSTER = "11111111-2222-3333-4444-555555555555"
PREFIX = b"/t/"
LEADER = PREFIX + b"leader"


def pointer(position: int = 7) -> SnapshotPointer:
    """One of two objects."""
    objects = (StoredObject(bytes(20), 8 << 20), StoredObject(bytes(range(20)), 5))
    map = ClusterMap(3, CLUSTER, [Node(1, "uuid", "data1", "host:7000", "rack", 100, NODE_UP)])
    return SnapshotPointer(
        CLUSTER, Marks(position, 4, 1_700_000_000), 42, (8 << 20) + 5, bytes(range(32)), "replica:2", objects, map
    )


async def lead(model: EtcdModel) -> CreatedAt:
    """Make the leader's key anew."""
    await ModelClient(model).transact([], [Delete(LEADER)])
    return CreatedAt(LEADER, (await ModelClient(model).transact([], [Put(LEADER, b"me")])).revision)


def test_golden() -> None:
    """The bytes are those of docs/formats/snapshot.md."""
    assert pointer().pack().hex() == GOLDEN.read_text().split()[2]
    assert unpack_pointer(pointer().pack()) == pointer()


def test_damage() -> None:
    """No byte can change, and a pointer of the future is not guessed at."""
    value = pointer().pack()
    for at in range(len(value)):
        with pytest.raises(SnapshotDamaged, match="pointer in etcd"):
            unpack_pointer(value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :])
    with pytest.raises(SnapshotDamaged):
        unpack_pointer(b"")


async def test_written_one_after_the_other(autojump_clock: object) -> None:
    """Each replaces the one that its writer has seen; who has not seen the latest is refused."""
    model = EtcdModel()
    etcd = ModelClient(model)
    holds = await lead(model)
    assert await look_at_pointer(etcd, PREFIX) is None
    first = await write_pointer(etcd, PREFIX, pointer(7), holds, None)
    assert await look_at_pointer(etcd, PREFIX) == first
    second = await write_pointer(etcd, PREFIX, pointer(9), holds, first)
    assert second.read().marks.position == 9
    for before in (None, first):
        with pytest.raises(Superseded):
            await write_pointer(etcd, PREFIX, pointer(8), holds, before)
    assert await look_at_pointer(etcd, PREFIX) == second


async def test_deposed_leader_writes_nothing(autojump_clock: object) -> None:
    """The leader's key was made anew since."""
    model = EtcdModel()
    holds = await lead(model)
    await lead(model)
    with pytest.raises(Superseded):
        await write_pointer(ModelClient(model), PREFIX, pointer(), holds, None)
    assert await look_at_pointer(ModelClient(model), PREFIX) is None


async def test_lost_answer(autojump_clock: object) -> None:
    """What took effect without an answer is found, and not taken for another's."""
    model = EtcdModel()
    etcd = ModelClient(model)
    holds = await lead(model)
    etcd.answers_to_lose = 1
    first = await write_pointer(etcd, PREFIX, pointer(7), holds, None)
    etcd.answers_to_lose = 2
    second = await write_pointer(etcd, PREFIX, pointer(9), holds, first)
    assert await look_at_pointer(etcd, PREFIX) == second
    assert second.version == first.version + 1


class LateClient(ModelClient):
    """Its next transaction is not answered, and takes effect later, when `arrive` is called."""

    late: tuple[list[object], ...] | None = None
    is_slow = True

    async def transact(self, conditions, then, otherwise=(), *, timeout_s=2.0):  # type: ignore[no-untyped-def]
        """See Etcd."""
        if self.is_slow:
            self.is_slow, self.late = False, (conditions, then, otherwise)
            await trio.sleep(timeout_s)
            raise EtcdUnavailable("no answer")
        return await super().transact(conditions, then, otherwise, timeout_s=timeout_s)

    def arrive(self) -> bool:
        """Whether it took effect."""
        assert self.late is not None
        return self.model.transact(*self.late).succeeded  # type: ignore[arg-type]


async def test_late_request(autojump_clock: object) -> None:
    """A request that arrives after its repetition, or after the next snapshot's, changes nothing."""
    model = EtcdModel()
    etcd = LateClient(model)
    holds = await lead(model)
    first = await write_pointer(etcd, PREFIX, pointer(7), holds, None)
    assert not etcd.arrive()
    second = await write_pointer(etcd, PREFIX, pointer(9), holds, first)
    assert not etcd.arrive()
    assert await look_at_pointer(etcd, PREFIX) == second


async def test_full_is_said(autojump_clock: object) -> None:
    """It was certainly not written."""
    model = EtcdModel()
    holds = await lead(model)
    model.quota_bytes = model.used_bytes
    with pytest.raises(EtcdFull):
        await write_pointer(ModelClient(model), PREFIX, pointer(), holds, None)
    assert await look_at_pointer(ModelClient(model), PREFIX) is None
