"""Classes of service: of inodes, by the attribute that sets them and by inheritance; of objects, by what points to them."""

import pytest

from ringfs.base.errors import Code
from ringfs.base.limits import PUT_FRESH_NS
from ringfs.meta.namespace import classes, facts, system
from ringfs.meta.namespace.live_objects import list_live
from ringfs.meta.namespace.ops import reclass
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages import queries as q
from ringfs.wire.messages.cluster import STANDING_OUT
from ringfs.wire.messages.common import CLASS_XATTR
from ringfs.wire.messages.content import Clone
from ringfs.wire.messages.heal import ListLive, Reclass, Reclassed, SetStanding
from tests.support.namespace import SECOND, TrialNamespace, object_id, piece_of
from tests.support.refusals import refused


@pytest.fixture
def ring(trial: TrialNamespace) -> TrialNamespace:
    """Six nodes, each a domain; the default class is replica:2."""
    for number in range(6):
        trial.system(system.EnterNode(f"u{number}", f"data{number}", "h:1", f"domain{number}", 100))
    return trial


def set_class(trial: TrialNamespace, inode: int, text: str, flags: int = 0) -> None:
    answer = trial.do(m.SetXattr(inode, CLASS_XATTR, text.encode(), flags, False))
    assert answer == trial.attributes(inode)


def class_of(trial: TrialNamespace, inode: int) -> str:
    value: bytes = trial.ask(q.GetXattr(inode, CLASS_XATTR)).value
    return value.decode()


def listed(trial: TrialNamespace, inode: int) -> list[bytes]:
    names: list[bytes] = trial.ask(q.ListXattrs(inode)).names
    return names


# --- of inodes --------------------------------------------------------------------------------------------------------


def test_set_shown_and_removed(ring: TrialNamespace) -> None:
    """The effective class is shown always, listed only if it was set; a new one is a new map, an old one is not."""
    file, other = ring.file(b"a"), ring.file(b"b")
    assert (class_of(ring, file), listed(ring, file)) == ("replica:2", [])
    before = facts.cluster_map(ring.view)
    ring.do(m.SetXattr(file, b"user.z", b"1", 0, False))
    set_class(ring, file, "ec:4+2")
    set_class(ring, other, "ec:4+2")
    after = facts.cluster_map(ring.view)
    assert (before.classes, after.classes, after.epoch) == (["replica:2"], ["replica:2", "ec:4+2"], before.epoch + 1)
    assert (class_of(ring, file), listed(ring, file)) == ("ec:4+2", [CLASS_XATTR, b"user.z"])
    assert [ring.attributes(each).class_number for each in (file, other)] == [1, 1]
    assert ring.attributes(file).xattr_count == 1, "it counts the others"
    ring.do(m.RemoveXattr(file, CLASS_XATTR))
    assert (class_of(ring, file), listed(ring, file)) == ("replica:2", [b"user.z"])
    with refused(Code.NO_XATTR):
        ring.do(m.RemoveXattr(file, CLASS_XATTR))


def test_the_default_class_may_be_set_too(ring: TrialNamespace) -> None:
    """Then it is listed, and stays whatever the default is."""
    file = ring.file(b"a")
    set_class(ring, file, "replica:2")
    assert (ring.attributes(file).class_number, listed(ring, file)) == (1, [CLASS_XATTR])


def test_flags(ring: TrialNamespace) -> None:
    """XATTR_CREATE and XATTR_REPLACE go by whether it was set."""
    file = ring.file(b"a")
    with refused(Code.NO_XATTR):
        set_class(ring, file, "replica:3", m.XATTR_REPLACE)
    set_class(ring, file, "replica:3", m.XATTR_CREATE)
    with refused(Code.EXISTS):
        set_class(ring, file, "replica:1", m.XATTR_CREATE)
    set_class(ring, file, "replica:1", m.XATTR_REPLACE)


@pytest.mark.parametrize("text", ["", "replica", "replica:0", "replica:2\0", "ec:1+1", "ec:17+2", "ec:4+2 ", "\xe9", "ec:5+2"])
def test_no_class_or_too_wide(ring: TrialNamespace, text: str) -> None:
    """INVALID, also one that needs more domains than there are."""
    with refused(Code.INVALID):
        set_class(ring, ring.file(b"a"), text)


def test_only_domains_with_a_share_count(ring: TrialNamespace) -> None:
    """And a class that is in use keeps its domains."""
    ring.system(SetStanding("data5", STANDING_OUT, 0))
    file = ring.file(b"a")
    with refused(Code.INVALID):
        set_class(ring, file, "ec:4+2")
    set_class(ring, file, "ec:3+2")
    with refused(Code.INVALID):
        ring.system(SetStanding("data4", STANDING_OUT, 0))


def test_files_and_directories_only(ring: TrialNamespace) -> None:
    """As with all user attributes; a symlink shows none."""
    link = ring.symlink(b"l")
    with refused(Code.NOT_PERMITTED):
        set_class(ring, link, "replica:3")
    with refused(Code.NO_XATTR):
        class_of(ring, link)


def test_as_many_as_numbers(ring: TrialNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is NO_SPACE; those that are known go on."""
    monkeypatch.setattr(classes, "CLASSES_MAX", 2)
    file = ring.file(b"a")
    set_class(ring, file, "replica:3")
    with refused(Code.NO_SPACE):
        set_class(ring, file, "replica:4")
    set_class(ring, ring.file(b"b"), "replica:3")


def test_inherited(ring: TrialNamespace) -> None:
    """By all that is made in a directory, not by what is linked or moved there; a clone is as its source."""
    old = ring.file(b"old")
    top = ring.directory(b"top")
    set_class(ring, top, "ec:4+2")
    below = ring.directory(b"below", top)
    made = [below, ring.file(b"f", below), ring.symlink(b"l", parent=below)]
    assert [ring.attributes(each).class_number for each in made] == [1, 1, 1]
    ring.do(m.Link(old, top, b"linked"))
    ring.do(m.Rename(1, b"old", below, b"moved", 0))
    assert ring.attributes(old).class_number == 0
    ring.do(m.Rename(below, b"f", 1, b"out", 0))
    assert class_of(ring, made[1]) == "ec:4+2"
    clones = [ring.do(Clone(source, 1, name)).attributes for source, name in ((made[1], b"c"), (below, b"d"))]
    clones.append(ring.do(Clone(old, top, b"e")).attributes)
    assert [each.class_number for each in clones] == [1, 1, 0]
    set_class(ring, top, "replica:3")
    assert class_of(ring, below) == "ec:4+2", "what is there already keeps its own"


# --- of objects -------------------------------------------------------------------------------------------------------


def stored(trial: TrialNamespace, label: int) -> tuple[str, str]:
    """Class and form of an object."""
    found = {each.object: (each.stored_class, each.form) for each in list_live(trial.view, ListLive(b"", b"", 100)).objects}
    return found[object_id(label)]


def new(trial: TrialNamespace, label: int, stored_class: str, form: str = "", *, age_ns: int = 0) -> m.NewObject:
    return m.NewObject(object_id(label), 1000, stored_class, trial.now_ns + SECOND - age_ns, form or stored_class)


def test_the_firmer_class_and_form_win(ring: TrialNamespace) -> None:
    """Equal bytes of two files are one object: it keeps what the more demanding was promised."""
    file = ring.file(b"a")

    def commit(stored_class: str, form: str, age_ns: int = 0) -> tuple[str, str]:
        ring.commit(file, piece_of(1, 0, 10), objects=[new(ring, 1, stored_class, form, age_ns=age_ns)])
        return stored(ring, 1)

    assert commit("replica:2", "replica:2") == ("replica:2", "replica:2")
    assert commit("ec:4+2", "replica:3") == ("ec:4+2", "replica:3")
    assert commit("replica:2", "replica:2") == ("ec:4+2", "replica:3")
    assert commit("replica:3", "ec:4+2") == ("ec:4+2", "replica:3"), "as much is not more"
    late = PUT_FRESH_NS + SECOND
    assert commit("replica:4", "replica:4", age_ns=late) == ("replica:4", "replica:3"), "what was put long ago may be half gone"


def test_a_form_that_breaks_the_promise_is_invalid(ring: TrialNamespace) -> None:
    """And what is no class or form."""
    file = ring.file(b"a")
    for stored_class, form in (("replica:3", "replica:2"), ("ec:4+2", "ec:4+1"), ("", "replica:2"), ("replica:1", "gold")):
        with refused(Code.INVALID):
            ring.commit(file, piece_of(1, 0, 10), objects=[new(ring, 1, stored_class, form)])


def test_whatever_points_to_an_object_raises_its_class(ring: TrialNamespace) -> None:
    """A clone into a file of a firmer class, and a commit by a client that did not know the class yet."""
    plain, firm = ring.file(b"a"), ring.file(b"b")
    set_class(ring, firm, "replica:3")
    ring.commit(plain, piece_of(1, 0, 10), objects=[new(ring, 1, "replica:2")])
    ring.commit(firm, piece_of(2, 0, 10), objects=[new(ring, 2, "replica:2")])
    assert (stored(ring, 1)[0], stored(ring, 2)) == ("replica:2", ("replica:3", "replica:2"))
    ring.commit(firm, piece_of(1, 10, 10))
    assert stored(ring, 1) == ("replica:3", "replica:2")
    ring.commit(firm, m.Extent(10, 10, m.HOLE, b""))
    assert stored(ring, 1)[0] == "replica:3", "that is for Reclass to change"


def give(trial: TrialNamespace, inode: int, chunk: int = 0, after: bytes = b"") -> Reclassed:
    answer: Reclassed = trial.system(Reclass(inode, chunk, after))
    return answer


def test_reclass_up_and_down(ring: TrialNamespace) -> None:
    """Objects get the file's class; their forms stay; twice changes nothing."""
    file = ring.file(b"a")
    objects = [new(ring, label, "replica:2") for label in (1, 2)]
    ring.commit(file, piece_of(1, 0, 10), piece_of(2, 1 << 27, 10), piece_of(1, 1 << 28, 10), objects=objects)
    for text in ("ec:4+2", "ec:2+1", "replica:2"):
        set_class(ring, file, text)
        before = ring.attributes(file)
        assert give(ring, file) == Reclassed(-1, b"", 3, 2, 2000)
        assert give(ring, file) == Reclassed(-1, b"", 3, 0, 0)
        assert [stored(ring, label) for label in (1, 2)] == [(text, "replica:2")] * 2
        assert ring.attributes(file) == before


def test_reclass_lowers_only_what_nobody_else_needs(ring: TrialNamespace) -> None:
    """As long as a file of the firmer class points to the object, or so many files that it is not looked at."""
    low, high = ring.file(b"a"), ring.file(b"b")
    set_class(ring, high, "replica:3")
    ring.commit(high, piece_of(1, 0, 10), piece_of(1, 1 << 27, 10), objects=[new(ring, 1, "replica:3")])
    ring.commit(low, piece_of(1, 0, 10))
    assert give(ring, low).changed_count == 0
    ring.do(m.RemoveXattr(high, CLASS_XATTR))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reclass, "_REFERENCES_MAX", 2)
        assert give(ring, low).changed_count == 0
    assert give(ring, low).changed_count == 1
    assert stored(ring, 1) == ("replica:2", "replica:3")


def test_reclass_goes_on_where_it_stopped(ring: TrialNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few objects at a time, whatever lies in one chunk."""
    monkeypatch.setattr(reclass, "OBJECTS_MAX", 2)
    file = ring.file(b"a")
    objects = [new(ring, label, "replica:2") for label in range(1, 6)]
    places = [*((label, 100 * label) for label in range(1, 5)), (5, 1 << 26)]
    ring.commit(file, *[piece_of(label, at, 10) for label, at in places], objects=objects)
    set_class(ring, file, "replica:3")
    position, counts = (0, b""), []
    while position[0] >= 0:
        answer = give(ring, file, *position)
        position = answer.next_chunk, answer.after
        counts.append(answer.changed_count)
    assert counts == [2, 2, 1]
    assert {stored(ring, label)[0] for label in range(1, 6)} == {"replica:3"}


def test_reclass_refused(ring: TrialNamespace) -> None:
    """No such inode; no file."""
    with refused(Code.STALE):
        give(ring, 999)
    with refused(Code.INVALID):
        give(ring, 1)
