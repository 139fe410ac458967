"""Which files an object's loss harms: from the object's references to inodes, and from those to one of their paths."""

import os

from ringfs.base.ids import NO_SESSION, ROOT_INODE
from ringfs.base.kv.view import ReadView
from ringfs.meta.namespace import keys
from ringfs.meta.namespace.records import unpack_inode
from ringfs.wire.packing import unpack

#: More files than this are not named.
_NAMED_MAX = 8
_FAMILY = 1
_U64 = 8


def files_of(view: ReadView, oid: bytes) -> tuple[str, ...]:
    """Paths below the root of files that point to an object; "inode N" where an inode has no name any more."""
    prefix = keys.REFERENCE + oid
    numbers: dict[int, None] = {}
    for key, _ in view.scan(prefix, prefix + b"\xff" * 16):
        numbers[keys.number_at(key, len(prefix))] = None
        if len(numbers) > _NAMED_MAX:
            break
    named = list(numbers)[:_NAMED_MAX]
    paths = _paths(view, set(named))
    more = ("…",) if len(numbers) > _NAMED_MAX else ()
    return tuple(paths.get(number) or _nameless(view, number) for number in named) + more


def _nameless(view: ReadView, number: int) -> str:
    """What an inode without a name is."""
    is_snapshot = view.get(keys.held(NO_SESSION, number)) is not None
    return f"inode {number}" + (", a snapshot of the metadata" if is_snapshot else "")


def _paths(view: ReadView, wanted: set[int]) -> dict[int, str]:
    """One path of each inode, in one pass over all names (an inode does not know its own)."""
    found: dict[int, str] = {}
    for key, value in view.scan(keys.DENTRY, keys.DENTRY + b"\xff" * (_U64 + 1)):
        child = unpack(value)[0]
        if child in wanted and child not in found:
            parent = keys.number_at(key, _FAMILY)
            found[child] = os.path.join(_directory(view, parent), os.fsdecode(key[_FAMILY + _U64 :]))
            if len(found) == len(wanted):
                break
    return found


def _directory(view: ReadView, number: int) -> str:
    """The path of a directory, by its parents; it ends early where one is missing or they go in a circle."""
    parts: list[str] = []
    seen: set[int] = set()
    while number != ROOT_INODE and number not in seen:
        seen.add(number)
        value = view.get(keys.inode(number))
        if value is None:
            return os.path.join("?", *reversed(parts))
        directory = unpack_inode(number, value)
        parts.append(os.fsdecode(directory.name))
        number = directory.parent
    return os.path.join("/", *reversed(parts))
