"""What ringfs relies on of etcd: the real one and the model of tests/support/etcd_model.py both pass."""

from collections.abc import Callable

import pytest
import trio

from ringfs.meta.etcd.interface import (
    Absent,
    AtVersion,
    Change,
    CreatedAt,
    Delete,
    Etcd,
    EtcdCompacted,
    Get,
    LeaseEnded,
    Put,
    prefix_end,
)

Connect = Callable[[], Etcd]
_ALL = Get(b"\0", b"\xff")


class EtcdContract:
    """Give a fixture `connect`: connections to one etcd that was empty."""

    async def test_a_put_is_seen_by_everybody(self, connect: Connect) -> None:
        """What was acknowledged to one, another reads; version and revisions count."""
        one, other = connect(), connect()
        first = await one.transact([], [Put(b"key", b"a")])
        second = await one.transact([], [Put(b"key", b"b")])
        (pair,) = (await other.transact([], [Get(b"key")])).found[0]
        assert (pair.value, pair.version, pair.create_revision, pair.mod_revision) == (b"b", 2, first.revision, second.revision)
        assert second.revision == first.revision + 1

    async def test_conditions_choose_the_branch(self, connect: Connect) -> None:
        """Absent and CreatedAt hold as they say; the other branch runs if one does not, and nothing of the first."""
        etcd = connect()
        made = await etcd.transact([Absent(b"k")], [Put(b"k", b"1")], [Get(b"k")])
        assert made.succeeded
        again = await etcd.transact([Absent(b"k")], [Put(b"k", b"2")], [Get(b"k")])
        assert not again.succeeded
        assert [pair.value for pair in again.found[0]] == [b"1"]
        assert (await etcd.transact([CreatedAt(b"k", made.revision)], [Put(b"l", b"")])).succeeded
        assert not (await etcd.transact([CreatedAt(b"k", made.revision + 1)], [Put(b"m", b"")])).succeeded
        assert not (await etcd.transact([CreatedAt(b"none", 5), Absent(b"x")], [Put(b"m", b"")])).succeeded
        assert [pair.key for pair in (await etcd.transact([], [_ALL])).found[0]] == [b"k", b"l"]

    async def test_created_at_notices_a_key_made_anew(self, connect: Connect) -> None:
        """A key that was deleted and made again has another create revision, though its value is the same."""
        etcd = connect()
        made = await etcd.transact([], [Put(b"k", b"1")])
        await etcd.transact([], [Delete(b"k")])
        await etcd.transact([], [Put(b"k", b"1")])
        assert not (await etcd.transact([CreatedAt(b"k", made.revision)], [Put(b"x", b"")])).succeeded

    async def test_at_version_counts_puts(self, connect: Connect) -> None:
        """It holds after that many puts since the key was made, and for no key that is not there."""
        etcd = connect()
        for count in (1, 2):
            await etcd.transact([], [Put(b"k", b"same")])
            for version in (1, 2, 3):
                assert (await etcd.transact([AtVersion(b"k", version)], [])).succeeded == (version == count)
        await etcd.transact([], [Delete(b"k")])
        assert not (await etcd.transact([AtVersion(b"k", 2)], [])).succeeded
        await etcd.transact([], [Put(b"k", b"same")])
        assert (await etcd.transact([AtVersion(b"k", 1)], [])).succeeded

    async def test_absent_takes_a_range(self, connect: Connect) -> None:
        """No key from `key` up to `end`, which is not included."""
        etcd = connect()
        await etcd.transact([], [Put(b"j/5", b"")])
        assert (await etcd.transact([Absent(b"j/6", b"j/9")], [])).succeeded
        assert (await etcd.transact([Absent(b"j/4", b"j/5")], [])).succeeded
        assert not (await etcd.transact([Absent(b"j/4", b"j/6")], [])).succeeded

    async def test_get_limits_orders_and_leaves_out_values(self, connect: Connect) -> None:
        """Ranges come in order of their keys, from the end if asked, at most limit, and without values if those are not wanted."""
        etcd = connect()
        await etcd.transact([], [Put(b"p/%d" % number, b"v%d" % number) for number in range(5)])
        got = await etcd.transact(
            [],
            [
                Get(b"p/", prefix_end(b"p/")),
                Get(b"p/1", b"p/4", limit=2),
                Get(b"p/", b"p0", limit=1, last_first=True),
                Get(b"p/", b"p0", keys_only=True),
            ],
        )
        assert [pair.value for pair in got.found[0]] == [b"v0", b"v1", b"v2", b"v3", b"v4"]
        assert [pair.key for pair in got.found[1]] == [b"p/1", b"p/2"]
        assert [pair.value for pair in got.found[2]] == [b"v4"]
        assert [(pair.key, pair.value) for pair in got.found[3]] == [(b"p/%d" % number, b"") for number in range(5)]

    async def test_delete_of_a_range(self, connect: Connect) -> None:
        """Up to, not including, the end."""
        etcd = connect()
        await etcd.transact([], [Put(b"p/%d" % number, b"") for number in range(5)])
        await etcd.transact([], [Delete(b"p/1", b"p/3"), Delete(b"none")])
        assert [pair.key for pair in (await etcd.transact([], [_ALL])).found[0]] == [b"p/0", b"p/3", b"p/4"]

    async def test_a_lease_takes_its_keys_along(self, connect: Connect) -> None:
        """When it is revoked they go; putting under it afterwards changes nothing, nor does the rest of that transaction."""
        etcd = connect()
        lease, ttl_s = await etcd.grant(60)
        assert ttl_s >= 60
        await etcd.transact([], [Put(b"k", b"", lease), Put(b"stays", b"")])
        assert await etcd.keep_alive(lease) == ttl_s
        await etcd.revoke(lease)
        assert [pair.key for pair in (await etcd.transact([], [_ALL])).found[0]] == [b"stays"]
        assert await etcd.keep_alive(lease) == 0
        with pytest.raises(LeaseEnded):
            await etcd.transact([], [Put(b"other", b""), Put(b"k", b"", lease)])
        await etcd.revoke(lease)
        assert [pair.key for pair in (await etcd.transact([], [_ALL])).found[0]] == [b"stays"]

    async def test_a_lease_that_is_kept_alive_lives(self, connect: Connect) -> None:
        """Longer than its time; one that is not ends, and its keys are gone for everybody."""
        etcd, other = connect(), connect()
        # Long enough that a machine that stands still for seconds keeps it all the same.
        kept, ttl_s = await etcd.grant(8)
        left, _ = await etcd.grant(8)
        await etcd.transact([], [Put(b"kept", b"", kept), Put(b"left", b"", left)])
        for _ in range(8):
            await trio.sleep(ttl_s / 4)
            assert await etcd.keep_alive(kept) == ttl_s
        assert [pair.key for pair in (await other.transact([], [_ALL])).found[0]] == [b"kept"]
        assert await etcd.keep_alive(left) == 0

    async def test_a_watch_tells_everything_once_and_in_order(self, connect: Connect) -> None:
        """What happened before it was opened and after, of the keys that it is of, the changes of one transaction together."""
        etcd = connect()
        start = (await etcd.transact([], [Put(b"w/0", b"0")])).revision
        await etcd.transact([], [Put(b"w/1", b"1"), Put(b"w/2", b"2"), Put(b"x", b"not watched")])
        async with etcd.watch(b"w/", b"w0", from_revision=start) as changes:
            await etcd.transact([], [Delete(b"w/0")])
            told: list[Change] = []
            while len(told) < 4:
                told += await changes.receive()
        assert [(change.pair.key, change.pair.value, change.deleted) for change in told] == [
            (b"w/0", b"0", False),
            (b"w/1", b"1", False),
            (b"w/2", b"2", False),
            (b"w/0", b"", True),
        ]
        assert [change.pair.mod_revision for change in told] == [start, start + 1, start + 1, start + 2]

    async def test_a_watch_tells_that_a_lease_ended(self, connect: Connect) -> None:
        """As a deletion."""
        etcd = connect()
        lease, _ = await etcd.grant(4)
        made = await etcd.transact([], [Put(b"k", b"", lease)])
        async with etcd.watch(b"k", b"", from_revision=made.revision + 1) as changes:
            with trio.fail_after(120):
                (change,) = await changes.receive()
        assert change.deleted

    async def test_compaction(self, connect: Connect) -> None:
        """What is there stays; a watch from before is refused, one from after goes on. Compacting again does no harm."""
        etcd = connect()
        await etcd.transact([], [Put(b"k", b"1")])
        await etcd.transact([], [Put(b"k", b"2")])
        now = (await etcd.transact([], [Put(b"k", b"3")])).revision
        await etcd.compact(now)
        await etcd.compact(now)
        assert [pair.value for pair in (await etcd.transact([], [Get(b"k")])).found[0]] == [b"3"]
        with pytest.raises(EtcdCompacted):
            async with etcd.watch(b"k", b"", from_revision=now - 1) as changes:
                await changes.receive()
        async with etcd.watch(b"k", b"", from_revision=now + 1) as changes:
            await etcd.transact([], [Put(b"k", b"4")])
            assert [change.pair.value for change in await changes.receive()] == [b"4"]

    async def test_members_are_looked_after(self, connect: Connect) -> None:
        """They are healthy, one leads, none has an alarm; defragmenting and disarming are no harm."""
        etcd = connect()
        await etcd.transact([], [Put(b"k", b"1")])
        members = await etcd.members()
        assert [member.reason for member in members] == [""] * len(members)
        assert sum(member.is_leader for member in members) == 1
        assert all(member.database_bytes >= member.used_bytes > 0 and not member.alarms for member in members)
        for member in members:
            await etcd.defragment(member.endpoint)
        await etcd.disarm()
        assert [pair.value for pair in (await etcd.transact([], [Get(b"k")])).found[0]] == [b"1"]
