"""One disk of a data node, from taking it to giving it up: its store, its server, its place in the cluster.

Disks of one process know nothing of each other. A disk that failed leaves the cluster, so that what it held is made anew elsewhere,
and answers gets for as long as it is there.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import structlog
import trio

from ringfs.base.clock import SystemClock
from ringfs.base.config import ClusterConfig, DataConfig
from ringfs.base.errors import UserError
from ringfs.base.files import Files, Lock, RealFiles
from ringfs.base.kv.store import ReadDamaged, StoreCorrupted, StoreFailed, StoreFull
from ringfs.data.identity import Identity, check_disk, is_there, make_identity, remember_node
from ringfs.data.index import IndexDamaged
from ringfs.data.membership import Membership
from ringfs.data.recovery import doubt_index, open_store
from ringfs.data.segment_log import SegmentSizes
from ringfs.data.server import DataServer
from ringfs.data.stewarding import run_steward
from ringfs.data.store import ObjectStore
from ringfs.wire.rpc import OnPush, RpcClient, open_client, serve_tcp

log = structlog.get_logger("ringfs.data")

#: How often the disk is looked at: whether it is still the same one, and has not failed.
LOOK_S = 1.0
#: A disk that failed says so to the metadata service for so long, then it leaves.
LEAVE_AFTER_S = 10.0
#: An index that is damaged is built anew from the segments, so often before the disk is given up.
_OPENED_MAX = 3
_INDEX_FAILURES: tuple[type[Exception], ...] = (IndexDamaged, StoreCorrupted, *ReadDamaged)


class _IndexFailed(Exception):
    """What the index said is wrong; the segments have all of it."""


async def serve_disk(config: ClusterConfig, node: DataConfig, key: bytes, started: Callable[[str], None]) -> None:
    """Serve one disk until cancelled, or until it is gone; `started` is told its address once it listens. Raises UserError."""
    files = RealFiles()
    _, lock = take_disk(files, node.disk, config.cluster)
    try:
        for _ in range(_OPENED_MAX):
            try:
                await _serve(config, node, key, files, started)
            except _IndexFailed as failed:
                log.error("the index is damaged: it is built anew", name=node.name, reason=str(failed))
                doubt_index(node.disk)
        raise UserError(f"disk {node.disk}: its index was found damaged again and again")
    except OSError as error:
        raise UserError(f"disk {node.disk}: {error.strerror or error}") from error
    finally:
        lock.release()


async def _serve(config: ClusterConfig, node: DataConfig, key: bytes, files: Files, started: Callable[[str], None]) -> None:
    """The same until its index fails: _IndexFailed."""
    identity = check_disk(files, node.disk, config.cluster)
    assert identity is not None, "it was taken"
    store = await _open(node, identity)
    try:
        await _Serving(config, node, key, files, store, started).run()
    except BaseExceptionGroup as group:
        raise _mistake_in(group, store) from group
    finally:
        with trio.CancelScope(shield=True):
            await store.close()
        log.info("stopped", name=node.name)


def take_disk(files: Files, directory: Path, cluster: str) -> tuple[Identity, Lock]:
    """Make sure that the directory is this cluster's disk (an empty one becomes it) and ours alone. Raises UserError."""
    try:
        check_disk(files, directory, cluster)
        lock = files.lock(directory)
        try:
            # Again: another server may have been faster to make it a disk.
            return check_disk(files, directory, cluster) or make_identity(files, directory, cluster), lock
        except BaseException:
            lock.release()
            raise
    except OSError as error:
        raise UserError(f"disk {directory}: {error.strerror or error}") from error


def _mistake_in(group: BaseExceptionGroup[BaseException], store: ObjectStore) -> BaseException:
    """The UserError that nurseries wrapped, or what a damaged index comes to; the group if there is anything else in it.

    An index may be found damaged while the node is being stopped: whoever cancelled is told so again when the disk is opened anew.
    """
    damage, rest = group.split(_INDEX_FAILURES)
    if damage is not None and (rest is None or rest.split(trio.Cancelled)[1] is None):
        # Nothing more is written to it.
        store.health.fail("its index is damaged")
        return _IndexFailed(str(_first_of(damage)))
    mistakes, rest = group.split(UserError)
    return group if mistakes is None or rest is not None else _first_of(mistakes)


def _first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The only one in it, as a rule."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _open(node: DataConfig, identity: Identity) -> ObjectStore:
    try:
        return await open_store(node.disk, identity, SystemClock(), SegmentSizes(capacity_bytes=node.capacity_bytes))
    except _INDEX_FAILURES as error:
        raise _IndexFailed(str(error)) from error
    except (OSError, StoreFull, StoreFailed) as error:
        raise UserError(f"disk {node.disk} cannot be opened: {error}") from error


class _Serving:
    """The tasks around one open store."""

    def __init__(
        self,
        config: ClusterConfig,
        node: DataConfig,
        key: bytes,
        files: Files,
        store: ObjectStore,
        started: Callable[[str], None],
    ) -> None:
        self._config = config
        self._node = node
        self._key = key
        self._files = files
        self._store = store
        self._started = started
        self._server = DataServer(store, config.cluster, SystemClock())
        #: Of what is the cluster's business; ends before the rest if the disk fails.
        self._in_cluster = trio.CancelScope()

    async def run(self) -> None:
        """Until cancelled. Raises UserError when the disk is gone or the cluster does not want it."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._store.run)
            nursery.start_soon(self._server.run)
            nursery.start_soon(self._watch)
            address: str = await nursery.start(self._listen)
            disk, part_count = str(self._store.identity.disk), self._store.figures().part_count
            log.info("serving", name=self._node.name, address=address, disk=disk, parts=part_count)
            self._started(address)
            nursery.start_soon(self._take_part, address)

    async def _listen(self, *, task_status: trio.TaskStatus[str]) -> None:
        await serve_tcp(self._server, self._key, self._node.address, task_status=task_status)

    async def _take_part(self, address: str) -> None:
        metas = [meta.address for meta in self._config.meta]
        membership = Membership(self._node, self._store, self._node.advertise or address, metas, self._connect, self._on_joined)
        with self._in_cluster:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(membership.run)
                nursery.start_soon(self._steward, membership)

    async def _steward(self, membership: Membership) -> None:
        settings = self._config.ring
        await run_steward(settings, self._node, self._store, self._server, membership, self._key, self._files)

    def _connect(self, address: str, on_push: OnPush) -> AbstractAsyncContextManager[RpcClient]:
        return open_client(address, self._key, name=f"data node {self._node.name}", on_push=on_push)

    async def _on_joined(self, number: int) -> None:
        self._server.node = number
        store = self._store
        if store.identity.node == number or store.health.failure is not None:
            return
        try:
            store.identity = await trio.to_thread.run_sync(remember_node, self._files, self._node.disk, store.identity, number)
        except OSError as error:
            store.health.fail(f"its identity file cannot be written: {error.strerror or error}")

    async def _watch(self) -> None:
        """A disk whose identity is gone (unmounted, or another one mounted over it) is not written to any more; one that failed
        leaves the cluster. Raises UserError when it has left and is gone."""
        health, node, left = self._store.health, self._node, False
        while True:
            await trio.sleep(LOOK_S)
            is_here = await trio.to_thread.run_sync(is_there, self._files, node.disk, self._store.identity)
            if not is_here:
                health.fail(f"its identity file is not in {node.disk} any more")
            if health.failure is None:
                continue
            if not left:
                await trio.sleep(LEAVE_AFTER_S)
                log.error("a failed disk leaves the cluster", name=node.name, reason=health.failure)
                self._in_cluster.cancel()
                left = True
            if not is_here:
                raise UserError(f"disk {node.disk} failed: {health.failure}")
