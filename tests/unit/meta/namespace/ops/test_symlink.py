"""Symlink: what it looks like, and which targets there are."""

from ringfs.base.errors import Code
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages import queries as q
from tests.support.namespace import TrialNamespace
from tests.support.refusals import refused


def test_looks(trial: TrialNamespace) -> None:
    """Mode 0777, size the target's; ReadLink gives it back."""
    link = trial.symlink(b"a", b"some/where")
    assert (trial.attributes(link).mode, trial.attributes(link).size_bytes) == (0o120777, 10)
    assert trial.ask(q.ReadLink(link)).target == b"some/where"


def test_removed_with_its_target(trial: TrialNamespace) -> None:
    """No row of it is left."""
    rows = len(trial.view.pairs())
    trial.symlink(b"a")
    trial.do(m.Unlink(1, b"a"))
    assert len(trial.view.pairs()) == rows + 1, "one more reply, nothing else"


def test_targets_refused(trial: TrialNamespace) -> None:
    """Over 4095 bytes, empty, or with NUL."""
    trial.symlink(b"longest", b"t" * 4095)
    with refused(Code.NAME_TOO_LONG):
        trial.symlink(b"a", b"t" * 4096)
    with refused(Code.NOT_FOUND):
        trial.symlink(b"a", b"")
    with refused(Code.INVALID):
        trial.symlink(b"a", b"t\0")
