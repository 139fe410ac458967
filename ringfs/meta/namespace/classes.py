"""Classes of service of inodes: their table, and the attribute that shows and sets them (user.ringfs.class), which has no row.

Number 0 is the default class, others are given out once and for ever. What is made in a directory has its class.
"""

from ringfs.base.errors import Code, Refused, UserError
from ringfs.meta.namespace import facts, keys
from ringfs.meta.namespace.map_nodes import grow_epoch
from ringfs.meta.namespace.work import Work
from ringfs.ring.classes import parse_class
from ringfs.ring.shares import domains_with_share
from ringfs.wire.messages.common import CLASS_XATTR
from ringfs.wire.packing import pack

#: As many as a ClusterMap holds, and a number of 8 bits says.
CLASSES_MAX = 256


def number_for(work: Work, value: bytes) -> int:
    """The number of the class that a value of CLASS_XATTR names, a new one if need be. Refused INVALID (no class, or more domains
    than have a share of the ring), NO_SPACE (no more numbers)."""
    text = _checked(work, value)
    known = facts.classes(work.rows)
    if text in known[1:]:
        return known.index(text, 1)
    if len(known) >= CLASSES_MAX:
        raise Refused(Code.NO_SPACE, f"{CLASSES_MAX} classes of service")
    work.rows.put(keys.service_class(len(known)), pack(text))
    grow_epoch(work)
    return len(known)


def _checked(work: Work, value: bytes) -> str:
    try:
        wanted = parse_class(value.decode("ascii", "replace"))
    except UserError as error:
        raise Refused(Code.INVALID, str(error)) from None
    domain_count = len(domains_with_share(facts.nodes(work.rows)))
    if wanted.width > domain_count:
        raise Refused(Code.INVALID, f"{wanted} needs {wanted.width} failure domains, there are {domain_count}")
    return str(wanted)


__all__ = ["CLASSES_MAX", "CLASS_XATTR", "number_for"]
