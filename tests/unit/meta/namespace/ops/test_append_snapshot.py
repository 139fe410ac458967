"""AppendSnapshot: what keeps a snapshot's objects alive, until the leader lets them go."""

from stat import S_IFREG

from ringfs.base.errors import Code
from ringfs.base.limits import MIB, PUT_FRESH_NS
from ringfs.meta.namespace import facts, keys, system
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages.files import FLAG_IMMUTABLE
from tests.support.namespace import TrialNamespace, inline, object_id
from tests.support.refusals import refused


def append(trial: TrialNamespace, inode: int, *sizes_bytes: int, label: int = 1) -> int:
    """Keep new objects; the file."""
    objects = [trial.new_object(label + at, size_bytes) for at, size_bytes in enumerate(sizes_bytes)]
    number: int = trial.system(system.AppendSnapshot(inode, objects)).inode
    return number


def test_objects_are_kept_by_a_file_of_the_leader(trial: TrialNamespace) -> None:
    """It has no name, session 0 holds it, and its extents are the objects, each at a multiple of 8 MiB."""
    inode = append(trial, 0, 8 * MIB, 8 * MIB)
    assert append(trial, inode, 5, label=3) == inode
    assert trial.extents(inode) == [
        (at * 8 * MIB, size_bytes, 0, object_id(at + 1)) for at, size_bytes in enumerate((8 * MIB, 8 * MIB, 5))
    ]
    attributes = trial.attributes(inode)
    assert (attributes.mode, attributes.links, attributes.flags) == (S_IFREG, 0, FLAG_IMMUTABLE)
    assert (attributes.size_bytes, attributes.stored_bytes) == (16 * MIB + 5, 16 * MIB + 5)
    assert list(facts.orphans_of(trial.view, 0)) == [inode]
    assert facts.counters(trial.view).live_bytes == 16 * MIB + 5


def test_more_than_a_chunk(trial: TrialNamespace) -> None:
    """No extent crosses the end of a chunk, whatever the objects' sizes."""
    inode = append(trial, 0, *(8 * MIB - at for at in range(20)))
    assert [extent[0] for extent in trial.extents(inode)] == [at * 8 * MIB for at in range(20)]


def test_free_orphans_ends_it(trial: TrialNamespace) -> None:
    """One is let go of, the others stay; what both point to stays too."""
    old = append(trial, 0, 100, 200)
    new = append(trial, 0, 100)
    append(trial, new, 300, label=3)
    assert facts.counters(trial.view).live_bytes == 700
    trial.system(system.FreeOrphans(0, [old]))
    assert list(facts.orphans_of(trial.view, 0)) == [new]
    assert not trial.exists(old)
    assert trial.extents(new) == [(0, 100, 0, object_id(1)), (8 * MIB, 300, 0, object_id(3))]
    assert (facts.counters(trial.view).live_bytes, facts.counters(trial.view).dead_bytes) == (400, 200)
    trial.system(system.FreeOrphans(0, [new]))
    assert facts.counters(trial.view).live_bytes == 0
    assert facts.counters(trial.view).inode_count == 1


def test_sessions_do_not_touch_it(trial: TrialNamespace) -> None:
    """It gets no name, no content and no end from a client."""
    inode = append(trial, 0, 100)
    assert trial.commit(inode, inline(0, b"x")).code == Code.NOT_PERMITTED.number
    with refused(Code.NOT_PERMITTED):
        trial.do(m.Link(inode, 1, b"name"))
    trial.system(system.FreeOrphans(trial.session, [inode]))
    trial.system(system.EndSession(trial.session))
    assert trial.exists(inode)


def test_refusals(trial: TrialNamespace) -> None:
    """Files of sessions are no snapshots; an object that a deletion may have overtaken is put again."""
    file = trial.file(b"file")
    for inode in (file, 4711):
        with refused(Code.INVALID):
            append(trial, inode, 100)
    stale = trial.new_object(9, 100, age_ns=PUT_FRESH_NS)
    with refused(Code.NO_OBJECT):
        trial.system(system.AppendSnapshot(0, [stale]))
    assert not [key for key in trial.view.pairs() if key[:1] in (keys.HELD, keys.ORPHAN)]
