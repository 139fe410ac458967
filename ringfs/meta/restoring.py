"""A server's state, thrown away and made anew from ring and etcd: only once it is certain that they give it back.

For a disk that was replaced by a copy of who knows when, or whose state is damaged. A server whose disk is empty needs none of
this: it begins from ring and etcd by itself.
"""

import shutil
from pathlib import Path

import structlog

from ringfs.base.errors import UserError
from ringfs.base.files import RealFiles
from ringfs.base.kv.store import Store, StoreDamaged
from ringfs.meta import marks
from ringfs.meta.etcd.interface import Etcd, Get, prefix_end
from ringfs.meta.journal.batches import Assembler, parse_key
from ringfs.meta.journal.etcd import check_numbers, journal_prefix, read_batches
from ringfs.meta.object_store import ObjectStore
from ringfs.meta.origin import Origin, look_at_origin
from ringfs.meta.snapshot_loading import Shown, load_snapshot
from ringfs.meta.snapshot_pointer import look_at_pointer
from ringfs.meta.standby import check_not_ahead

log = structlog.get_logger("ringfs.meta")


async def restore(etcd: Etcd, prefix: bytes, objects: ObjectStore, directory: Path, cluster: str, shown: Shown) -> int:
    """Replace the store in a directory, which nobody has open, by the newest snapshot's state, or by nothing, if the journal in
    etcd has everything from the beginning. The position up to which the journal goes on from there.

    Raises UserError, and changes nothing, if they would not give everything back; EtcdUnavailable.
    """
    origin = await look_at_origin(etcd, prefix, cluster)
    if origin is None:
        raise UserError(f"etcd has no cluster under {prefix.decode()}: there is nothing to restore from")
    begin = await _beginning(etcd, prefix, origin)
    last = await _check_journal(etcd, prefix, begin)
    check_not_ahead(_local_position(directory), last)
    if await load_snapshot(etcd, prefix, objects, directory, cluster, shown) is None:
        _empty(directory)
    return last


async def _beginning(etcd: Etcd, prefix: bytes, origin: Origin) -> int:
    """The position that the journal must go on from. Raises UserError."""
    seen = await look_at_pointer(etcd, prefix)
    if seen is not None:
        return seen.read().marks.position
    if origin.base_position:
        raise UserError(
            f"there is no snapshot yet, and the journal in etcd begins after transaction {origin.base_position}: what came before "
            "is only in the state of the server that was migrated, which has to lead first"
        )
    return 0


async def _check_journal(etcd: Etcd, prefix: bytes, begin: int) -> int:
    """Read all of it, from `begin` to its end, which is returned. Raises JournalDamaged, UserError."""
    journal = journal_prefix(prefix)
    found = (await etcd.transact([], [Get(journal, prefix_end(journal), keys_only=True)])).found[0]
    keys = [parse_key(journal, pair.key) for pair in found]
    check_numbers(journal, keys)
    assembler = Assembler(begin)
    if keys:
        async for batch, name in read_batches(etcd, journal, keys[0].number):
            for _ in assembler.take(batch, name):
                pass
        if keys[-1].begun < begin:
            raise UserError(f"the snapshot is at transaction {begin}, but the journal in etcd ends at {keys[-1].begun}")
    elif begin:
        raise UserError(f"the snapshot is at transaction {begin}, but there is no journal in etcd")
    return assembler.position


def _local_position(directory: Path) -> int:
    """Of the state that is about to go. Raises UserError if somebody has it open."""
    if not directory.exists():
        return 0
    try:
        store = Store(directory)
    except StoreDamaged as damage:
        log.warning("the state is damaged; it goes", reason=str(damage))
        return 0
    try:
        found = marks.read(store)
        return 0 if found is None else found.position
    finally:
        store.close()


def _empty(directory: Path) -> None:
    if directory.exists():
        shutil.rmtree(directory)
        RealFiles().sync_directory(directory.parent)
