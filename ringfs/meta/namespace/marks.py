"""What is kept and told of an answer that a client has given its applications already: enough to see that it gave the same one."""

from struct import Struct
from typing import Any
from zlib import crc32

from ringfs.wire.messages.common import Attributes
from ringfs.wire.messages.namespace import Entry, Removed, Renamed
from ringfs.wire.schema import U32, message


@message(0x0510)
class AheadMark:
    """The answer to a transaction that was applied ahead."""

    mark: U32


#: Of as many inodes: number and change of each.
_LAYOUTS = [Struct(f">{2 * count}Q") for count in range(5)]


def mark_of(answer: Any) -> int:
    """A number that two answers share if they show the same inodes, each after the same changes."""
    shown = _shown(answer)
    if len(shown) == 2:
        one, other = shown
        return crc32(_LAYOUTS[2].pack(one.inode, one.change, other.inode, other.change))
    numbers = [number for each in shown for number in (each.inode, each.change)]
    return crc32(_LAYOUTS[len(shown)].pack(*numbers))


def _shown(answer: Any) -> list[Attributes]:
    match answer:
        case Entry():
            return [answer.parent] if answer.attributes is None else [answer.attributes, answer.parent]
        case Removed():
            return [answer.removed, answer.parent]
        case Renamed():
            first = [answer.moved, answer.parent, answer.new_parent]
            return first if answer.other is None else [*first, answer.other]
        case Attributes():
            return [answer]
        case _:
            return []
