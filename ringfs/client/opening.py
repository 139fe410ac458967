"""How the parts of a client are put together: from a cluster's configuration to a running FileSystem."""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple

import trio

from ringfs.base.clock import Clock, SystemClock
from ringfs.base.config import ClusterConfig
from ringfs.base.errors import Refused
from ringfs.client.access_times import AccessTimes, Policy
from ringfs.client.appender import Appender
from ringfs.client.blocks import BlockCache
from ringfs.client.coherence import Coherence, KernelCache
from ringfs.client.delegations import Delegations
from ringfs.client.file_system import FileSystem
from ringfs.client.inodes import InodeTable
from ringfs.client.locks import Locks
from ringfs.client.metadata import MetadataLink
from ringfs.client.reader import Reader
from ringfs.client.rewriter import Rewriter
from ringfs.client.writer import Writer
from ringfs.objects.nodes import DataNodes
from ringfs.objects.objects import Objects, RunInThread
from ringfs.wire.rpc import Dial, dial_tcp

#: Threads that hash and verify: more than the cores only adds switches.
_HASHING_THREADS = 2


@asynccontextmanager
async def open_file_system(
    config: ClusterConfig,
    *,
    purpose: str = "library",
    kernel: KernelCache | None = None,
    clock: Clock | None = None,
    dial: Dial = dial_tcp,
    run_in_thread: RunInThread | None = None,
) -> AsyncIterator[FileSystem]:
    """A session with the cluster, and a file system on it. At the end everything is flushed and the session closed.

    `purpose` is shown by `ringfs status`. Waits until a metadata server answers. Raises Refused if it gives
    no session: WRONG_CLUSTER, TOO_MANY_SESSIONS and others.
    """
    clock = clock or SystemClock()
    run_in_thread = run_in_thread or partial(trio.to_thread.run_sync, limiter=trio.CapacityLimiter(_HASHING_THREADS))
    key, name = config.load_key(), f"{socket.gethostname()}:{os.getpid()} {purpose}"
    async with trio.open_nursery() as nursery:
        objects = Objects(DataNodes(key, name, nursery, dial), run_in_thread, clock)
        parts = _put_together(config, key, name, objects, kernel or KernelCache(), clock, dial)
        await nursery.start(parts.locks.run)
        await nursery.start(parts.writer.run)
        refused: Refused | None = await nursery.start(parts.link.run)
        if refused is None:
            file_system = parts.file_system
            for run in (parts.coherence.run, file_system.access_times.run, file_system.space.watch, file_system.removed.run):
                nursery.start_soon(run)
            yield file_system
            await file_system.sync()
            parts.coherence.close_now()
            await parts.link.close()
        nursery.cancel_scope.cancel()
    if refused is not None:
        # Out here, so that it is not wrapped in a group.
        raise refused


class _Parts(NamedTuple):
    """Of a client: those that are to run, and the whole."""

    link: MetadataLink
    coherence: Coherence
    locks: Locks
    writer: Writer
    file_system: FileSystem


def _put_together(
    config: ClusterConfig, key: bytes, name: str, objects: Objects, kernel: KernelCache, clock: Clock, dial: Dial
) -> _Parts:
    """All parts, of which none runs yet."""
    tunables, addresses = config.mount, [server.address for server in config.meta]
    coherence = Coherence()
    link = MetadataLink(addresses, key, name, clock, coherence, dial, leader_wait_s=tunables.leader_wait_s)
    link.on_map = objects.follow
    inodes = InodeTable(link.holds)
    blocks = BlockCache(objects.fetch_soon, tunables.cache_bytes_max)
    objects.peek_by(blocks.peek)
    writer = Writer(
        link,
        objects,
        inodes,
        coherence.load_extents,
        Rewriter(link, objects, inodes, blocks),
        coherence.committed,
        coherence.lost,
        dirty_bytes_max=tunables.dirty_bytes_max,
        commit_interval_s=tunables.commit_interval_s,
        remember=blocks.remember,
    )
    coherence.attach(link, inodes, writer, kernel, Delegations(link, inodes, clock, enabled=tunables.delegations))
    locks = Locks(link, inodes, coherence, writer, kernel)
    link.on_locks_freed = locks.freed
    reader = Reader(blocks, coherence.load_extents, tunables.readahead_bytes)
    appender = Appender(link, objects, inodes, coherence, writer)
    access_times = AccessTimes(link, clock, Policy(tunables.atime))
    file_system = FileSystem(link, inodes, reader, writer, coherence, locks, appender, access_times, clock)
    return _Parts(link, coherence, locks, writer, file_system)
