"""What a transaction is about, before it is applied: whose dirty bytes must come first, whose opens keep what it removes. Pure."""

from typing import Any

from ringfs.base.kv.view import ReadView
from ringfs.base.limits import NAME_BYTES_MAX
from ringfs.meta.namespace import keys
from ringfs.meta.namespace.facts import child_number
from ringfs.meta.namespace.records import unpack_attributes
from ringfs.meta.namespace.usage import is_limited
from ringfs.wire.messages.content import COLLAPSE_RANGE, PUNCH_HOLE, ZERO_RANGE, Allocate, Clone, CopyRange
from ringfs.wire.messages.files import SetFlags, Tmpfile
from ringfs.wire.messages.locks import LOCK_NONE, ReleaseLocks, SetLock
from ringfs.wire.messages.namespace import (
    RENAME_EXCHANGE,
    SET_SIZE,
    Commit,
    Link,
    Mkdir,
    Mknod,
    RemoveXattr,
    Rename,
    Rmdir,
    Setattr,
    SetXattr,
    Symlink,
    Unlink,
)
from ringfs.wire.messages.quota import SetQuota
from ringfs.wire.messages.sharing import Append


def flush_targets(view: ReadView, operation: Any) -> list[int]:
    """Inodes whose other writers are to commit before the operation. None for a Commit: it may be what a FLUSH waits for."""
    match operation:
        case Setattr() | SetXattr() | RemoveXattr() | Link() | Allocate() | SetFlags() | Append():
            return [operation.inode]
        case CopyRange():
            return [operation.source, operation.destination]
        case Clone():
            return [operation.source]
        case Unlink():
            return _children(view, (operation.parent, operation.name))
        case Mknod(exclusive=False):
            return _children(view, (operation.parent, operation.name))
        case Rename():
            return _children(view, (operation.parent, operation.name), (operation.new_parent, operation.new_name))
        case _:
            return []


def delegation_targets(view: ReadView, operation: Any) -> list[int]:
    """Inodes that the operation changes, or whose state decides it: no other session may be acting ahead on them. None for a
    Commit: a file that is open here is delegated to nobody else."""
    match operation:
        case Mknod() | Mkdir() | Symlink() | Unlink() | Rmdir():
            return [operation.parent, *_children(view, (operation.parent, operation.name))]
        case Link():
            return [operation.inode, operation.parent, *_children(view, (operation.parent, operation.name))]
        case Rename():
            names = (operation.parent, operation.name), (operation.new_parent, operation.new_name)
            return [operation.parent, operation.new_parent, *_children(view, *names)]
        case Clone():
            return [operation.source, operation.parent, *_children(view, (operation.parent, operation.name))]
        case CopyRange():
            return [operation.source, operation.destination]
        case _:
            number = getattr(operation, "inode", 0)
            return [number] if number else []


def content_targets(operation: Any) -> list[int]:
    """Files whose bytes the operation changes, if it takes effect."""
    match operation:
        case Commit():
            return [file.inode for file in operation.files if file.extents and not file.rewrite]
        case Append() | Allocate():
            return [operation.inode]
        case Setattr() if operation.valid & SET_SIZE:
            return [operation.inode]
        case CopyRange():
            return [operation.destination]
        case _:
            return []


def removed_by(view: ReadView, operation: Any) -> int | None:
    """The inode that the operation takes a name from for good, if there is one."""
    match operation:
        case Unlink() | Rmdir():
            removed = _children(view, (operation.parent, operation.name))
        case Rename() if not operation.flags & RENAME_EXCHANGE:
            removed = _children(view, (operation.new_parent, operation.new_name))
        case _:
            return None
    return removed[0] if removed else None


def brings_under_quota(view: ReadView, operation: Any) -> bool:
    """Whether the operation may bring directories under a quota: with one, or by moving a tree to where one is."""
    match operation:
        case SetQuota():
            return True
        case Rename() if operation.parent != operation.new_parent:
            places = [((operation.parent, operation.name), operation.new_parent)]
            if operation.flags & RENAME_EXCHANGE:
                places.append(((operation.new_parent, operation.new_name), operation.parent))
            return any(is_limited(view, to) and _is_directory(view, *_children(view, place)) for place, to in places)
        case _:
            return False


def _is_directory(view: ReadView, *children: int) -> bool:
    return any(view.get(keys.usage(child)) is not None for child in children)


def opened_by(operation: Any) -> int:
    """How the operation opens the inode that it answers with: 0, OPEN_READ, OPEN_WRITE."""
    match operation:
        case Mknod() | Tmpfile():
            return operation.open_mode
        case _:
            return 0


def makes_room(view: ReadView, operation: Any) -> bool:
    """Whether this gives something back, space or locks: it may use the journal's reserve."""
    match operation:
        case Unlink() | Rmdir() | ReleaseLocks():
            return True
        case SetLock():
            return operation.lock.kind == LOCK_NONE
        case Setattr() if operation.valid & SET_SIZE:
            row = view.get(keys.inode(operation.inode))
            return row is not None and operation.size_bytes < unpack_attributes(operation.inode, row).size_bytes
        case Allocate():
            return bool(operation.mode & (PUNCH_HOLE | ZERO_RANGE | COLLAPSE_RANGE))
        case _:
            return False


def _children(view: ReadView, *places: tuple[int, bytes]) -> list[int]:
    """What the names stand for. A name that is too long is the machine's to refuse; no store is asked for it."""
    found = (child_number(view, parent, name) for parent, name in places if len(name) <= NAME_BYTES_MAX)
    return [child for child in found if child is not None]
