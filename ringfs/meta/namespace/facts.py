"""What the server wants to know of the namespace beside questions of clients: map, sessions, orphans, counters. Only reads."""

from collections.abc import Iterator
from typing import NamedTuple

from ringfs.base.errors import UserError
from ringfs.base.kv.prefix import scan_prefix
from ringfs.base.kv.view import ReadView
from ringfs.meta.namespace import keys
from ringfs.meta.namespace.records import FORMAT_VERSION, Counters, unpack_counters
from ringfs.wire.messages.cluster import ClusterMap, Node
from ringfs.wire.packing import unpack


class SessionFacts(NamedTuple):
    """A session as it is registered. All requests below `acknowledged` have had their answers confirmed."""

    session: int
    name: str
    opened_ns: int
    acknowledged: int


def check_format(view: ReadView) -> None:
    """Raises UserError if a formatted view is of another version than this one's."""
    found = _single(view, keys.FORMAT)
    if found != FORMAT_VERSION:
        raise UserError(f"the namespace has format {found}, this ringfs knows {FORMAT_VERSION}: use the ringfs that wrote it")


def cluster_id(view: ReadView) -> str:
    """The cluster's uuid."""
    return str(_single(view, keys.CLUSTER))


def default_class(view: ReadView) -> str:
    """The class of service of what has no other."""
    return str(_single(view, keys.DEFAULT_CLASS))


def class_text(view: ReadView, number: int) -> str:
    """The class of service that an inode's number stands for."""
    return str(_single(view, keys.service_class(number) if number else keys.DEFAULT_CLASS))


def counters(view: ReadView) -> Counters:
    """The counters' row."""
    value = view.get(keys.COUNTERS)
    assert value is not None, "the namespace was formatted"
    return unpack_counters(value)


def cluster_map(view: ReadView) -> ClusterMap:
    """The map as it is now."""
    epoch = _single(view, keys.MAP_EPOCH)
    assert isinstance(epoch, int), "an epoch is a number"
    return ClusterMap(epoch, cluster_id(view), nodes(view), classes(view))


def classes(view: ReadView) -> list[str]:
    """Classes of service, by the number that inodes have; first the default class."""
    return [default_class(view), *(unpack(value) for _, value in scan_prefix(view, keys.SERVICE_CLASS))]


def nodes(view: ReadView) -> list[Node]:
    """All data nodes, in order of their number."""
    return [Node(int.from_bytes(key[1:], "big"), *unpack(value)) for key, value in scan_prefix(view, keys.NODE)]


def reaped_cursor(view: ReadView, node: int) -> int:
    """Up to which sequence number a node has deleted what was condemned."""
    value = view.get(keys.reaped(node))
    return 0 if value is None else int(unpack(value))


def sessions(view: ReadView) -> Iterator[SessionFacts]:
    """All registered sessions, in order of their number."""
    for key, value in scan_prefix(view, keys.SESSION):
        yield SessionFacts(keys.number_at(key, 1), *unpack(value))


def has_session(view: ReadView, session: int) -> bool:
    """Whether the session is registered."""
    return view.get(keys.session(session)) is not None


def orphans_of(view: ReadView, session: int) -> Iterator[int]:
    """The inodes without name that a session keeps alive."""
    for key, _ in scan_prefix(view, keys.HELD + keys.u64(session)):
        yield keys.number_at(key, 9)


def child_number(view: ReadView, parent: int, name: bytes) -> int | None:
    """The inode under a name, or None: what a transaction's holders are found by."""
    value = view.get(keys.dentry(parent, name))
    return None if value is None else int(unpack(value)[0])


def _single(view: ReadView, key: bytes) -> str | int:
    value = view.get(key)
    assert value is not None, "the namespace was formatted"
    row: str | int = unpack(value)
    return row
