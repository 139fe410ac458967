"""NoteAccesses: atime moves forward, and nothing else."""

from dataclasses import replace

from ringfs.base.errors import Code
from ringfs.wire.messages.files import FLAG_IMMUTABLE, NoteAccesses, SetFlags
from tests.support.namespace import SECOND, TrialNamespace
from tests.support.refusals import refused


def test_forward_alone(trial: TrialNamespace) -> None:
    """Not even `change` grows: nobody need drop what he cached."""
    file, directory = trial.file(b"f"), trial.directory(b"d")
    before, later_ns = trial.attributes(file), trial.now_ns + 100 * SECOND
    outcome = trial.outcome(NoteAccesses([file, directory], [later_ns, later_ns]))
    assert (outcome.changed, outcome.touched) == (True, set())
    assert trial.attributes(file) == replace(before, atime_ns=later_ns)
    assert trial.attributes(directory).atime_ns == later_ns
    assert not trial.outcome(NoteAccesses([file], [later_ns - 1])).changed


def test_what_is_gone(trial: TrialNamespace) -> None:
    """Is passed over; the others are noted."""
    file = trial.file(b"f")
    later_ns = trial.now_ns + 100 * SECOND
    trial.do(NoteAccesses([99, file], [later_ns, later_ns]))
    assert trial.attributes(file).atime_ns == later_ns


def test_immutable_files_are_read_too(trial: TrialNamespace) -> None:
    """As on Linux."""
    file = trial.file(b"f")
    trial.do(SetFlags(file, FLAG_IMMUTABLE, True))
    later_ns = trial.now_ns + 100 * SECOND
    trial.do(NoteAccesses([file], [later_ns]))
    assert trial.attributes(file).atime_ns == later_ns


def test_a_time_for_each(trial: TrialNamespace) -> None:
    """INVALID otherwise."""
    with refused(Code.INVALID):
        trial.do(NoteAccesses([1], []))
