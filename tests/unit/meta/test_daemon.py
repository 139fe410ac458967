"""run_meta over doubles: what a stop leaves, and how a failing disk ends it."""

from pathlib import Path
from typing import Any

import pytest
import trio

from ringfs.base.config import ClusterConfig, DataConfig, MetaConfig, MountConfig
from ringfs.base.errors import ConnectionLost, UserError
from ringfs.base.ids import ROOT_INODE
from ringfs.base.kv.store import StoreFailed
from ringfs.meta import daemon
from ringfs.meta.daemon import run_meta
from ringfs.meta.namespace import keys
from ringfs.meta.namespace.facts import child_number
from ringfs.wire.messages.namespace import Mkdir
from ringfs.wire.messages.session import Mutate, OpenSession
from ringfs.wire.rpc import open_client
from tests.support.meta_doubles import CLUSTER, MemoryJournal, MemoryStore
from tests.support.meta_process import free_port

SECOND_SESSION = keys.session(2)


class ClosableStore(MemoryStore):
    """Says that it was closed; fails on demand."""

    def __init__(self) -> None:
        super().__init__()
        self.is_closed = False
        self.fails = False
        self.wrote_second_session = trio.Event()

    def put(self, key: bytes, value: bytes) -> None:
        """See View."""
        super().put(key, value)
        if key == SECOND_SESSION:
            self.wrote_second_session.set()

    def close(self) -> None:
        """See Store."""
        self.is_closed = True

    async def checkpoint(self, marks: Any) -> None:
        """See Store."""
        if self.fails:
            raise StoreFailed("the disk is on fire")
        await super().checkpoint(marks)


def no_ring() -> Any:
    """Without etcd nothing goes there."""
    raise AssertionError


class Machine:
    """A configuration, and the doubles that stand for its state directory."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        key_file = tmp_path / "key"
        key_file.write_text("5a" * 32)
        key_file.chmod(0o600)
        meta = MetaConfig("meta1", f"127.0.0.1:{free_port()}", tmp_path / "meta1")
        data = DataConfig("data1", "127.0.0.1:1", tmp_path / "data1", "data1", 100, None)
        self.config = ClusterConfig(
            tmp_path / "cluster.toml", CLUSTER, key_file, "replica:2", (meta,), (data,), MountConfig(), "info"
        )
        self.journal = MemoryJournal()
        self.store = ClosableStore()
        monkeypatch.setattr(daemon, "_open_state", lambda _state, _cluster: (self.store, self.journal))

    async def run(self, task_status: trio.TaskStatus[str]) -> None:
        """The server, started when it listens."""
        await run_meta(self.config, "meta1", no_ring, started=task_status.started)

    async def make_directory(self, address: str, name: bytes) -> None:
        """One session, one transaction."""
        async with open_client(address, b"\x5a" * 32, name="x") as client:
            session = (await client.call(OpenSession("x"))).message.session
            await client.call(Mutate(session, 1, 1, Mkdir(ROOT_INODE, name, 0o755, 0, 0, 0)))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """See Machine."""
    return Machine(tmp_path, monkeypatch)


async def test_a_stop_makes_everything_durable(machine: Machine) -> None:
    """Cancelled while an append is under way and more is waiting: all that was applied is in the last checkpoint, all is closed."""
    async with trio.open_nursery() as nursery:
        address = await nursery.start(machine.run)
        await machine.make_directory(address, b"a")
        machine.journal.gate = trio.Event()

        async def make_unanswered() -> None:
            with pytest.raises(ConnectionLost):
                await machine.make_directory(address, b"b")

        nursery.start_soon(make_unanswered)
        with trio.fail_after(120):
            await machine.store.wrote_second_session.wait()
        machine.journal.gate = None
        nursery.cancel_scope.cancel()
    found = machine.store.restarted()
    assert child_number(found, ROOT_INODE, b"a") is not None
    assert found.get(SECOND_SESSION) is not None, "the session that was applied and not durable"
    assert machine.store.is_closed


async def test_a_stop_with_a_full_disk_loses_nothing(machine: Machine) -> None:
    """No last checkpoint can be made: the journal has it, and the stop is clean all the same."""
    async with trio.open_nursery() as nursery:
        address = await nursery.start(machine.run)
        await machine.make_directory(address, b"a")
        machine.store.is_full = True
        nursery.cancel_scope.cancel()
    assert machine.store.is_closed
    assert len(machine.journal.entries) == 2


async def test_a_failed_journal_ends_it_in_one_line(machine: Machine) -> None:
    """The process must not go on: UserError says what and what to do; nothing is answered."""

    def fail_soon(address: str) -> None:
        machine.journal.fails = True
        nursery.start_soon(make, address)

    async def make(address: str) -> None:
        with pytest.raises(ConnectionLost):
            await machine.make_directory(address, b"a")

    async with trio.open_nursery() as nursery:
        with pytest.raises(UserError, match=r"meta1 stops: the disk is on fire; .* mend the disk"):
            await run_meta(machine.config, "meta1", no_ring, started=fail_soon)
    assert machine.store.is_closed
    assert not machine.journal.entries


async def test_a_failed_store_ends_it_in_one_line(machine: Machine) -> None:
    """The same for the store, at a checkpoint or at the start."""
    machine.store.fails = True
    with pytest.raises(UserError, match="meta1 stops: the disk is on fire"):
        await run_meta(machine.config, "meta1", no_ring)
    assert machine.store.is_closed


async def test_an_unknown_name_is_refused(machine: Machine) -> None:
    """A server that the configuration does not have."""
    with pytest.raises(UserError, match="meta9"):
        await run_meta(machine.config, "meta9", no_ring)
