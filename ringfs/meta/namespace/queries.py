"""Questions: what the view holds, as answers of messages/queries.py. Every `leased` flag is LEASED; the server knows better."""

from collections.abc import Callable
from stat import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG
from typing import Any

from ringfs.base.errors import Code, Refused
from ringfs.base.kv.prefix import after_prefix
from ringfs.base.kv.view import ReadView
from ringfs.base.limits import FRAME_BODY_BYTES_MAX, NAME_BYTES_MAX, PAGE_ENTRIES_MAX
from ringfs.meta.namespace import keys, quotas, xattrs
from ringfs.meta.namespace.content import CHUNKS_MAX, chunk_extents
from ringfs.meta.namespace.doomed import visible_chunks
from ringfs.meta.namespace.facts import class_text, counters
from ringfs.meta.namespace.records import Inode, unpack_attributes, unpack_inode
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages import queries as q
from ringfs.wire.messages import quota
from ringfs.wire.messages.common import CLASS_XATTR, LEASED, Attributes
from ringfs.wire.messages.content import ChunkFound, FindChunk
from ringfs.wire.messages.session import Opened
from ringfs.wire.packing import unpack

#: Packed chunks of one answer; unpacked into messages they grow by less than half.
_CHUNKS_BYTES_MAX = FRAME_BODY_BYTES_MAX // 2


def query(view: ReadView, question: Any) -> Any:
    """The answer to a question. Raises Refused: STALE, and what the question's docstring says; BAD_REQUEST if it is none."""
    answer = _QUESTIONS.get(type(question))
    if answer is None:
        raise Refused(Code.BAD_REQUEST, f"{type(question).__name__} is no question")
    return answer(view, question)


def _row(view: ReadView, number: int) -> bytes:
    value = view.get(keys.inode(number))
    if value is None:
        raise Refused(Code.STALE, f"inode {number}")
    return value


def _attributes(view: ReadView, number: int) -> Attributes:
    return unpack_attributes(number, _row(view, number))


def _directory(view: ReadView, number: int) -> Inode:
    inode = unpack_inode(number, _row(view, number))
    if not inode.is_directory():
        raise Refused(Code.NOT_DIRECTORY, f"inode {number}")
    return inode


def _lookup(view: ReadView, op: q.Lookup) -> m.Entry:
    parent = _directory(view, op.parent)
    if len(op.name) > NAME_BYTES_MAX:
        raise Refused(Code.NAME_TOO_LONG)
    attributes = parent.attributes()
    if op.name == b".":
        return m.Entry(attributes, attributes, LEASED, LEASED)
    if op.name == b"..":
        above = parent.parent if parent.links else parent.number
        return m.Entry(_attributes(view, above), attributes, LEASED, LEASED)
    value = view.get(keys.dentry(op.parent, op.name))
    child = None if value is None else _attributes(view, unpack(value)[0])
    return m.Entry(child, attributes, LEASED, LEASED)


def _get_attributes(view: ReadView, op: q.GetAttributes) -> Opened:
    return Opened(_attributes(view, op.inode), LEASED)


def _read_directory(view: ReadView, op: q.ReadDirectory) -> q.DirectoryPage:
    directory = _directory(view, op.inode)
    entries: list[q.DirectoryEntry] = []
    limit = min(max(op.limit, 1), PAGE_ENTRIES_MAX)
    more = False
    stop = after_prefix(keys.COOKIE + keys.u64(op.inode))
    if op.after < directory.next_cookie:
        for key, value in view.scan(keys.cookie(op.inode, op.after + 1), stop):
            if len(entries) == limit:
                more = True
                break
            name, child = unpack(value)
            entries.append(q.DirectoryEntry(keys.number_at(key, 9), name, _attributes(view, child), LEASED))
    return q.DirectoryPage(directory.attributes(), entries, more, LEASED)


def _read_link(view: ReadView, op: q.ReadLink) -> q.LinkTarget:
    attributes = _attributes(view, op.inode)
    if S_IFMT(attributes.mode) != S_IFLNK:
        raise Refused(Code.INVALID, "no symlink")
    value = view.get(keys.target(op.inode))
    assert value is not None, "a symlink has a target"
    return q.LinkTarget(unpack(value))


def _get_xattr(view: ReadView, op: q.GetXattr) -> q.XattrFound:
    xattrs.check_name(op.name)
    inode = unpack_inode(op.inode, _row(view, op.inode))
    if op.name == CLASS_XATTR and not xattrs.may_not_have(inode, op.name):
        return q.XattrFound(class_text(view, inode.class_number).encode(), LEASED)
    value = xattrs.find(view, op.inode, op.name) if inode.xattr_count else None
    if value is None:
        raise Refused(Code.NO_XATTR)
    return q.XattrFound(value, LEASED)


def _list_xattrs(view: ReadView, op: q.ListXattrs) -> q.XattrNames:
    attributes = _attributes(view, op.inode)
    names = xattrs.names(view, op.inode) if attributes.xattr_count else []
    if attributes.class_number and S_IFMT(attributes.mode) in (S_IFDIR, S_IFREG):
        names = sorted([*names, CLASS_XATTR])
    return q.XattrNames(names, LEASED)


def _read_extents(view: ReadView, op: q.ReadExtents) -> q.Extents:
    attributes = _attributes(view, op.inode)
    extents: list[m.Extent] = []
    size_bytes = 0
    stop = min(op.first_chunk + op.chunk_count, CHUNKS_MAX)
    for index, value in visible_chunks(view, op.inode, op.first_chunk, stop):
        size_bytes += len(value)
        if extents and size_bytes > _CHUNKS_BYTES_MAX:
            raise Refused(Code.RANGE, "more extents than one answer holds: ask for fewer chunks")
        extents += chunk_extents(value, index)
    return q.Extents(attributes, extents, LEASED)


def _find_chunk(view: ReadView, op: FindChunk) -> ChunkFound:
    _row(view, op.inode)
    found = next(visible_chunks(view, op.inode, op.first_chunk, CHUNKS_MAX), None)
    return ChunkFound(op.inode, -1 if found is None else found[0])


def _stat_fs(view: ReadView, op: q.StatFs) -> q.FsFigures:
    """Bytes are those of the narrowest quota, 0 without one: the server knows what nodes have."""
    figures = counters(view)
    answer = q.FsFigures(0, 0, figures.inode_count, 0, figures.quota_count)
    if figures.quota_count:
        of_bytes, of_files = quotas.narrowest(view, op.inode)
        if of_bytes is not None:
            answer.total_bytes, answer.free_bytes = of_bytes.bytes_max, quotas.bytes_left(of_bytes)
        if of_files is not None:
            answer.inode_count, answer.inode_max = of_files.files_used, of_files.files_max
    return answer


_QUESTIONS: dict[type, Callable[[ReadView, Any], Any]] = {
    q.Lookup: _lookup,
    q.GetAttributes: _get_attributes,
    q.ReadDirectory: _read_directory,
    q.ReadLink: _read_link,
    q.GetXattr: _get_xattr,
    q.ListXattrs: _list_xattrs,
    q.ReadExtents: _read_extents,
    FindChunk: _find_chunk,
    q.StatFs: _stat_fs,
    quota.GetQuota: quotas.get_quota,
    quota.ListQuotas: quotas.list_quotas,
}
