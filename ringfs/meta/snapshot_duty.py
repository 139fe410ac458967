"""What a metadata server on etcd does about snapshots in its roles: keep them while it leads, load one if it has to."""

from collections.abc import Callable
from pathlib import Path

import structlog
import trio

from ringfs.meta.etcd.interface import Etcd, EtcdUnavailable
from ringfs.meta.object_store import OpenObjectStore
from ringfs.meta.roles import Term
from ringfs.meta.snapshot_keeping import SnapshotKeeper
from ringfs.meta.snapshot_loading import SnapshotUnreadable, load_snapshot

log = structlog.get_logger("ringfs.meta.snapshot")

#: Between two tries to load one.
RETRY_S = 2.0


class SnapshotDuty:
    """ring: the data nodes. store: the directory of the server's store."""

    def __init__(self, etcd: Etcd, prefix: bytes, ring: OpenObjectStore, store: Path, cluster: str) -> None:
        self._etcd = etcd
        self._prefix = prefix
        self._ring = ring
        self._store = store
        self._cluster = cluster
        #: tell(position of the newest snapshot, what is wrong, or ""), when either changes.
        self.tell: Callable[[int, str], None] = lambda _position, _trouble: None
        #: Of the present term, if we lead.
        self.keeper: SnapshotKeeper | None = None

    async def keep(self, term: Term) -> None:
        """A roles.Duty."""
        leadership = term.leadership
        async with self._ring() as objects:
            self.keeper = SnapshotKeeper(
                term.live, term.journal, self._etcd, self._prefix, leadership.holds, objects, leadership.base_position, self.tell
            )
            try:
                await self.keeper.run()
            finally:
                self.tell(self.keeper.position, "")
                self.keeper = None

    def want(self) -> None:
        """The journal should be shorter."""
        if self.keeper is not None:
            self.keeper.want()

    async def load(self) -> None:
        """The newest one, in the place of the closed store; waits for one, for etcd, and for the data nodes. Raises UserError."""
        said = ""
        async with self._ring() as objects:
            while True:
                try:
                    loaded = await load_snapshot(self._etcd, self._prefix, objects, self._store, self._cluster)
                    trouble = "there is no snapshot yet that this server could begin from: the leader has to make one"
                except (EtcdUnavailable, SnapshotUnreadable) as failure:
                    loaded, trouble = None, f"no snapshot can be loaded: {failure}"
                if loaded is not None:
                    self.tell(loaded.position, "")
                    return
                if trouble != said:
                    log.warning("waiting for a snapshot", reason=trouble)
                    said = trouble
                self.tell(0, trouble)
                await trio.sleep(RETRY_S)
