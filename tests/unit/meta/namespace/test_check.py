"""The checker finds each kind of damage, names its rule, and says nothing about a sound namespace."""

from collections.abc import Callable

import pytest

from ringfs.base.kv.memory import MemoryView
from ringfs.meta.namespace import check_tree, keys, system
from ringfs.meta.namespace.check import check
from ringfs.meta.namespace.records import (
    Inode,
    pack_condemned,
    pack_cookie,
    pack_dentry,
    pack_object,
    pack_usage,
    unpack_counters,
    unpack_inode,
)
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages.locks import SPACE_RANGES, SetLock
from ringfs.wire.messages.quota import SetQuota
from ringfs.wire.packing import pack, unpack
from tests.support.locks import NONE, READ, WRITE, ranged
from tests.support.namespace import TrialNamespace, hole, inline, object_id, piece_of

#: Inodes of the sound namespace: / with a(2)/ sub(3)/, f(4) with two names, s(5), orphan(6); object 1 live, 2 condemned.
SUB, FILE, LINK, ORPHAN = 3, 4, 5, 6
ONE, TWO = object_id(1), object_id(2)
SUFFIX = keys.chunk(FILE, 0)[1:]
#: The row of its one lock.
LOCK = keys.lock(FILE, SPACE_RANGES, 1, 7)


@pytest.fixture(scope="module")
def sound() -> MemoryView:
    trial = TrialNamespace()
    a = trial.directory(b"a")
    assert trial.directory(b"sub", a) == SUB
    assert trial.file(b"f") == FILE
    trial.do(m.Link(FILE, a, b"g"))
    assert trial.symlink(b"s", b"target") == LINK
    assert trial.file(b"o") == ORPHAN
    trial.do(m.Unlink(1, b"o"), holders=[1])
    trial.commit(FILE, piece_of(1, 0, 60), inline(100, b"abc"), objects=[trial.new_object(1, 100)])
    trial.commit(FILE, piece_of(2, 200, 10), objects=[trial.new_object(2, 10)])
    trial.commit(FILE, hole(200, 10))
    trial.do(m.SetXattr(FILE, b"user.a", b"1", 0, False))
    trial.system(system.EnterNode("u1", "data1", "h:1", "d", 1))
    trial.do(SetLock(ranged(FILE, 7, WRITE, 5, 9)))
    trial.do(SetQuota(a, 9, 9))
    return trial.view


Damage = Callable[[MemoryView], None]


def inode(number: int, change: Callable[[Inode], None]) -> Damage:
    def damage(view: MemoryView) -> None:
        value = view.get(keys.inode(number))
        assert value is not None
        inode = unpack_inode(number, value)
        change(inode)
        view.put(keys.inode(number), inode.pack())

    return damage


def field(number: int, name: str, value: object) -> Damage:
    return inode(number, lambda found: setattr(found, name, value))


def put(key: bytes, value: bytes) -> Damage:
    return lambda view: view.put(key, value)


def delete(key: bytes) -> Damage:
    return lambda view: view.delete(key)


def counter(name: str, delta: int) -> Damage:
    def damage(view: MemoryView) -> None:
        value = view.get(keys.COUNTERS)
        assert value is not None
        counters = unpack_counters(value)
        setattr(counters, name, getattr(counters, name) + delta)
        view.put(keys.COUNTERS, counters.pack())

    return damage


def pieces(*found: list[object]) -> Damage:
    return put(keys.chunk(FILE, 0), pack(list(found)))


def cycle(view: MemoryView) -> None:
    """a and sub become each other's parents."""
    inode(1, lambda root: setattr(root, "links", root.links - 1))(view)
    inode(1, lambda root: setattr(root, "size_bytes", root.size_bytes - 1))(view)
    entry = view.get(keys.dentry(1, b"a"))
    assert entry is not None
    view.delete(keys.cookie(1, unpack(entry)[2]))
    view.delete(keys.dentry(1, b"a"))
    view.put(keys.dentry(SUB, b"a"), pack_dentry(2, 0o040755, 3))
    view.put(keys.cookie(SUB, 3), pack_cookie(b"a", 2))

    def adopt(sub: Inode) -> None:
        sub.links, sub.size_bytes, sub.next_cookie = 3, 1, 4

    inode(SUB, adopt)(view)
    field(2, "parent", SUB)(view)


def remove_everything(view: MemoryView) -> None:
    """No inode is left, nor an entry."""
    for key in view.pairs():
        if key[:1] in b"IDC":
            view.delete(key)


def make_fifo_of_a_byte(found: Inode) -> None:
    """Fifos have no size."""
    found.mode, found.size_bytes = 0o010644, 1


DAMAGES: dict[str, tuple[str, Damage]] = {
    "unknown family": ("rows", put(b"a1", b"")),
    "unknown single row": ("rows", put(b"Mother", b"")),
    "missing single row": ("rows", delete(keys.MAP_EPOCH)),
    "mode without type": ("inodes", field(FILE, "mode", 0o000644)),
    "xattrs miscounted": ("xattrs", field(FILE, "xattr_count", 2)),
    "xattr of nobody": ("inodes", put(keys.xattr(99, b"user.a"), pack(b""))),
    "target missing": ("sizes", delete(keys.target(LINK))),
    "target of another size": ("sizes", put(keys.target(LINK), pack(b"t"))),
    "target of a file": ("inodes", put(keys.target(FILE), pack(b"t"))),
    "doomed range without chunks": ("doomed", put(keys.doomed(99), pack([[3, 3]]))),
    "doomed ranges that touch": ("doomed", put(keys.doomed(99), pack([[1, 3], [3, 4]]))),
    "doomed without ranges": ("doomed", put(keys.doomed(99), pack([]))),
    "doomed content counted": ("sizes", put(keys.doomed(FILE), pack([[0, 1]]))),
    "inodes miscounted": ("counters", counter("inode_count", 1)),
    "inode number to come is taken": ("counters", counter("next_inode", -1)),
    "root gone": ("tree", remove_everything),
    "root with a parent": ("tree", field(1, "parent", 2)),
    "size of a fifo": ("sizes", inode(ORPHAN, make_fifo_of_a_byte)),
    "stored bytes of a directory": ("sizes", field(SUB, "stored_bytes", 1)),
    "directory with a link": ("inodes", field(SUB, "links", 1)),
    "entry to nowhere": ("tree", delete(keys.inode(FILE))),
    "entry of another type": ("tree", put(keys.dentry(1, b"f"), pack_dentry(FILE, 0o010000, 4))),
    "entries miscounted": ("sizes", field(2, "size_bytes", 1)),
    "subdirectories miscounted": ("nlink", field(2, "links", 4)),
    "directory under another name": ("tree", field(SUB, "name", b"bus")),
    "directory elsewhere": ("tree", field(SUB, "parent", 1)),
    "entry in a file": ("tree", put(keys.dentry(FILE, b"x"), pack_dentry(LINK, 0o120777, 3))),
    "cycle": ("tree", cycle),
    "cookie row missing": ("cookies", delete(keys.cookie(2, 3))),
    "cookie row astray": ("cookies", put(keys.cookie(2, 9), pack_cookie(b"x", 5))),
    "cookie row of a wrong child": ("cookies", put(keys.cookie(2, 3), pack_cookie(b"sub", 5))),
    "cookie to come": ("cookies", field(2, "next_cookie", 4)),
    "links too many": ("nlink", field(FILE, "links", 3)),
    "links too few": ("nlink", field(FILE, "links", 1)),
    "extents of nobody": ("extents", put(keys.chunk(99, 0), pack([[0, b"a"]]))),
    "extents of a directory": ("extents", put(keys.chunk(SUB, 0), pack([[0, b"a"]]))),
    "stored bytes miscounted": ("sizes", field(FILE, "stored_bytes", 62)),
    "stored bytes without extents": ("sizes", field(ORPHAN, "stored_bytes", 5)),
    "extents past the size": ("sizes", field(FILE, "size_bytes", 102)),
    "row without extents": ("extents", pieces()),
    "overlap": ("extents", pieces([0, 60, ONE, 0], [59, b"abc"])),
    "empty extent": ("extents", pieces([0, 60, ONE, 0], [100, b""])),
    "past the chunk": ("extents", pieces([(1 << 26) - 1, b"abc"])),
    "past the object": ("extents", pieces([0, 60, ONE, 41], [100, b"abc"])),
    "no such object": ("extents", pieces([0, 60, TWO, 0], [100, b"abc"])),
    "reference missing": ("references", delete(keys.reference(ONE, SUFFIX))),
    "reference miscounted": ("references", put(keys.reference(ONE, SUFFIX), pack(59))),
    "reference from nowhere": ("references", put(keys.reference(ONE, keys.chunk(99, 0)[1:]), pack(1))),
    "reference from another chunk": ("references", put(keys.reference(TWO, SUFFIX), pack(1))),
    "live bytes miscounted": ("references", put(keys.object_row(ONE), pack_object(100, 61, "replica:2", "replica:2"))),
    "object without references": ("references", put(keys.object_row(object_id(3)), pack_object(1, 1, "replica:2", "replica:2"))),
    "live counter": ("counters", counter("live_bytes", 1)),
    "dead counter": ("counters", counter("dead_bytes", -1)),
    "live and condemned": ("verdicts", put(keys.verdict(ONE), pack(1))),
    "verdict without object row": ("verdicts", delete(keys.verdict(TWO))),
    "object row without verdict": ("verdicts", delete(keys.condemned(1))),
    "verdict to come": ("verdicts", counter("next_condemned", -1)),
    "two verdicts": ("verdicts", put(keys.condemned(0), pack_condemned(TWO, 0, 10))),
    "no name, no holder": ("orphans", delete(keys.orphan(ORPHAN, 1))),
    "holder of what has a name": ("orphans", put(keys.orphan(FILE, 1), pack(None))),
    "holder without session": ("orphans", put(keys.orphan(ORPHAN, 9), pack(None))),
    "holder that does not know": ("orphans", delete(keys.held(1, ORPHAN))),
    "session that takes itself for a holder": ("orphans", put(keys.held(1, FILE), pack(None))),
    "session to come": ("counters", counter("next_session", -1)),
    "reply of nobody": ("replies", put(keys.reply(9, 1), b"")),
    "reply outside the window": ("replies", put(keys.reply(1, 0), b"")),
    "node to come": ("counters", counter("next_node", -1)),
    "cursor of nobody": ("nodes", put(keys.reaped(9), pack(1))),
    "no lock in a row": ("locks", put(LOCK, pack([]))),
    "lock that ends before it begins": ("locks", put(LOCK, pack([[5, 4, WRITE, 1]]))),
    "locks out of order": ("locks", put(LOCK, pack([[5, 9, WRITE, 1], [0, 1, WRITE, 1]]))),
    "locks that are one": ("locks", put(LOCK, pack([[5, 9, WRITE, 1], [10, 11, WRITE, 1]]))),
    "lock of no kind": ("locks", put(LOCK, pack([[5, 9, NONE, 1]]))),
    "lock in no space": ("locks", put(keys.lock(FILE, 3, 1, 7), pack([[5, 9, WRITE, 1]]))),
    "lock in another's way": ("locks", put(keys.lock(FILE, SPACE_RANGES, 1, 8), pack([[9, 9, READ, 1]]))),
    "lock of no session": ("locks", put(keys.lock(FILE, SPACE_RANGES, 9, 8), pack([[19, 19, READ, 1]]))),
    "lock whose session does not know": ("locks", delete(keys.locker(1, FILE, SPACE_RANGES, 7))),
    "session that takes itself for a locker": ("locks", delete(LOCK)),
    "locks miscounted": ("locks", put(keys.lock_count(1), pack(2))),
    "disk that was removed": ("nodes", put(keys.retired("u1"), pack(None))),
    "class of nobody": ("classes", field(FILE, "class_number", 1)),
    "class that is none": ("classes", put(keys.service_class(1), pack("replica"))),
    "class that was left out": ("classes", put(keys.service_class(2), pack("replica:3"))),
    "object of no class": ("classes", put(keys.object_row(ONE), pack_object(100, 60, "", "replica:2"))),
    "object in no form": ("classes", put(keys.object_row(ONE), pack_object(100, 60, "replica:2", "ec:1+1"))),
    "cursor too far": ("nodes", put(keys.reaped(1), pack(2))),
    "orphan with a home": ("usage", field(ORPHAN, "parent", 1)),
    "home without name": ("usage", field(LINK, "parent", 2)),
    "another of two homes": ("usage", field(FILE, "parent", 2)),
    "names elsewhere miscounted": ("usage", put(keys.elsewhere(FILE, 2), pack(2))),
    "names elsewhere forgotten": ("usage", delete(keys.elsewhere(FILE, 2))),
    "names elsewhere of one with one": ("usage", put(keys.elsewhere(LINK, 2), pack(1))),
    "usage missing": ("usage", delete(keys.usage(SUB))),
    "usage miscounted": ("usage", put(keys.usage(2), pack_usage([1, 0, 2, 9, 9]))),
    "usage of a file": ("usage", put(keys.usage(FILE), pack_usage([1, 0, 0]))),
    "usage of another parent": ("usage", put(keys.usage(SUB), pack_usage([1, 0, 0]))),
    "quota that is not found": ("usage", delete(keys.quota(2))),
    "quota of a directory without": ("usage", put(keys.quota(SUB), pack(None))),
    "quotas miscounted": ("counters", counter("quota_count", 1)),
}


def test_sound(sound: MemoryView) -> None:
    """Nothing is found."""
    assert list(check(sound)) == []


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found(sound: MemoryView, name: str) -> None:
    """Each kind, by the name of its rule."""
    rule, damage = DAMAGES[name]
    view = sound.copy()
    damage(view)
    assert view.pairs() != sound.pairs()
    found = {finding.what for finding in check(view)}
    assert rule in found


def test_links_are_found_among_many(sound: MemoryView, monkeypatch: pytest.MonkeyPatch) -> None:
    """With few buckets and little memory the checker still tells exactly which inodes have wrong links."""
    monkeypatch.setattr(check_tree, "_BUCKET_COUNT", 2)
    monkeypatch.setattr(check_tree, "_REMEMBERED_MAX", 1)
    view = sound.copy()
    field(FILE, "links", 3)(view)
    field(LINK, "links", 2)(view)
    assert {str(finding) for finding in check(view) if finding.what == "nlink"} == {
        f"nlink: inode {FILE} has 3 links and 2 names",
        f"nlink: inode {LINK} has 2 links and 1 names",
    }
