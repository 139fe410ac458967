"""Life and death of objects: references settled, live bytes counted, the dead condemned, the condemned revived.

Why a deletion never overtakes a commit: docs/formats/namespace.md, "Condemned objects".
"""

from collections.abc import Iterable
from itertools import islice
from typing import Any

from ringfs.base.errors import Code, Refused
from ringfs.base.kv.view import ReadView
from ringfs.base.limits import CLOCK_SKEW_MAX_NS, DELETE_GRACE_NS, PAGE_ENTRIES_MAX, PUT_FRESH_NS
from ringfs.meta.namespace import keys
from ringfs.meta.namespace.facts import nodes, reaped_cursor
from ringfs.meta.namespace.promises import firmest, keeps
from ringfs.meta.namespace.records import pack_condemned, pack_object
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.cluster import STANDING_LOST, STANDING_OUT, Condemned, CondemnedPage
from ringfs.wire.messages.namespace import NewObject
from ringfs.wire.packing import pack, unpack

#: How many ids a refusal names; with a comma each they fit its text.
_IDS_NAMED_MAX = 90
_SEQUENCE_MAX = (1 << 64) - 1
#: Verdicts that one transaction forgets: more than a node reports in one go.
_FORGOTTEN_MAX = PAGE_ENTRIES_MAX


def objects_for(work: Work, declared: list[NewObject], wanted: set[bytes]) -> dict[bytes, int]:
    """Sizes of the wanted objects: live ones, and declared ones that no deletion can have overtaken. Refused NO_OBJECT, INVALID."""
    for new in declared:
        if not keeps(new.form, new.stored_class):
            raise Refused(Code.INVALID, f"an object of class {new.stored_class!r} in the form {new.form!r}")
        if new.put_ns > work.leader_ns + CLOCK_SKEW_MAX_NS:
            ahead_s = (new.put_ns - work.leader_ns) / 1e9
            raise Refused(Code.INVALID, f"put_ns is {ahead_s:.0f} s ahead of the leader's clock: set the clocks")
    offered = {new.object: new for new in declared}
    sizes: dict[bytes, int] = {}
    missing: list[bytes] = []
    for oid in wanted:
        live = work.references.live_object(oid)
        if live is not None:
            sizes[oid] = live[0]
        elif oid in offered and _is_held(work, offered[oid]):
            sizes[oid] = offered[oid].size_bytes
        else:
            missing.append(oid)
    if missing:
        raise Refused(Code.NO_OBJECT, ",".join(oid.hex() for oid in sorted(missing)[:_IDS_NAMED_MAX]))
    return sizes


def _is_held(work: Work, new: NewObject) -> bool:
    """Whether the nodes certainly hold it still: put a moment ago, or condemned so lately that nobody was told. A verdict of size 0
    does not vouch for copies: nobody knows since when there are how many."""
    if _is_fresh(work, new):
        return True
    row = find_condemned(work.rows, new.object)
    return row is not None and row[2] > 0 and row[1] + PUT_FRESH_NS > work.leader_ns


def _is_fresh(work: Work, new: NewObject) -> bool:
    """Whether all that was put for it is certainly there."""
    return new.put_ns + PUT_FRESH_NS > work.leader_ns


def find_condemned(view: ReadView, oid: bytes) -> tuple[int, int, int] | None:
    """(sequence, verdict ns, size) of a condemned object, or None."""
    value = view.get(keys.verdict(oid))
    if value is None:
        return None
    sequence = unpack(value)
    row = view.get(keys.condemned(sequence))
    assert row is not None, "both rows of a verdict come and go together"
    _, verdict_ns, size_bytes = unpack(row)
    return sequence, verdict_ns, size_bytes


def settle(work: Work) -> None:
    """Write the changed references and live bytes; condemn what nothing points to, among it what was put for nothing."""
    deltas = work.references.deltas
    if not deltas and not work.declared:
        return
    offered = {new.object: new for new in work.declared}
    for oid, chunks in deltas.items():
        total = sum(_settle_reference(work, oid, suffix, delta) for suffix, delta in chunks.items())
        _settle_object(work, oid, total, offered.get(oid), [suffix for suffix, delta in chunks.items() if delta > 0])
    for oid, new in offered.items():
        if oid not in deltas and work.references.live_object(oid) is None:
            # What was put long ago may be half gone by now.
            size_bytes = new.size_bytes if _is_held(work, new) else 0
            revive(work, oid)
            _condemn(work, oid, size_bytes)


def _settle_reference(work: Work, oid: bytes, suffix: bytes, delta_bytes: int) -> int:
    if delta_bytes == 0:
        return 0
    key = keys.reference(oid, suffix)
    before = work.rows.get(key)
    live_bytes: int = delta_bytes if before is None else unpack(before) + delta_bytes
    assert live_bytes >= 0, "a chunk points to no fewer than 0 bytes"
    if live_bytes:
        work.rows.put(key, pack(live_bytes))
    else:
        work.rows.delete(key)
    return delta_bytes


def _settle_object(work: Work, oid: bytes, delta_bytes: int, new: NewObject | None, chunks: Iterable[bytes]) -> None:
    """chunks: those that point to more of it than before."""
    counters = work.counters
    before: list[Any] | None = work.references.live_object(oid)
    if before is None:
        assert new is not None, "only declared objects come to life"
        revive(work, oid)
        size_bytes, live_bytes, stored_class, form = new.size_bytes, 0, new.stored_class, new.form
    else:
        size_bytes, live_bytes, stored_class, form = before
        counters.dead_bytes -= max(0, size_bytes - live_bytes)
        if new is not None:
            stored_class = firmest(stored_class, new.stored_class)
            if _is_fresh(work, new):
                form = firmest(form, new.form)
    live_bytes += delta_bytes
    counters.live_bytes += delta_bytes
    assert live_bytes >= 0, "an object has no fewer than 0 live bytes"
    if live_bytes:
        counters.dead_bytes += max(0, size_bytes - live_bytes)
        for suffix in chunks:
            stored_class = firmest(stored_class, _class_of(work, suffix))
        work.rows.put(keys.object_row(oid), pack_object(size_bytes, live_bytes, stored_class, form))
        return
    if before is not None:
        work.rows.delete(keys.object_row(oid))
    _condemn(work, oid, size_bytes)


def _class_of(work: Work, chunk_suffix: bytes) -> str:
    """The class of the file that a chunk is of."""
    inode = work.find_inode(keys.number_at(chunk_suffix, 0))
    assert inode is not None, "what points to more than before exists"
    return work.class_of(inode)


def _condemn(work: Work, oid: bytes, size_bytes: int) -> None:
    counters = work.counters
    sequence = counters.next_condemned
    counters.next_condemned = sequence + 1
    counters.dead_bytes += size_bytes
    work.rows.put(keys.condemned(sequence), pack_condemned(oid, work.leader_ns, size_bytes))
    work.rows.put(keys.verdict(oid), pack(sequence))


def sweep(work: Work, oid: bytes) -> bool:
    """Condemn an object that is neither live nor condemned; whether it was that."""
    if work.references.live_object(oid) is not None or work.rows.get(keys.verdict(oid)) is not None:
        return False
    _condemn(work, oid, 0)
    return True


def revive(work: Work, oid: bytes) -> None:
    """Take back the verdict on an object, if there is one."""
    row = find_condemned(work.rows, oid)
    if row is not None:
        sequence, _, size_bytes = row
        forget_verdict(work, sequence, oid, size_bytes)


def forget_verdict(work: Work, sequence: int, oid: bytes, size_bytes: int) -> None:
    """Remove both rows of a verdict."""
    work.rows.delete(keys.condemned(sequence))
    work.rows.delete(keys.verdict(oid))
    work.counters.dead_bytes -= size_bytes


def passed_through(view: ReadView) -> int:
    """Up to which verdict all nodes have deleted. Those that are OUT or LOST do not count: what they bring back is swept. 0 if none
    counts."""
    counting = (node for node in nodes(view) if node.standing not in (STANDING_OUT, STANDING_LOST))
    return min((reaped_cursor(view, node.node) for node in counting), default=0)


def has_passed(view: ReadView) -> bool:
    """Whether there are verdicts to forget."""
    oldest = next(view.scan(keys.condemned(0), keys.condemned(_SEQUENCE_MAX)), None)
    return oldest is not None and keys.number_at(oldest[0], 1) <= passed_through(view)


def forget_passed(work: Work) -> None:
    """Forget verdicts that all nodes have passed, some at a time."""
    passed = work.rows.scan(keys.condemned(0), keys.condemned(passed_through(work.rows) + 1))
    for key, value in list(islice(passed, _FORGOTTEN_MAX)):
        oid, _, size_bytes = unpack(value)
        forget_verdict(work, keys.number_at(key, 1), oid, size_bytes)


def condemned_page(view: ReadView, after: int, limit: int, now_ns: int) -> CondemnedPage:
    """What nodes may delete now: condemned objects after that sequence number whose grace has passed, at most limit.

    `through` goes up to the last one told, or, at the end, to the last verdict whose grace has passed.
    """
    page = CondemnedPage([], after)
    after = min(after, _SEQUENCE_MAX - 1)
    for key, value in view.scan(keys.condemned(after + 1), keys.condemned(_SEQUENCE_MAX)):
        oid, verdict_ns, _ = unpack(value)
        if verdict_ns + DELETE_GRACE_NS > now_ns or len(page.entries) >= limit:
            break
        page.through = keys.number_at(key, 1)
        page.entries.append(Condemned(page.through, oid, verdict_ns))
    return page
