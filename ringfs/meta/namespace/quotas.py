"""Questions about quotas: one directory's figures, all directories that have limits, and the room that is left somewhere."""

from ringfs.base.errors import Code, Refused
from ringfs.base.kv.prefix import after_prefix
from ringfs.base.kv.view import ReadView
from ringfs.base.limits import QUOTA_PATH_BYTES_MAX, QUOTAS_PAGE_MAX
from ringfs.meta.namespace import keys, usage
from ringfs.meta.namespace.records import Inode, unpack_inode
from ringfs.wire.messages.quota import GetQuota, ListQuotas, Quota, Quotas


def quota_of(view: ReadView, directory: int) -> Quota:
    """The figures of a directory that has a name."""
    row = usage.read_row(view, directory)
    bytes_max, files_max = row[3:] or (0, 0)
    return Quota(directory, row[1], row[2], bytes_max, files_max, _path(view, directory))


def get_quota(view: ReadView, op: GetQuota) -> Quota:
    """Answers GetQuota."""
    inode = _inode(view, op.directory)
    if not inode.is_directory():
        raise Refused(Code.NOT_DIRECTORY, f"inode {op.directory}")
    if inode.links == 0:
        raise Refused(Code.NOT_FOUND, f"directory {op.directory} was removed")
    return quota_of(view, op.directory)


def list_quotas(view: ReadView, op: ListQuotas) -> Quotas:
    """Answers ListQuotas."""
    limit = min(max(op.limit, 1), QUOTAS_PAGE_MAX)
    page = Quotas([], False)
    for key, _ in view.scan(keys.quota(op.after) + b"\0", after_prefix(keys.QUOTA)):
        if len(page.quotas) == limit:
            page.more = True
            break
        page.quotas.append(quota_of(view, keys.number_at(key, 1)))
    return page


def narrowest(view: ReadView, number: int) -> tuple[Quota | None, Quota | None]:
    """Of the quotas that limit an inode, those that leave the least room for bytes and for files; None: nothing limits that.
    Refused STALE."""
    inode = _inode(view, number)
    directory = number if inode.is_directory() and inode.links else inode.parent
    of_bytes: Quota | None = None
    of_files: Quota | None = None
    while directory:
        row = usage.read_row(view, directory)
        if len(row) > 3:
            quota = Quota(directory, row[1], row[2], row[3], row[4], b"")
            if quota.bytes_max and (of_bytes is None or bytes_left(quota) < bytes_left(of_bytes)):
                of_bytes = quota
            if quota.files_max and (of_files is None or files_left(quota) < files_left(of_files)):
                of_files = quota
        directory = row[0]
    return of_bytes, of_files


def bytes_left(quota: Quota) -> int:
    """Bytes that still fit."""
    return max(0, quota.bytes_max - quota.bytes_used)


def files_left(quota: Quota) -> int:
    """Files that still fit."""
    return max(0, quota.files_max - quota.files_used)


def _inode(view: ReadView, number: int) -> Inode:
    value = view.get(keys.inode(number))
    if value is None:
        raise Refused(Code.STALE, f"inode {number}")
    return unpack_inode(number, value)


def _path(view: ReadView, directory: int) -> bytes:
    """From the root; empty if it is too long to tell."""
    names: list[bytes] = []
    inode = _inode(view, directory)
    while inode.parent != inode.number:
        names.append(inode.name)
        inode = _inode(view, inode.parent)
    path = b"/" + b"/".join(reversed(names))
    return path if len(path) <= QUOTA_PATH_BYTES_MAX else b""
