"""The way from the file journal of a single metadata server, which is stopped, to a journal on etcd that several can share.

The state stays where it is; etcd is told at which position the journal begins. So the server that was migrated has to lead first:
it makes a snapshot at once, from which the others begin. Stopped anywhere in here, it is done again from the beginning.
"""

from pathlib import Path

from ringfs.base.clock import Clock
from ringfs.base.errors import UserError
from ringfs.base.files import RealFiles
from ringfs.base.kv.store import Store
from ringfs.meta.etcd.interface import Absent, AtVersion, Etcd, Get, Put, prefix_end
from ringfs.meta.journal.etcd import journal_prefix
from ringfs.meta.journal.file import FileJournal
from ringfs.meta.namespace import facts
from ringfs.meta.origin import Origin, look_at_origin, origin_key, pack_origin
from ringfs.meta.recovery import recover
from ringfs.meta.snapshot_pointer import pointer_key

#: Terms in etcd are above all that the file journal had, also if it is started once more before this is done again.
_TERMS = 1 << 20


async def migrate(etcd: Etcd, prefix: bytes, state: Path, cluster: str, default_class: str, clock: Clock) -> int:
    """Let the journal of a state directory go on in etcd; the position after which it does.

    Raises UserError: nothing is there, somebody uses it, etcd has another cluster or a journal of its own; EtcdUnavailable.
    """
    journal = state / "journal"
    if not journal.is_dir():
        return await _migrated(etcd, prefix, state, cluster)
    origin = await _checkpointed(state, cluster, default_class, clock)
    await _put_origin(etcd, prefix, origin)
    files = RealFiles()
    files.rename(journal, state / "journal.migrated")
    files.sync_directory(state)
    return origin.base_position


async def _migrated(etcd: Etcd, prefix: bytes, state: Path, cluster: str) -> int:
    """There is no file journal: it was migrated before, or never was."""
    origin = await look_at_origin(etcd, prefix, cluster)
    if origin is None or not (state / "journal.migrated").is_dir():
        raise UserError(f"{state} has no file journal: there is nothing to migrate")
    return origin.base_position


async def _checkpointed(state: Path, cluster: str, default_class: str, clock: Clock) -> Origin:
    """Everything in the journal goes into the store; what etcd begins with."""
    store = Store(state / "store")
    try:
        journal = FileJournal(state / "journal", cluster)
        try:
            if not journal.last:
                raise UserError(f"{state} has no transactions: there is nothing to migrate")
            recovered = await recover(store, journal, clock, cluster=cluster, default_class=default_class)
            # The state's own: the configuration may say something else by now.
            default_class = facts.default_class(store)
        finally:
            journal.close()
    finally:
        store.close()
    if recovered.checkpointed < recovered.position:
        raise UserError("the disk of the state directory is full: free some space first")
    return Origin(cluster, default_class, recovered.now_ns, recovered.term + _TERMS, recovered.position)


async def _put_origin(etcd: Etcd, prefix: bytes, origin: Origin) -> None:
    """In the place of none, or of one that nobody has used yet."""
    await look_at_origin(etcd, prefix, origin.cluster)
    key, journal = origin_key(prefix), journal_prefix(prefix)
    seen = (await etcd.transact([], [Get(key)])).found[0]
    unchanged = AtVersion(key, seen[0].version) if seen else Absent(key)
    unused = [Absent(journal, prefix_end(journal)), Absent(pointer_key(prefix)), Absent(prefix + b"leader")]
    if not (await etcd.transact([unchanged, *unused], [Put(key, pack_origin(origin))])).succeeded:
        raise UserError(
            f"etcd has a journal of this cluster under {prefix.decode()} already, or a metadata server runs on it: "
            "nothing was changed; stop it, and set another [etcd] prefix"
        )
