"""The checker on sessions, orphans, classes of service and nodes, and on rows that nobody knows."""

from collections.abc import Iterator

from ringfs.base.ids import NO_SESSION
from ringfs.base.kv.prefix import after_prefix, scan_prefix
from ringfs.base.kv.view import ReadView
from ringfs.base.limits import REPLY_WINDOW_MAX
from ringfs.meta.namespace import facts, keys
from ringfs.meta.namespace.check_inodes import all_inodes, inode_at
from ringfs.meta.namespace.facts import counters
from ringfs.meta.namespace.finding import Finding
from ringfs.meta.namespace.promises import tolerance_of
from ringfs.wire.packing import unpack

#: Keys below are the store's own.
_FIRST_KEY = b"\x20"


def check_rows_known(view: ReadView) -> Iterator[Finding]:
    """Every key is of a family, or a single row."""
    start = _FIRST_KEY
    for known in sorted((*keys.FAMILIES, *keys.SINGLE_ROWS)):
        for key, _ in view.scan(start, known):
            yield Finding("rows", f"nobody knows the row {key.hex()}")
        start = after_prefix(known) if known in keys.FAMILIES else known + b"\0"
    for key, _ in view.scan(start, b"\xff" * 256):
        yield Finding("rows", f"nobody knows the row {key.hex()}")
    for row in keys.SINGLE_ROWS:
        if view.get(row) is None:
            yield Finding("rows", f"the row {row!r} is missing")


def check_orphans(view: ReadView) -> Iterator[Finding]:
    """What has no name has a holder; holders are the leader or living sessions; both rows of a hold are there."""
    for inode in all_inodes(view):
        if inode.links == 0 and next(scan_prefix(view, keys.ORPHAN + keys.u64(inode.number)), None) is None:
            yield Finding("orphans", f"inode {inode.number} has neither name nor holder")
    for key, _ in scan_prefix(view, keys.ORPHAN):
        number, session = keys.number_at(key, 1), keys.number_at(key, 9)
        held = inode_at(view, number)
        if held is None or held.links:
            yield Finding("orphans", f"session {session} holds inode {number}, which is no orphan")
        lives = session == NO_SESSION or facts.has_session(view, session)
        if not lives or view.get(keys.held(session, number)) is None:
            yield Finding("orphans", f"inode {number} is held by session {session}, which does not know")
    for key, _ in scan_prefix(view, keys.HELD):
        session, number = keys.number_at(key, 1), keys.number_at(key, 9)
        if view.get(keys.orphan(number, session)) is None:
            yield Finding("orphans", f"session {session} takes itself for a holder of inode {number}")


def check_sessions(view: ReadView) -> Iterator[Finding]:
    """Sessions were numbered; replies are of living sessions and within their windows."""
    next_session = counters(view).next_session
    for session in facts.sessions(view):
        if not 0 < session.session < next_session:
            yield Finding("counters", f"next_session is {next_session}, session {session.session} exists")
    for key, _ in scan_prefix(view, keys.REPLY):
        number = keys.number_at(key, 9)
        row = view.get(keys.session(keys.number_at(key, 1)))
        window = None if row is None else unpack(row)[2]
        if window is None or not window <= number < window + REPLY_WINDOW_MAX:
            yield Finding("replies", f"a reply {key[1:].hex()} outside its session's window")
    next_inode = counters(view).next_inode
    for key, value in scan_prefix(view, keys.RESERVED):
        first, stop = unpack(value)
        if not facts.has_session(view, keys.number_at(key, 1)) or not first <= stop <= next_inode:
            yield Finding("reserved", f"inode numbers {first} to {stop} are set apart wrongly, or for a session that has ended")


def check_classes(view: ReadView) -> Iterator[Finding]:
    """Classes of service were numbered in order, are classes, and each once; inodes have such; objects too, and forms."""
    known = facts.classes(view)
    numbers = [key[1] for key, _ in scan_prefix(view, keys.SERVICE_CLASS)]
    is_twice = len(set(known[1:])) < len(known) - 1
    if is_twice or numbers != list(range(1, len(known))) or any(tolerance_of(text) < 0 for text in known):
        yield Finding("classes", f"the classes of service are {known}, with the numbers {numbers}")
    for inode in all_inodes(view):
        if not 0 <= inode.class_number < len(known):
            yield Finding("classes", f"inode {inode.number} has class {inode.class_number}, there are {len(known)}")
    for key, value in scan_prefix(view, keys.OBJECT):
        _, _, stored_class, form = unpack(value)
        if min(tolerance_of(stored_class), tolerance_of(form)) < 0:
            yield Finding("classes", f"object {key[1:].hex()} has the class {stored_class!r} and the form {form!r}")


def check_nodes(view: ReadView) -> Iterator[Finding]:
    """Nodes were numbered, names and disks are theirs alone; cursors are of nodes and reach no further than verdicts."""
    figures = counters(view)
    nodes = facts.nodes(view)
    numbers = {node.node for node in nodes}
    if any(not 0 < number < figures.next_node for number in numbers):
        yield Finding("counters", f"next_node is {figures.next_node}, nodes are {sorted(numbers)}")
    uuids = [node.uuid for node in nodes if node.uuid]
    if len({node.name for node in nodes}) < len(nodes) or len(set(uuids)) < len(uuids):
        yield Finding("nodes", "two nodes have one name or one disk")
    if any(view.get(keys.retired(uuid)) is not None for uuid in uuids):
        yield Finding("nodes", "a node has a disk that was removed or replaced")
    for key, value in scan_prefix(view, keys.REAPED):
        number = int.from_bytes(key[1:], "big")
        if number not in numbers or unpack(value) >= figures.next_condemned:
            yield Finding("nodes", f"node {number} has reaped through {unpack(value)}")
