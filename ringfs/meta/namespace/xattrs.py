"""Rows of extended attributes, counted in their inode; what of them the machine itself reads: ACLs and capabilities."""

from ringfs.base.errors import Code, Refused
from ringfs.base.kv.prefix import scan_prefix
from ringfs.base.kv.view import ReadView
from ringfs.base.limits import XATTR_LIST_BYTES_MAX, XATTR_NAME_BYTES_MAX
from ringfs.meta.namespace import acl, keys
from ringfs.meta.namespace.records import Inode
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.common import CLASS_XATTR
from ringfs.wire.packing import pack, unpack

#: File capabilities: Linux takes them away with suid (security_inode_killpriv).
CAPABILITY = b"security.capability"
_NAMESPACES = (b"user.", b"trusted.", b"security.")
_USER = b"user."
#: As many names at least fill a list of the largest size.
_COUNT_UNCHECKED = (XATTR_LIST_BYTES_MAX - len(CLASS_XATTR) - 1) // (XATTR_NAME_BYTES_MAX + 1)


def check_name(name: bytes) -> None:
    """Refused RANGE (length, as Linux), NOT_SUPPORTED (an unknown namespace), INVALID (a namespace and no more, or NUL)."""
    if not 0 < len(name) <= XATTR_NAME_BYTES_MAX:
        raise Refused(Code.RANGE, "an extended attribute's name")
    if name in (acl.ACCESS, acl.DEFAULT):
        return
    if not name.startswith(_NAMESPACES):
        raise Refused(Code.NOT_SUPPORTED, "an unknown namespace of extended attributes")
    if name in _NAMESPACES or b"\0" in name:
        raise Refused(Code.INVALID, "an extended attribute's name")


def may_not_have(inode: Inode, name: bytes) -> bool:
    """Whether it is a user attribute on what is neither file nor directory."""
    return name.startswith(_USER) and inode.mode >> 12 not in (0o10, 0o04)


def find(view: ReadView, number: int, name: bytes) -> bytes | None:
    """The value, or None."""
    packed = view.get(keys.xattr(number, name))
    if packed is None:
        return None
    value: bytes = unpack(packed)
    return value


def put(work: Work, inode: Inode, name: bytes, value: bytes) -> None:
    """Set it. Refused NO_SPACE if the names would not fit one list."""
    key = keys.xattr(inode.number, name)
    if inode.xattr_count == 0 or work.rows.get(key) is None:
        _check_room(work, inode, name)
        inode.xattr_count += 1
    work.rows.put(key, pack(value))


def remove(work: Work, inode: Inode, name: bytes) -> bool:
    """Remove it; False if it was not there."""
    if inode.xattr_count == 0:
        return False
    key = keys.xattr(inode.number, name)
    if work.rows.get(key) is None:
        return False
    work.rows.delete(key)
    inode.xattr_count -= 1
    return True


def _check_room(work: Work, inode: Inode, name: bytes) -> None:
    if inode.xattr_count < _COUNT_UNCHECKED:
        return
    if _list_bytes(work.rows, inode.number) + len(name) + 1 > XATTR_LIST_BYTES_MAX - len(CLASS_XATTR) - 1:
        raise Refused(Code.NO_SPACE, "more names of extended attributes than one list holds")


def _list_bytes(view: ReadView, number: int) -> int:
    """What listxattr(2) would give without the class: each name and a NUL."""
    return sum(len(name) + 1 for name in names(view, number))


def names(view: ReadView, number: int) -> list[bytes]:
    """All names, sorted."""
    prefix = keys.XATTR + keys.u64(number)
    return [key[len(prefix) :] for key, _ in scan_prefix(view, prefix)]


def drop_privileges(work: Work, inode: Inode) -> None:
    """Take away suid, sgid of a group-executable file, and capabilities, as Linux does when a file's content or owner changes."""
    inode.mode &= ~0o4000
    if inode.mode & 0o010:
        inode.mode &= ~0o2000
    drop_capability(work, inode)


def drop_capability(work: Work, inode: Inode) -> None:
    """Take away file capabilities."""
    remove(work, inode, CAPABILITY)


def inherit(work: Work, parent: Inode, inode: Inode, umask: int) -> None:
    """What a new inode gets from its directory's default ACL; without one, the umask applies (posix_acl_create)."""
    value = find(work.rows, parent.number, acl.DEFAULT) if parent.xattr_count else None
    if value is None:
        inode.mode &= ~(umask & 0o777)
        return
    access = acl.parse(value)
    inode.mode = acl.restrict(access, inode.mode)
    if not acl.mode_of(access)[1]:
        put(work, inode, acl.ACCESS, acl.serialize(access))
    if inode.is_directory():
        put(work, inode, acl.DEFAULT, value)


def follow_chmod(work: Work, inode: Inode) -> None:
    """Make the access ACL, if there is one, agree with the mode."""
    value = find(work.rows, inode.number, acl.ACCESS) if inode.xattr_count else None
    if value is not None:
        access = acl.parse(value)
        acl.follow_mode(access, inode.mode)
        put(work, inode, acl.ACCESS, acl.serialize(access))
