"""The data node as a process: its disk, its server, its membership, from start to SIGTERM."""

import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import structlog
import trio

from ringfs.base.clock import SystemClock
from ringfs.base.config import ClusterConfig, DataConfig
from ringfs.base.errors import UserError
from ringfs.base.files import Files, Lock, RealFiles
from ringfs.data.identity import Identity, check_disk, is_there, make_identity, remember_node
from ringfs.data.membership import Membership
from ringfs.data.recovery import open_store
from ringfs.data.segment_log import SegmentSizes
from ringfs.data.server import DataServer
from ringfs.data.store import ObjectStore
from ringfs.wire.rpc import OnPush, RpcClient, open_client, serve_tcp

log = structlog.get_logger("ringfs.data")

#: How often the disk is looked at: whether it is still the same one.
_LOOK_S = 1.0


async def run_data(config: ClusterConfig, name: str, *, started: Callable[[str], None] | None = None) -> None:
    """Serve one data node until SIGTERM or SIGINT; `started` is told its address once it listens. Raises UserError."""
    node = config.data_named(name)
    key = config.load_key()
    files = RealFiles()
    identity, lock = take_disk(files, node.disk, config.cluster)
    try:
        store = await _open(node, identity)
        try:
            await _serve(config, node, store, key, files, started)
        except BaseExceptionGroup as group:
            raise _mistake_in(group) from None
        finally:
            with trio.CancelScope(shield=True):
                await store.close()
            log.info("stopped", name=name)
    finally:
        lock.release()


def _mistake_in(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The UserError that nurseries wrapped, or the group if there is anything else in it."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error if isinstance(error, UserError) else group


def take_disk(files: Files, directory: Path, cluster: str) -> tuple[Identity, Lock]:
    """Make sure that the directory is this cluster's disk (an empty one becomes it) and ours alone. Raises UserError."""
    check_disk(files, directory, cluster)
    try:
        lock = files.lock(directory)
        try:
            # Again: another server may have been faster to make it a disk.
            return check_disk(files, directory, cluster) or make_identity(files, directory, cluster), lock
        except BaseException:
            lock.release()
            raise
    except OSError as error:
        raise UserError(f"disk {directory}: {error.strerror or error}") from error


async def _open(node: DataConfig, identity: Identity) -> ObjectStore:
    try:
        return await open_store(node.disk, identity, SystemClock(), SegmentSizes(capacity_bytes=node.capacity_bytes))
    except OSError as error:
        raise UserError(f"disk {node.disk} cannot be opened: {error}") from error


async def _serve(
    config: ClusterConfig, node: DataConfig, store: ObjectStore, key: bytes, files: Files, started: Callable[[str], None] | None
) -> None:
    server = DataServer(store, config.cluster, SystemClock())

    async def on_joined(number: int) -> None:
        server.node = number
        if store.identity.node != number:
            store.identity = await trio.to_thread.run_sync(remember_node, files, node.disk, store.identity, number)

    def connect(address: str, on_push: OnPush) -> AbstractAsyncContextManager[RpcClient]:
        return open_client(address, key, name=f"data node {node.name}", on_push=on_push)

    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on, signals, nursery.cancel_scope)
            await nursery.start(store.run)
            nursery.start_soon(server.run)
            nursery.start_soon(_watch_disk, files, node.disk, store)
            address: str = await nursery.start(_listen, server, key, node.address)
            log.info("serving", name=node.name, address=address, disk=str(store.identity.disk), parts=store.figures().part_count)
            if started is not None:
                started(address)
            metas = [meta.address for meta in config.meta]
            nursery.start_soon(Membership(node, store, address, metas, connect, on_joined).run)


async def _listen(server: DataServer, key: bytes, address: str, *, task_status: trio.TaskStatus[str]) -> None:
    await serve_tcp(server, key, address, task_status=task_status)


async def _watch_disk(files: Files, directory: Path, store: ObjectStore) -> None:
    """A disk whose identity is gone (unmounted, or another one mounted over it) is not written to any more."""
    while True:
        await trio.sleep(_LOOK_S)
        if not await trio.to_thread.run_sync(is_there, files, directory, store.identity):
            store.health.fail(f"its identity file is not in {directory} any more")


async def _stop_on(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for number in signals:
        log.info("stopping", signal=signal.Signals(number).name)
        scope.cancel()
        return
