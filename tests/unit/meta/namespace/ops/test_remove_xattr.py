"""RemoveXattr: what is there goes; ACLs may be removed twice."""

from ringfs.base.errors import Code
from ringfs.meta.namespace import acl
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages import queries as q
from tests.support.namespace import TrialNamespace
from tests.support.refusals import refused


def test_removed(trial: TrialNamespace) -> None:
    """It is gone, the count follows, ctime is now."""
    inode = trial.file(b"a")
    trial.do(m.SetXattr(inode, b"user.a", b"1", 0, False))
    got = trial.do(m.RemoveXattr(inode, b"user.a"))
    assert got == trial.attributes(inode)
    assert (got.xattr_count, got.ctime_ns) == (0, trial.now_ns)
    with refused(Code.NO_XATTR):
        trial.ask(q.GetXattr(inode, b"user.a"))


def test_refused(trial: TrialNamespace) -> None:
    """What is not there; user.* where there cannot be any; no inode; a symlink's ACL."""
    inode, link = trial.file(b"a"), trial.symlink(b"s")
    trial.do(m.SetXattr(inode, b"user.a", b"1", 0, False))
    with refused(Code.NO_XATTR):
        trial.do(m.RemoveXattr(inode, b"user.b"))
    with refused(Code.NOT_PERMITTED):
        trial.do(m.RemoveXattr(link, b"user.a"))
    with refused(Code.STALE):
        trial.do(m.RemoveXattr(999, b"user.a"))
    with refused(Code.NOT_SUPPORTED):
        trial.do(m.RemoveXattr(link, acl.ACCESS))


def test_acl_that_is_not_there(trial: TrialNamespace) -> None:
    """Removing it succeeds and changes nothing, as in Linux."""
    inode = trial.directory(b"d")
    for name in (acl.ACCESS, acl.DEFAULT):
        assert not trial.outcome(m.RemoveXattr(inode, name)).changed
