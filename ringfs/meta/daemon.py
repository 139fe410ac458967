"""The metadata server as a process: state directory, recovery, listening, the last checkpoint. Signals and exit codes are cli's.

    state/store/    LMDB: the last checkpoint        state/journal/  what came after it
Both are locked by the process that uses them; a second server on them is refused.
"""

import os
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog
import trio

from ringfs.base.clock import Clock, SystemClock
from ringfs.base.config import ClusterConfig, EtcdConfig, MetaConfig
from ringfs.base.errors import UserError
from ringfs.base.files import RealFiles
from ringfs.base.kv.store import Store, StoreFailed, StoreFull
from ringfs.meta.journal.file import FileJournal
from ringfs.meta.journal.interface import Journal, JournalFailed
from ringfs.meta.leader import Leader
from ringfs.meta.live import Live
from ringfs.meta.namespace import facts
from ringfs.meta.nodes import NodeTable
from ringfs.meta.object_store import OpenObjectStore
from ringfs.meta.recovery import recover
from ringfs.meta.roles import Roles, Self, Term
from ringfs.meta.server import MetaServer
from ringfs.meta.sessions import SessionTable
from ringfs.meta.snapshot_duty import SnapshotDuty
from ringfs.meta.standby_service import alone
from ringfs.wire.rpc import serve_tcp

log = structlog.get_logger("ringfs.meta")


async def run_meta(
    config: ClusterConfig, name: str, ring: OpenObjectStore, *, started: Callable[[str], None] | None = None
) -> None:
    """Serve until cancelled; then write a last checkpoint. `started` gets the actual "host:port"; snapshots go into the ring.

    Raises UserError: what is wrong with the state, or that journal or store failed (nothing acknowledged is lost).
    """
    server = config.meta_named(name)
    log.info("metadata server starts", name=name, state=str(server.state), journal="file" if config.etcd is None else "etcd")
    try:
        if config.etcd is None:
            await _run_alone(config, server, started)
        else:
            await _run_with_others(config, config.etcd, server, ring, started)
    except (JournalFailed, StoreFailed) as failure:
        raise _stopped_by(name, failure) from failure
    except BaseExceptionGroup as group:
        failures = group.subgroup((JournalFailed, StoreFailed))
        if failures is not None:
            raise _stopped_by(name, _first(failures)) from group
        mistakes = group.subgroup(UserError)
        if mistakes is not None:
            raise _first(mistakes) from group
        raise


async def _run_alone(config: ClusterConfig, server: MetaConfig, started: Callable[[str], None] | None) -> None:
    """The only metadata server, on the file journal."""
    store, journal = _open_state(server.state, config.cluster)
    try:
        leader, handler = await start(store, journal, SystemClock(), config, server.name)
        await _serve(leader, handler, config.load_key(), server.address, started)
    finally:
        journal.close()
        store.close()


async def _run_with_others(
    config: ClusterConfig, etcd_config: EtcdConfig, server: MetaConfig, ring: OpenObjectStore, started: Callable[[str], None] | None
) -> None:
    """One of several, on etcd."""
    from ringfs.meta.etcd.care import Care
    from ringfs.meta.etcd.client import EtcdClient
    from ringfs.meta.etcd.connect import access_of

    etcd, prefix = EtcdClient(access_of(etcd_config)), etcd_config.prefix.encode()
    snapshots = SnapshotDuty(etcd, prefix, ring, server.state / "store", config.cluster)

    async def care(term: Term) -> None:
        try:
            await Care(etcd, roles.note_etcd, snapshots.want, term.leadership.is_certain).run()
        finally:
            roles.note_etcd("")

    serve = partial(serve_tcp, key=config.load_key(), address=server.address)
    me = Self(
        name=server.name,
        address=server.address,
        peers=tuple(each.name for each in config.meta),
        cluster=config.cluster,
        default_class=config.default_class,
        open_store=partial(_open_store, server.state),
        load_snapshot=snapshots.load,
        duties=(snapshots.keep, care),
        identity=_identity(server.state),
        out_after_s=config.ring.out_after_s,
    )
    roles = Roles(me, etcd, prefix, SystemClock(), serve, lease_s=etcd_config.lease_s)
    snapshots.tell = roles.note_snapshot
    try:
        async with trio.open_nursery() as nursery:
            address = await nursery.start(roles.run)
            log.info("listening", address=address)
            if started is not None:
                started(address)
    finally:
        etcd.close()


def _identity(state: Path) -> str:
    """Of a state directory: made with it."""
    path = state / "identity"
    state.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        new = path.with_name("identity.new")
        with new.open("w") as file:
            file.write(str(uuid.uuid4()))
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        RealFiles().sync_directory(state)
    return path.read_text()


def _open_store(state: Path) -> Store:
    state.mkdir(parents=True, exist_ok=True)
    RealFiles().sync_directory(state.parent)
    return Store(state / "store")


def _open_state(state: Path, cluster: str) -> tuple[Store, Journal]:
    store = _open_store(state)
    try:
        return store, FileJournal(state / "journal", cluster)
    except BaseException:
        store.close()
        raise


async def start(store: Store, journal: Journal, clock: Clock, config: ClusterConfig, name: str) -> tuple[Leader, MetaServer]:
    """Recover the state and put a server over it."""
    begun_ns = clock.monotonic_ns()
    recovered = await recover(store, journal, clock, cluster=config.cluster, default_class=config.default_class)
    leader = Leader(
        store,
        journal,
        clock,
        term=recovered.term,
        position=recovered.position,
        checkpointed=recovered.checkpointed,
        now_ns=recovered.now_ns,
    )
    now_ns = clock.monotonic_ns()
    sessions = SessionTable(((each.session, each.name) for each in facts.sessions(store)), now_ns)
    log.info(
        "formatted" if recovered.is_new else "recovered",
        position=recovered.position,
        replayed=recovered.replayed_count,
        term=recovered.term,
        sessions=len(sessions),
        seconds=round((now_ns - begun_ns) / 1e9, 3),
    )
    nodes = NodeTable(facts.cluster_map(store), now_ns, int(config.ring.out_after_s * 1e9))
    live = Live(leader, sessions, nodes, clock, facts.default_class(store))
    return leader, MetaServer(live, name, partial(alone, leader, name, config.meta_named(name).address))


async def _serve(leader: Leader, handler: MetaServer, key: bytes, address: str, started: Callable[[str], None] | None) -> None:
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(leader.run)
            nursery.start_soon(handler.run)
            actual_address = await nursery.start(serve_tcp, handler, key, address)
            log.info("listening", address=actual_address)
            if started is not None:
                started(actual_address)
    except BaseException as reason:
        handler.snapshots.close_all()
        if _is_cancellation(reason):
            await _stop(leader)
        raise


async def _stop(leader: Leader) -> None:
    """Leave a checkpoint of everything, so that the next start replays nothing."""
    with trio.CancelScope(shield=True):
        try:
            await leader.finish()
        except StoreFull as error:
            log.warning("no last checkpoint; the journal has everything", reason=str(error))
    log.info("stopped", position=leader.durable)


def _is_cancellation(reason: BaseException) -> bool:
    if isinstance(reason, BaseExceptionGroup):
        return reason.split(trio.Cancelled)[1] is None
    return isinstance(reason, trio.Cancelled)


def _stopped_by(name: str, failure: BaseException) -> UserError:
    log.error("metadata server stops", name=name, reason=str(failure))
    return UserError(f"{name} stops: {failure}; nothing acknowledged is lost: mend the disk and start it again")


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
