"""The metadata server's handler: hands each message to its service, watches connections and time.

Services: namespace_service (Mutate, Query), session_service, cluster_service, heal_service, rewrite_service, snapshots. What they
share: live.py.
"""

from collections.abc import Callable
from functools import partial

import trio

from ringfs.base.errors import Code, Refused
from ringfs.meta.cluster_service import ClusterService
from ringfs.meta.heal_service import HealService
from ringfs.meta.live import Live, PeerState
from ringfs.meta.namespace_service import NamespaceService
from ringfs.meta.releaser import Releaser
from ringfs.meta.rewrite_service import RewriteService
from ringfs.meta.session_service import SessionService
from ringfs.meta.snapshots import SnapshotService
from ringfs.meta.standstill import TICK_S, Standstill
from ringfs.wire.messages import cluster, heal, session
from ringfs.wire.messages.cluster import ServerStatus
from ringfs.wire.messages.queries import ReadExtents
from ringfs.wire.messages.sharing import Rewrite
from ringfs.wire.rpc import Peer, Request


class MetaServer:
    """An rpc.Handler of the server that leads. `run` must be running beside it; tell_server gives the answer to GetServer."""

    def __init__(self, live: Live, name: str, tell_server: Callable[[], ServerStatus]) -> None:
        self.live = live
        self._cluster = ClusterService(live, name, tell_server)
        self._sessions = SessionService(live)
        self.snapshots = SnapshotService(live.leader, live.clock)
        namespace = NamespaceService(live)
        healing = HealService(live)
        rewriting = RewriteService(live)
        self._releaser = Releaser(live)
        self._standstill = Standstill(live)
        self._actions: dict[type, Callable[[Request], None]] = {
            session.Mutate: namespace.mutate,
            session.MutateAhead: namespace.mutate_ahead,
            session.Query: namespace.query,
            session.OpenSession: self._sessions.open,
            session.ResumeSession: self._sessions.resume,
            session.Heartbeat: partial(self._hear, self._sessions.heartbeat),
            session.CloseSession: self._sessions.close,
            session.RecallDone: self._sessions.recall_done,
            cluster.GetMap: self._cluster.get_map,
            cluster.JoinNode: self._cluster.join,
            cluster.NodeHeartbeat: partial(self._hear, self._cluster.heartbeat),
            cluster.ListCondemned: self._cluster.list_condemned,
            cluster.Reaped: self._cluster.reaped,
            cluster.GetStatus: self._cluster.get_status,
            cluster.GetServer: self._cluster.get_server,
            cluster.OpenSnapshot: self.snapshots.open,
            cluster.ReadSnapshot: self.snapshots.read,
            cluster.CloseSnapshot: self.snapshots.close,
            heal.ListLive: healing.list_live,
            heal.ListReferences: healing.list_references,
            ReadExtents: rewriting.read_extents,
            Rewrite: rewriting.rewrite,
            heal.Reform: healing.transact,
            heal.Sweep: healing.transact,
            heal.Reclass: healing.transact,
            heal.HealReport: healing.take_report,
            heal.GetHeal: healing.get_heal,
            heal.SetStanding: healing.change_map,
            heal.SetWeight: healing.change_map,
            heal.ReplaceDisk: healing.change_map,
            heal.StartHeal: healing.change_map,
            heal.RemoveNode: healing.remove,
        }

    def connected(self, peer: Peer) -> None:
        """See rpc.Handler."""
        peer.state = PeerState()

    def handle(self, request: Request) -> None:
        """See rpc.Handler."""
        action = self._actions.get(type(request.message))
        if action is None:
            request.refuse(Code.BAD_REQUEST, type(request.message).__name__)
            return
        try:
            action(request)
        except Refused as refused:
            self.live.reply(request, refused)

    def _hear(self, action: Callable[[Request], None], request: Request) -> None:
        """Before a word brings anybody to look at who is silent: it may have waited while this process stood still."""
        self._standstill.look()
        action(request)

    def disconnected(self, peer: Peer) -> None:
        """See rpc.Handler."""
        peer.state.is_connected = False
        self._sessions.connection_lost(peer)
        self.snapshots.connection_lost(peer)

    async def run(self) -> None:
        """Watch time, and release what is doomed, until cancelled."""
        self._standstill.begin()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._releaser.run)
            nursery.start_soon(self._watch_time)

    async def _watch_time(self) -> None:
        while True:
            await trio.sleep(TICK_S)
            self._standstill.look()
            self.live.look_at_grace()
            self._cluster.follow_liveness()
            now_ns = self.live.clock.monotonic_ns()
            self._sessions.end_dead(now_ns)
            self.snapshots.close_old(now_ns)
