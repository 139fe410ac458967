"""Which inodes an answer is about, and where in it the `leased` flags are. Pure; one row for each kind of answer.

Not here: who gets a lease (leases.py), and what an operation is about before it is applied (targets.py).
"""

from collections.abc import Callable
from typing import Any

from ringfs.wire.messages.common import NOT_LEASED, Attributes
from ringfs.wire.messages.content import ChunkFound, RangeCopied
from ringfs.wire.messages.namespace import Committed, Entry, Removed, Renamed
from ringfs.wire.messages.queries import DirectoryPage, Extents, XattrFound, XattrNames
from ringfs.wire.messages.session import Opened
from ringfs.wire.messages.sharing import Appended

Grant = Callable[[int], int]


def inodes_of(question: Any, answer: Any) -> list[int]:
    """The inodes whose attributes, xattrs or extents an answer shows. `question` is what was asked or applied."""
    match answer:
        case Entry():
            parent = answer.parent.inode
            return [parent] if answer.attributes is None else [parent, answer.attributes.inode]
        case Opened() | Extents() | Appended():
            return [answer.attributes.inode]
        case DirectoryPage():
            return [answer.directory.inode, *(entry.attributes.inode for entry in answer.entries)]
        case XattrFound() | XattrNames() | ChunkFound():
            return [question.inode]
        case RangeCopied():
            return [answer.destination.inode]
        case Attributes():
            return [answer.inode]
        case Removed():
            return [answer.parent.inode, answer.removed.inode]
        case Renamed():
            shown = [answer.parent.inode, answer.new_parent.inode, answer.moved.inode]
            return shown if answer.other is None else [*shown, answer.other.inode]
        case Committed():
            return [file.attributes.inode for file in answer.files if file.attributes is not None]
        case _:
            return []


def set_leases(question: Any, answer: Any, grant: Grant) -> bool:
    """Set every `leased` flag of an answer to what grant says of its inode; whether it has any."""
    match answer:
        case Entry():
            answer.parent_leased = grant(answer.parent.inode)
            answer.leased = NOT_LEASED if answer.attributes is None else grant(answer.attributes.inode)
        case Opened() | Extents() | Appended():
            answer.leased = grant(answer.attributes.inode)
        case DirectoryPage():
            answer.leased = grant(answer.directory.inode)
            for entry in answer.entries:
                entry.leased = grant(entry.attributes.inode)
        case XattrFound() | XattrNames():
            answer.leased = grant(question.inode)
        case _:
            return False
    return True


def clear_leases(question: Any, answer: Any) -> None:
    """Nothing of the answer may be cached."""
    set_leases(question, answer, lambda _inode: NOT_LEASED)
