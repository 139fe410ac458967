"""What stewards tell and ask: live objects, forms, references, objects that nobody knows."""

import pytest

from ringfs.base.errors import Code
from ringfs.base.limits import DELETE_GRACE_NS, PUT_FRESH_NS
from ringfs.meta.namespace import facts
from ringfs.meta.namespace.condemned import condemned_page, find_condemned
from ringfs.meta.namespace.live_objects import list_live, list_references
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages.heal import ListLive, ListReferences, LiveObject, Reference, Reform, Reformed, Sweep
from tests.support.namespace import SECOND, TrialNamespace, object_id, piece_of
from tests.support.refusals import refused


@pytest.fixture
def files(trial: TrialNamespace) -> TrialNamespace:
    """File 2 points to objects 1, 2 and 3, twice to 1; file 3 to 1."""
    for name in (b"a", b"b"):
        trial.file(name)
    objects = [trial.new_object(label, 1000 * label) for label in (1, 2, 3)]
    far = piece_of(1, 1 << 26, 7)
    trial.commit(2, *[piece_of(label, 10_000 * label, 500) for label in (1, 2, 3)], far, objects=objects)
    trial.commit(3, piece_of(1, 0, 3))
    return trial


def live(trial: TrialNamespace, after: bytes = b"", stop: bytes = b"", limit: int = 10) -> tuple[list[int], bool]:
    page = list_live(trial.view, ListLive(after, stop, limit))
    return [int.from_bytes(each.object, "big") for each in page.objects], page.more


def test_live_objects(files: TrialNamespace) -> None:
    """In order of id, between bounds, a page at a time."""
    assert live(files) == ([1, 2, 3], False)
    assert live(files, limit=2) == ([1, 2], True)
    assert live(files, after=object_id(2)) == ([3], False)
    assert live(files, after=object_id(1), stop=object_id(3)) == ([2], False)
    assert live(files, stop=object_id(1)) == ([], False)
    assert live(files, after=object_id(3), stop=object_id(2)) == ([], False)
    assert live(files, limit=0) == ([1], True)
    first = list_live(files.view, ListLive(b"", b"", 1)).objects[0]
    assert first == LiveObject(object_id(1), 1000, 510, "replica:2", "replica:2")


def test_references(files: TrialNamespace) -> None:
    """Every chunk that points to the object, a page at a time."""
    both = [Reference(2, 0, 500), Reference(2, 1, 7), Reference(3, 0, 3)]
    page = list_references(files.view, ListReferences(object_id(1), 0, 0, 10))
    assert (page.references, page.more) == (both, False)
    page = list_references(files.view, ListReferences(object_id(1), 2, 0, 1))
    assert (page.references, page.more) == (both[1:2], True)
    assert not list_references(files.view, ListReferences(object_id(9), 0, 0, 10)).references


def reform(trial: TrialNamespace, *forms: tuple[int, str, str]) -> list[bytes]:
    done: list[bytes] = trial.system(Reform([Reformed(object_id(label), old, new) for label, old, new in forms])).objects
    return done


def test_reform(files: TrialNamespace) -> None:
    """From the old form to the new one, and the same answer again; what is not as was thought is passed over."""
    wishes = [(1, "replica:2", "ec:4+2"), (2, "replica:3", "ec:4+2"), (9, "replica:2", "ec:4+2")]
    for _ in range(2):
        assert reform(files, *wishes) == [object_id(1)]
    assert [each.form for each in list_live(files.view, ListLive(b"", b"", 10)).objects] == ["ec:4+2", "replica:2", "replica:2"]


def test_reform_keeps_the_promise(files: TrialNamespace) -> None:
    """A form that survives less than the class promises is passed over; what is none is refused."""
    assert reform(files, (1, "replica:2", "replica:1")) == []
    assert reform(files, (1, "replica:2", "ec:2+1")) == [object_id(1)]
    for bad in ("ec:1+1", "replica:0", ""):
        with refused(Code.INVALID):
            reform(files, (2, "replica:2", bad))


# --- sweep ------------------------------------------------------------------------------------------------------------


def sweep(trial: TrialNamespace, *labels: int) -> int:
    count: int = trial.system(Sweep(1, [object_id(label) for label in labels])).count
    return count


def test_sweep_condemns_what_nobody_knows(files: TrialNamespace) -> None:
    """Once; nothing live, nothing that is condemned already; nodes are told after the grace."""
    files.do(m.Commit([files.new_object(4, 100)], []))
    before = find_condemned(files.view, object_id(4))
    assert sweep(files, 1, 4, 5, 5) == 1
    assert find_condemned(files.view, object_id(4)) == before
    assert sweep(files, 5) == 0
    assert live(files) == ([1, 2, 3], False)
    assert facts.counters(files.view).dead_bytes == 490 + 1500 + 2500 + 100
    told = condemned_page(files.view, 0, 10, files.now_ns + DELETE_GRACE_NS)
    assert [each.object for each in told.entries] == [object_id(4), object_id(5)]


def test_a_slow_client_puts_again_after_a_sweep(files: TrialNamespace) -> None:
    """The verdict is young, but vouches for no copies; a put that is fresh takes it back, with the size that it has."""
    sweep(files, 5)
    stale = files.new_object(5, 100, age_ns=PUT_FRESH_NS)
    with refused(Code.NO_OBJECT):
        files.commit(2, piece_of(5, 0, 10), objects=[stale])
    files.commit(2, piece_of(5, 0, 10), objects=[files.new_object(5, 100)])
    assert live(files)[0] == [1, 2, 3, 5]
    assert find_condemned(files.view, object_id(5)) is None


def test_what_is_declared_late_for_nothing_vouches_for_no_copies(files: TrialNamespace) -> None:
    """A commit that declares what it put long ago and does not point to it condemns it; the next such commit may not use it."""
    files.do(m.Commit([files.new_object(6, 100, age_ns=PUT_FRESH_NS + SECOND)], []))
    assert find_condemned(files.view, object_id(6)) is not None
    with refused(Code.NO_OBJECT):
        files.commit(2, piece_of(6, 0, 10), objects=[files.new_object(6, 100, age_ns=PUT_FRESH_NS + SECOND)])
