"""The care of etcd: what is decided from what members say, and that it is done in order."""

from dataclasses import replace

import pytest
import trio

from ringfs.base.limits import MIB
from ringfs.meta.etcd import care
from ringfs.meta.etcd.care import Care, Plan, plan
from ringfs.meta.etcd.interface import Delete, EtcdFull, EtcdMisused, Member, Put
from tests.support.etcd_model import EtcdModel, ModelClient

LEADER = Member("a:1", "", True, 200 * MIB, 180 * MIB)
FOLLOWER = Member("b:1", "", False, 200 * MIB, 180 * MIB)
OTHER = Member("c:1", "", False, 200 * MIB, 180 * MIB)


def wasteful(member: Member, used_bytes: int = 50 * MIB) -> Member:
    """Most of its database is not used."""
    return replace(member, used_bytes=used_bytes)


def full(member: Member) -> Member:
    """Its alarm is raised."""
    return replace(member, alarms=("no space",))


def test_all_is_well() -> None:
    """Nothing to do, nothing to say."""
    assert plan([LEADER, FOLLOWER, OTHER]) == Plan(False, "", False, "")


def test_one_at_a_time_and_the_leader_last() -> None:
    """The largest of the others first. What one member does not use, the others need not either, though they do not know yet."""
    larger = replace(OTHER, database_bytes=300 * MIB)
    assert plan([wasteful(LEADER), FOLLOWER, larger]).defragment == "c:1"
    done = Member("c:1", "", False, 50 * MIB, 50 * MIB)
    assert plan([LEADER, FOLLOWER, done]).defragment == "b:1"
    assert plan([LEADER, replace(done, endpoint="b:1"), done]).defragment == "a:1"
    assert plan([replace(done, is_leader=True), replace(done, endpoint="b:1"), done]).defragment == ""


def test_not_again_and_again() -> None:
    """A member whose database does not get smaller has had its turn."""
    assert plan([LEADER, wasteful(FOLLOWER), OTHER], ["c:1", "b:1"]).defragment == "a:1"
    assert plan([LEADER, wasteful(FOLLOWER), OTHER], ["c:1", "b:1", "a:1"]).defragment == ""


def test_small_databases_are_left_alone() -> None:
    """However little of them is used."""
    assert plan([Member("a:1", "", True, 64 * MIB, 1)]).defragment == ""
    assert plan([Member("a:1", "", True, 64 * MIB + 1, 32 * MIB)]).defragment == "a:1"
    assert plan([Member("a:1", "", True, 66 * MIB, 33 * MIB)]).defragment == ""


def test_no_member_is_stopped_while_another_is_away() -> None:
    """That could cost the quorum; who is away is told."""
    away = Member("c:1", "does not answer", False, 0, 0)
    planned = plan([LEADER, wasteful(FOLLOWER), away])
    assert planned == Plan(False, "", False, "etcd member c:1: does not answer")


def test_full() -> None:
    """Space is given back first, by every member, whatever it counts as used; then the alarm is taken back. A member that is away
    does not hold that up: nothing can be written anyway."""
    members = [full(LEADER), FOLLOWER, OTHER]
    planned = plan(members)
    assert planned == Plan(True, "b:1", False, "etcd member a:1: alarm: no space")
    assert plan(members, ["b:1"]).defragment == "c:1"
    assert plan(members, ["b:1", "c:1"]).defragment == "a:1"
    assert plan(members, ["b:1", "c:1", "a:1"]) == Plan(True, "", True, planned.trouble)
    away = Member("c:1", "does not answer", False, 0, 0)
    assert plan([full(LEADER), FOLLOWER, away]).defragment == "b:1"


def test_other_alarms_are_told() -> None:
    """And nothing is done about them."""
    planned = plan([replace(LEADER, alarms=("corrupt",)), FOLLOWER])
    assert planned == Plan(False, "", False, "etcd member a:1: alarm: corrupt")


class Watched(ModelClient):
    """Notes what is asked of it; the members are those given, by turns."""

    def __init__(self, *looks: list[Member]) -> None:
        super().__init__(EtcdModel())
        self.looks = list(looks)
        self.done: list[str] = []

    async def members(self) -> list[Member]:
        """See Etcd."""
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]

    async def compact(self, revision: int) -> None:
        """See Etcd."""
        self.done.append(f"compact {revision}")
        await super().compact(revision)

    async def defragment(self, endpoint: str) -> None:
        """See Etcd."""
        self.done.append(f"defragment {endpoint}")

    async def disarm(self) -> None:
        """See Etcd."""
        self.done.append("disarm")


def caring(etcd: ModelClient, *, leads: bool = True) -> tuple[Care, list[str]]:
    """Care, and what it tells."""
    told: list[str] = []
    return Care(etcd, told.append, lambda: told.append("full"), lambda: leads), told


async def test_history_is_compacted_later(autojump_clock: object) -> None:
    """What happened in the last minute stays, for watches that are a little behind."""
    etcd = Watched([LEADER])
    caretaker, _ = caring(etcd)
    revisions = []
    for _ in range(3):
        revisions.append((await etcd.transact([], [Put(b"k", b"")])).revision)
        await caretaker.look()
        await caretaker.look()
        await trio.sleep(care.COMPACT_S)
    assert etcd.done == [f"compact {revision}" for revision in revisions[:2]]


async def test_order_when_full(autojump_clock: object) -> None:
    """Compact all, defragment one after the other, disarm."""
    etcd = Watched([full(LEADER), FOLLOWER])
    caretaker, told = caring(etcd)
    while await caretaker.look():
        pass
    assert [each for each in etcd.done if not each.startswith("compact")] == ["defragment b:1", "defragment a:1", "disarm"]
    assert etcd.done[0].startswith("compact")
    etcd.done.clear()
    await caretaker.look()
    assert etcd.done[1:] == ["disarm"]
    assert "full" in told


async def test_who_does_not_lead_only_looks(autojump_clock: object) -> None:
    """Two carers could stop two members at once."""
    etcd = Watched([full(LEADER), wasteful(full(FOLLOWER))])
    caretaker, told = caring(etcd, leads=False)
    assert not await caretaker.look()
    assert etcd.done == []
    assert "no space" in told[0]


async def fill(etcd: ModelClient) -> None:
    """Until it is full."""
    for _ in range(100):
        await etcd.transact([], [Put(b"k", bytes(100))])


async def test_a_full_model_is_mended(autojump_clock: object) -> None:
    """What was deleted makes room."""
    etcd = ModelClient(EtcdModel())
    etcd.model.quota_bytes = 1000
    with pytest.raises(EtcdFull):
        await fill(etcd)
    caretaker, told = caring(etcd)
    await etcd.transact([], [Delete(b"k")])
    while await caretaker.look():
        pass
    await etcd.transact([], [Put(b"k", bytes(100))])
    await caretaker.look()
    assert told[-1] == ""


async def test_a_user_without_the_right_to_care(autojump_clock: object) -> None:
    """Is told of, and stops nobody: etcd 3.4 lets only root defragment."""

    class Forbidding(Watched):
        async def defragment(self, endpoint: str) -> None:
            raise EtcdMisused("permission denied")

    caretaker, told = caring(Forbidding([full(LEADER), FOLLOWER]))
    with trio.move_on_after(3 * care.LOOK_S):
        await caretaker.run()
    assert "permission denied" in told
