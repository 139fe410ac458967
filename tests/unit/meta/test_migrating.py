"""From the file journal to etcd: everything comes along, wherever it is interrupted, and nothing is overwritten."""

from pathlib import Path
from typing import Any

import pytest

from ringfs.base.errors import UserError
from ringfs.base.files import RealFiles
from ringfs.base.kv.store import Store
from ringfs.meta import marks, migrating
from ringfs.meta.daemon import start
from ringfs.meta.etcd.interface import Put
from ringfs.meta.journal.file import FileJournal
from ringfs.meta.migrating import migrate
from ringfs.meta.namespace import facts
from ringfs.meta.namespace.machine import Transaction
from ringfs.meta.namespace.system import BeginSession
from ringfs.meta.origin import Origin, look_at_origin, settle_origin
from tests.support.etcd_model import EtcdModel, ModelClient
from tests.support.meta_doubles import CLUSTER, CONFIG, TrioClock

PREFIX = b"/t/"


@pytest.fixture
async def state(tmp_path: Path) -> Path:
    """A state directory whose journal has five transactions that no checkpoint has."""
    directory = tmp_path / "state"
    directory.mkdir()
    store, journal = Store(directory / "store"), FileJournal(directory / "journal", CLUSTER)
    leader, _ = await start(store, journal, TrioClock(), CONFIG, "meta1")
    entries = [Transaction(0, 0, 0, number, [], BeginSession(f"s{number}")).encode() for number in range(5)]
    await journal.append(leader.term, entries)
    journal.close()
    store.close()
    return directory


async def go(etcd: ModelClient, state: Path, cluster: str = CLUSTER) -> int:
    """Migrate."""
    return await migrate(etcd, PREFIX, state, cluster, "replica:2", TrioClock())


def stored(state: Path) -> tuple[int, int]:
    """Position of the store, and how many sessions it has."""
    store = Store(state / "store")
    try:
        found = marks.read(store)
        return 0 if found is None else found.position, sum(1 for _ in facts.sessions(store))
    finally:
        store.close()


async def test_everything_comes_along(state: Path) -> None:
    """The store has it, etcd begins there, and the file journal serves nobody any more. A second time says the same."""
    etcd = ModelClient(EtcdModel())
    assert await go(etcd, state) == 5
    assert stored(state) == (5, 5)
    origin = await look_at_origin(etcd, PREFIX, CLUSTER)
    assert origin is not None
    assert (origin.base_position, origin.default_class) == (5, "replica:2")
    assert origin.base_term > 1
    assert RealFiles().list(state) == ["journal.migrated", "store"]
    assert await go(etcd, state) == 5


async def test_a_start_without_etcd_is_refused(state: Path) -> None:
    """It would go on from a journal that is not the cluster's any more."""
    await go(ModelClient(EtcdModel()), state)
    store, journal = Store(state / "store"), FileJournal(state / "journal", CLUSTER)
    with pytest.raises(UserError, match="not of one moment"):
        await start(store, journal, TrioClock(), CONFIG, "meta1")
    journal.close()
    store.close()


@pytest.mark.parametrize("step", ["put", "rename", "sync"])
async def test_interrupted(state: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it stops, it can be done again, or the server can go on with its file journal and be migrated later."""
    etcd = ModelClient(EtcdModel())
    with monkeypatch.context() as patched:

        def crash(*_args: Any) -> Any:
            raise OSError

        if step == "put":
            patched.setattr(migrating, "_put_origin", crash)
        else:
            patched.setattr(RealFiles, {"rename": "rename", "sync": "sync_directory"}[step], crash)
        with pytest.raises(OSError):  # noqa: PT011 -- ours
            await go(etcd, state)
    if (state / "journal").is_dir():
        store, journal = Store(state / "store"), FileJournal(state / "journal", CLUSTER)
        leader, _ = await start(store, journal, TrioClock(), CONFIG, "meta1")
        await journal.append(leader.term, [Transaction(0, 0, 0, 9, [], BeginSession("later")).encode()])
        journal.close()
        store.close()
        assert await go(etcd, state) == 6
        assert stored(state) == (6, 6)
    else:
        assert await go(etcd, state) == 5
    origin = await look_at_origin(etcd, PREFIX, CLUSTER)
    assert origin is not None
    assert origin.base_position == stored(state)[0]


async def test_refusals(state: Path, tmp_path: Path) -> None:
    """Somebody uses it; etcd has another cluster, a journal, a snapshot or a leader; there is nothing. Nothing is changed then."""
    model = EtcdModel()
    etcd = ModelClient(model)
    with pytest.raises(UserError, match="nothing to migrate"):
        await go(etcd, tmp_path / "nothing")
    journal = FileJournal(state / "journal", CLUSTER)
    with pytest.raises(UserError, match="in use by process"):
        await go(etcd, state)
    journal.close()
    for key in (b"journal/0001", b"snapshot", b"leader"):
        model.restore({PREFIX + key: b"x"})
        with pytest.raises(UserError, match="nothing was changed"):
            await go(etcd, state)
        assert model.pairs() == {PREFIX + key: b"x"}
    model.restore({})
    await settle_origin(etcd, PREFIX, Origin("another", "replica:2", 1))
    with pytest.raises(UserError, match="another"):
        await go(etcd, state)
    assert (state / "journal").is_dir()


async def test_an_unused_beginning_is_replaced(state: Path) -> None:
    """A server that was started on etcd too early has left one, and no transaction."""
    etcd = ModelClient(EtcdModel())
    await settle_origin(etcd, PREFIX, Origin(CLUSTER, "replica:2", 1))
    await etcd.transact([], [Put(b"/other/journal/1", b"")])
    assert await go(etcd, state) == 5
    origin = await look_at_origin(etcd, PREFIX, CLUSTER)
    assert origin is not None
    assert origin.base_position == 5
