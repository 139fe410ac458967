"""The disk of a data node as its steward sees it: the real store behind what scrub.py asks for."""

import structlog

from ringfs.base.limits import HASH_BYTES
from ringfs.data.health import Health
from ringfs.data.steward.audit import Audit
from ringfs.data.steward.scrub import LocalPart, Scrubber
from ringfs.data.store import ObjectStore
from ringfs.data.stored_part import length_of
from ringfs.ring.parts import Part

log = structlog.get_logger("ringfs.data.steward")


class StoredParts:
    """A LocalParts."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def parts_after(self, after: bytes, limit: int) -> list[LocalPart]:
        """See LocalParts."""
        rows, _ = self._store.page(after, limit)
        return [LocalPart(key[:HASH_BYTES], Part(*key[HASH_BYTES:]), length_of(key, entry.size_bytes)) for key, entry in rows]

    def used_bytes(self) -> int:
        """See LocalParts."""
        return self._store.figures().used_bytes

    async def find_fault(self, oid: bytes, part: Part) -> str:
        """See LocalParts."""
        findings = await self._store.verify(oid, part)
        if findings.is_intact:
            return ""
        return f"bad blocks {findings.bad_blocks}" if findings.header_ok else "its head or tables are damaged"


async def note_losses(health: Health, audit: Audit) -> None:
    """What the start found: in the audit log."""
    try:
        if health.index_built_ns:
            await audit.add("index built anew", fault=health.index_fault, lost_parts=health.lost_count)
        elif health.lost_count:
            await audit.add("parts lost", lost_parts=health.lost_count)
    except OSError as error:
        log.error("the audit log cannot be written", reason=str(error))


async def pass_on_bad_parts(store: ObjectStore, scrubber: Scrubber) -> None:
    """For ever: what reads find wrong is mended before what the scrub will find."""
    while True:
        await store.health.wait_bad_parts()
        for stored in store.health.take_bad_parts():
            scrubber.suspect(stored.object, stored.part)
