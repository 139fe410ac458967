"""How the parts of a client are put together: from a cluster's configuration to a running FileSystem."""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

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
    key = config.load_key()
    name = f"{socket.gethostname()}:{os.getpid()} {purpose}"
    coherence = Coherence()
    tunables = config.mount
    addresses = [server.address for server in config.meta]
    link = MetadataLink(addresses, key, name, clock, coherence, dial, leader_wait_s=tunables.leader_wait_s)
    inodes = InodeTable(link.holds)
    async with trio.open_nursery() as nursery:
        objects = Objects(DataNodes(key, name, nursery, dial), run_in_thread, clock)
        link.on_map = objects.follow
        blocks = BlockCache(objects.fetch_soon, tunables.cache_bytes_max)
        objects.peek_by(blocks.peek)
        reader = Reader(blocks, coherence.load_extents, tunables.readahead_bytes)
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
        kernel = kernel or KernelCache()
        delegations = Delegations(link, inodes, clock, enabled=tunables.delegations)
        coherence.attach(link, inodes, writer, kernel, delegations)
        locks = Locks(link, inodes, coherence, writer, kernel)
        link.on_locks_freed = locks.freed
        appender = Appender(link, objects, inodes, coherence, writer)
        await nursery.start(locks.run)
        await nursery.start(writer.run)
        refused: Refused | None = await nursery.start(link.run)
        if refused is None:
            nursery.start_soon(coherence.run)
            access_times = AccessTimes(link, clock, Policy(tunables.atime))
            file_system = FileSystem(link, inodes, reader, writer, coherence, locks, appender, access_times, clock)
            nursery.start_soon(access_times.run)
            nursery.start_soon(file_system.space.watch)
            nursery.start_soon(file_system.removed.run)
            yield file_system
            await file_system.sync()
            coherence.close_now()
            await link.close()
        nursery.cancel_scope.cancel()
    if refused is not None:
        # Out here, so that it is not wrapped in a group.
        raise refused
