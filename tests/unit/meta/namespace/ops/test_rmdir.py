"""Rmdir: only empty directories go."""

from ringfs.base.errors import Code
from ringfs.meta.namespace import acl
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages import queries as q
from tests.support.namespace import TrialNamespace
from tests.support.refusals import refused


def test_empty(trial: TrialNamespace) -> None:
    """It goes; its parent has a link less and is changed now."""
    inode = trial.directory(b"d")
    answer = trial.do(m.Rmdir(1, b"d"))
    assert (answer.parent.links, answer.parent.mtime_ns, answer.removed.links) == (2, trial.now_ns, 0)
    assert not trial.exists(inode)


def test_refused(trial: TrialNamespace) -> None:
    """NOT_EMPTY, NOT_DIRECTORY, NOT_FOUND."""
    inner = trial.directory(b"d")
    trial.file(b"f", inner)
    with refused(Code.NOT_EMPTY):
        trial.do(m.Rmdir(1, b"d"))
    with refused(Code.NOT_DIRECTORY):
        trial.do(m.Rmdir(inner, b"f"))
    with refused(Code.NOT_FOUND):
        trial.do(m.Rmdir(1, b"x"))


def test_held(trial: TrialNamespace) -> None:
    """An open directory stays readable, empty; its ".." is itself, and lookups find nothing."""
    inode = trial.directory(b"d")
    trial.do(m.Rmdir(1, b"d"), holders=[trial.session])
    assert trial.attributes(inode).links == 0
    assert trial.names(inode) == []
    assert trial.ask(q.Lookup(inode, b"a")).attributes is None
    assert trial.ask(q.Lookup(inode, b"..")).attributes.inode == inode


def test_xattrs_go_too(trial: TrialNamespace) -> None:
    """A directory with a default ACL leaves nothing behind."""
    inode = trial.directory(b"d")
    entries = [acl.AclEntry(tag, 7, acl.UNDEFINED_ID) for tag in (acl.USER_OBJ, acl.GROUP_OBJ, acl.OTHER)]
    trial.do(m.SetXattr(inode, acl.DEFAULT, acl.serialize(entries), 0, False))
    trial.do(m.Rmdir(1, b"d"))
    assert not [key for key in trial.view.pairs() if key[:1] == b"X"]
