"""The steward of a data node put together: on the node's store, its server, its place in the cluster and its disk's folder."""

from typing import NamedTuple

import trio

from ringfs.base.clock import Clock, SystemClock
from ringfs.base.config import DataConfig, RingConfig
from ringfs.base.files import Files
from ringfs.data.membership import Membership
from ringfs.data.server import STEWARD_PREFIX, DataServer
from ringfs.data.steward.audit import Audit, AuditLog
from ringfs.data.steward.cursor import CursorFile, Keeper
from ringfs.data.steward.local import StoredParts, note_losses, pass_on_bad_parts
from ringfs.data.steward.steward import Disk, Steward
from ringfs.data.store import ObjectStore
from ringfs.objects.nodes import DataNodes
from ringfs.objects.objects import Objects, RunInThread
from ringfs.wire.rpc import Dial, dial_tcp

#: Clients are at work on the node if one has put or got anything in so long.
_BUSY_NS = 10**9


class Around(NamedTuple):
    """What differs between a machine and a simulation: where cursor and audit log are kept, threads, the network, time."""

    keeper: Keeper
    audit: Audit
    run_in_thread: RunInThread
    dial: Dial
    clock: Clock


async def run_steward(
    settings: RingConfig, node: DataConfig, store: ObjectStore, server: DataServer, membership: Membership, key: bytes, files: Files
) -> None:
    """For ever."""
    clock = SystemClock()
    keeper, audit = CursorFile(files, node.disk), AuditLog(files, node.disk, clock)
    around = Around(keeper, audit, trio.to_thread.run_sync, dial_tcp, clock)
    await run_steward_in(around, settings, node.name, store, server, membership, key)


async def run_steward_in(
    around: Around, settings: RingConfig, name: str, store: ObjectStore, server: DataServer, membership: Membership, key: bytes
) -> None:
    """For ever."""
    clock = around.clock

    def is_busy() -> bool:
        return clock.monotonic_ns() - server.clients_asked_ns < _BUSY_NS

    async with trio.open_nursery() as nursery:
        nodes = DataNodes(key, STEWARD_PREFIX + name, nursery, around.dial)
        objects = Objects(nodes, around.run_in_thread, clock)
        disk = Disk(StoredParts(store), around.keeper, around.audit, is_busy)
        steward = Steward(membership, objects, nodes, disk, settings, clock)
        server.start_scrub = steward.scrubber.start_round
        steward.counts.index_built_ns, steward.counts.lost_parts = store.health.index_built_ns, store.health.lost_count
        await note_losses(store.health, around.audit)
        nursery.start_soon(pass_on_bad_parts, store, steward.scrubber)
        await steward.run()
