"""POSIX ACLs: the xattr format (version 2), validity, and what they and the mode do to each other. Pure.

Source of the rules: Linux fs/posix_acl.c (posix_acl_valid, posix_acl_equiv_mode, posix_acl_create_masq,
__posix_acl_chmod_masq) and include/uapi/linux/posix_acl_xattr.h. Over FUSE user space has to do all of it.
"""

from dataclasses import dataclass
from struct import Struct

from ringfs.base.errors import Code, Refused

ACCESS = b"system.posix_acl_access"
DEFAULT = b"system.posix_acl_default"

USER_OBJ = 0x01
USER = 0x02
GROUP_OBJ = 0x04
GROUP = 0x08
MASK = 0x10
OTHER = 0x20

_VERSION = 2
_HEADER = Struct("<I")
_ENTRY = Struct("<HHI")
#: e_id of entries that name nobody; never a user or group.
UNDEFINED_ID = 0xFFFFFFFF

#: Which tags may come after which, and the place in the order that each leads to.
_PLACES = {USER_OBJ: 0, USER: 1, GROUP_OBJ: 2, GROUP: 3, MASK: 4, OTHER: 5}


@dataclass(slots=True)
class AclEntry:
    """One entry: a tag, its rwx bits (0 to 7), and whose it is (USER and GROUP)."""

    tag: int
    permissions: int
    who: int


Acl = list[AclEntry]


def parse(value: bytes) -> Acl:
    """A valid ACL; an empty list for one without entries, which stands for none. Refused INVALID, NOT_SUPPORTED (version)."""
    if len(value) < _HEADER.size:
        raise Refused(Code.INVALID, "an ACL has a header")
    if _HEADER.unpack_from(value)[0] != _VERSION:
        raise Refused(Code.NOT_SUPPORTED, "an ACL of an unknown version")
    if (len(value) - _HEADER.size) % _ENTRY.size:
        raise Refused(Code.INVALID, "an ACL of whole entries")
    acl = [AclEntry(*fields) for fields in _ENTRY.iter_unpack(value[_HEADER.size :])]
    for entry in acl:
        if entry.tag not in (USER, GROUP):
            entry.who = UNDEFINED_ID
    if acl:
        _check(acl)
    return acl


def serialize(acl: Acl) -> bytes:
    """The xattr's value."""
    return _HEADER.pack(_VERSION) + b"".join(_ENTRY.pack(entry.tag, entry.permissions, entry.who) for entry in acl)


def _check(acl: Acl) -> None:
    """posix_acl_valid: the order of entries, one of each object, a mask where there are named entries."""
    place = -1
    seen: set[int] = set()
    for entry in acl:
        next_place = _PLACES.get(entry.tag)
        if next_place is None or next_place < place or entry.permissions & ~7:
            raise Refused(Code.INVALID, "an ACL entry")
        if entry.tag in (USER, GROUP):
            if entry.who == UNDEFINED_ID:
                raise Refused(Code.INVALID, "an ACL entry for nobody")
        elif entry.tag in seen:
            raise Refused(Code.INVALID, "an ACL entry twice")
        seen.add(entry.tag)
        place = next_place
    if not {USER_OBJ, GROUP_OBJ, OTHER} <= seen or (seen & {USER, GROUP} and MASK not in seen):
        raise Refused(Code.INVALID, "an ACL without owner, group, other or mask")


def mode_of(acl: Acl) -> tuple[int, bool]:
    """The nine permission bits that an ACL stands for, and whether they say all of it (posix_acl_equiv_mode)."""
    bits = {entry.tag: entry.permissions for entry in acl if entry.tag not in (USER, GROUP)}
    group = bits.get(MASK, bits[GROUP_OBJ])
    return bits[USER_OBJ] << 6 | group << 3 | bits[OTHER], len(acl) == 3


def restrict(acl: Acl, mode: int) -> int:
    """Make a new file's access ACL out of its directory's default ACL and the mode asked for (posix_acl_create_masq).

    Changes acl; answers the file's mode. No umask: a default ACL takes its place.
    """
    permissions = 0
    group = next((entry for entry in acl if entry.tag == MASK), None) or next(entry for entry in acl if entry.tag == GROUP_OBJ)
    for entry in acl:
        shift = _SHIFT_OF.get(entry.tag, 3 if entry is group else None)
        if shift is not None:
            entry.permissions &= mode >> shift
            permissions |= entry.permissions << shift
    return mode & ~0o777 | permissions


def follow_mode(acl: Acl, mode: int) -> None:
    """Change an access ACL as chmod does: owner, other, and the mask (or, without one, the group) (__posix_acl_chmod_masq)."""
    group = MASK if any(entry.tag == MASK for entry in acl) else GROUP_OBJ
    for entry in acl:
        shift = _SHIFT_OF.get(entry.tag, 3 if entry.tag == group else None)
        if shift is not None:
            entry.permissions = mode >> shift & 7


_SHIFT_OF = {USER_OBJ: 6, OTHER: 0}
