"""What stewards and checkers ask about objects: which are live, and which chunks point to one. Only reads."""

from ringfs.base.kv.prefix import after_prefix
from ringfs.base.kv.view import ReadView
from ringfs.base.limits import HASH_BYTES
from ringfs.meta.namespace import keys
from ringfs.wire.messages.heal import ListLive, ListReferences, LiveObject, LivePage, Reference, ReferencePage
from ringfs.wire.packing import unpack

#: Of one page: a few milliseconds of the leader's.
PAGE_MAX = 1024


def list_live(view: ReadView, question: ListLive) -> LivePage:
    """ListLive."""
    limit = min(max(question.limit, 1), PAGE_MAX)
    start = keys.object_row(question.after) + b"\0" if question.after else keys.OBJECT
    stop = keys.object_row(question.stop) if question.stop else after_prefix(keys.OBJECT)
    page = LivePage([], False)
    if start >= stop:
        return page
    for key, value in view.scan(start, stop):
        if len(page.objects) == limit:
            page.more = True
            break
        page.objects.append(LiveObject(key[1:], *unpack(value)))
    return page


def list_references(view: ReadView, question: ListReferences) -> ReferencePage:
    """ListReferences. Doomed chunks are among them until they are let go of."""
    limit = min(max(question.limit, 1), PAGE_MAX)
    prefix = keys.REFERENCE + question.object
    start = keys.reference(question.object, keys.chunk(question.after_inode, question.after_chunk)[1:]) + b"\0"
    page = ReferencePage([], False)
    for key, value in view.scan(start, after_prefix(prefix)):
        if len(page.references) == limit:
            page.more = True
            break
        inode, chunk = keys.number_at(key, 1 + HASH_BYTES), int.from_bytes(key[9 + HASH_BYTES :], "big")
        page.references.append(Reference(inode, chunk, unpack(value)))
    return page
