"""SetXattr: names, flags, sizes, which inodes may have what, and ACLs with what they do to the mode."""

import pytest

from ringfs.base.errors import Code
from ringfs.base.limits import XATTR_LIST_BYTES_MAX
from ringfs.meta.namespace import acl
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages import queries as q
from ringfs.wire.messages.common import CLASS_XATTR, Attributes
from tests.support.namespace import TrialNamespace
from tests.support.refusals import refused

CREATE, REPLACE = m.XATTR_CREATE, m.XATTR_REPLACE


def put(trial: TrialNamespace, inode: int, name: bytes, value: bytes = b"v", flags: int = 0, kill_sgid: bool = False) -> Attributes:
    answer: Attributes = trial.do(m.SetXattr(inode, name, value, flags, kill_sgid))
    assert answer == trial.attributes(inode)
    return answer


def value_of(trial: TrialNamespace, inode: int, name: bytes) -> bytes:
    value: bytes = trial.ask(q.GetXattr(inode, name)).value
    return value


def acl_of(*entries: tuple[int, int]) -> bytes:
    named = (acl.USER, acl.GROUP)
    return acl.serialize([acl.AclEntry(tag, bits, 5 if tag in named else acl.UNDEFINED_ID) for tag, bits in entries])


PLAIN = acl_of((acl.USER_OBJ, 6), (acl.GROUP_OBJ, 4), (acl.OTHER, 0))
FULL = acl_of((acl.USER_OBJ, 7), (acl.USER, 6), (acl.GROUP_OBJ, 5), (acl.MASK, 3), (acl.OTHER, 1))


def test_set_and_replace(trial: TrialNamespace) -> None:
    """Values of 0 to 64 KiB; the count is exact, ctime is now, mtime is not."""
    inode = trial.file(b"a")
    got = put(trial, inode, b"user.a", b"")
    assert (got.xattr_count, got.ctime_ns) == (1, trial.now_ns)
    assert got.mtime_ns < trial.now_ns
    assert put(trial, inode, b"user.a", b"x" * 65536).xattr_count == 1
    assert put(trial, inode, b"trusted.b").xattr_count == 2
    assert value_of(trial, inode, b"user.a") == b"x" * 65536
    assert trial.ask(q.ListXattrs(inode)).names == [b"trusted.b", b"user.a"]
    with refused(Code.XATTR_TOO_BIG):
        put(trial, inode, b"user.a", b"x" * 65537)


def test_flags(trial: TrialNamespace) -> None:
    """CREATE refuses what exists, REPLACE what does not, both together whatever is there; others are INVALID."""
    inode = trial.file(b"a")
    with refused(Code.NO_XATTR):
        put(trial, inode, b"user.a", flags=REPLACE)
    put(trial, inode, b"user.a", flags=CREATE)
    with refused(Code.EXISTS):
        put(trial, inode, b"user.a", flags=CREATE)
    put(trial, inode, b"user.a", b"w", flags=REPLACE)
    with refused(Code.EXISTS):
        put(trial, inode, b"user.a", flags=CREATE | REPLACE)
    with refused(Code.NO_XATTR):
        put(trial, inode, b"user.b", flags=CREATE | REPLACE)
    with refused(Code.INVALID):
        put(trial, inode, b"user.a", flags=4)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (b"", Code.RANGE),
        (b"user." + b"n" * 251, Code.RANGE),
        (b"user.", Code.INVALID),
        (b"user.a\0b", Code.INVALID),
        (b"system.other", Code.NOT_SUPPORTED),
        (b"nothing", Code.NOT_SUPPORTED),
        (b"os2.a", Code.NOT_SUPPORTED),
    ],
)
def test_names_refused(trial: TrialNamespace, name: bytes, code: Code) -> None:
    """The same for all three operations, and for the question."""
    inode = trial.file(b"a")
    with refused(code):
        put(trial, inode, name)
    with refused(code):
        trial.do(m.RemoveXattr(inode, name))
    with refused(code):
        value_of(trial, inode, name)


def test_who_may_have_what(trial: TrialNamespace) -> None:
    """user.* on files and directories only; trusted.* and security.* on everything."""
    for inode in (trial.symlink(b"s"), trial.file(b"p", mode=0o010644), trial.file(b"b", mode=0o060644)):
        with refused(Code.NOT_PERMITTED):
            put(trial, inode, b"user.a")
        put(trial, inode, b"trusted.a")
        put(trial, inode, b"security.selinux")
    put(trial, trial.directory(b"d"), b"user.a")
    with refused(Code.STALE):
        put(trial, 999, b"user.a")


def test_names_fit_one_list(trial: TrialNamespace) -> None:
    """256 names and their NULs fill what the class leaves of it, one more gives NO_SPACE; replacing goes on."""
    inode = trial.file(b"a")
    for index in range(255):
        put(trial, inode, b"user.%0250d" % index)
    left_bytes = XATTR_LIST_BYTES_MAX - 255 * 256 - len(CLASS_XATTR) - 1
    with refused(Code.NO_SPACE):
        put(trial, inode, b"user.".ljust(left_bytes, b"x"))
    put(trial, inode, b"user.".ljust(left_bytes - 1, b"x"))
    with refused(Code.NO_SPACE):
        put(trial, inode, b"user.a")
    assert put(trial, inode, b"user.%0250d" % 0, b"again").xattr_count == 256


def test_access_acl_sets_the_mode(trial: TrialNamespace) -> None:
    """The group bits are the mask's; sgid goes if asked for."""
    inode = trial.file(b"a", mode=0o106644)
    got = put(trial, inode, acl.ACCESS, FULL)
    assert (got.mode, got.xattr_count) == (0o106731, 1)
    assert value_of(trial, inode, acl.ACCESS) == FULL
    assert put(trial, inode, acl.ACCESS, FULL, kill_sgid=True).mode == 0o104731


def test_acl_that_is_a_mode(trial: TrialNamespace) -> None:
    """It becomes the mode and is not kept; one that was kept goes."""
    inode = trial.file(b"a")
    put(trial, inode, acl.ACCESS, FULL)
    got = put(trial, inode, acl.ACCESS, PLAIN)
    assert (got.mode, got.xattr_count) == (0o100640, 0)
    with refused(Code.NO_XATTR):
        value_of(trial, inode, acl.ACCESS)


def test_empty_acl_removes(trial: TrialNamespace) -> None:
    """No entries, or no value at all: the ACL goes, the mode stays."""
    for empty in (b"", acl.serialize([])):
        inode = trial.directory(b"d%d" % len(empty))
        put(trial, inode, acl.ACCESS, FULL)
        put(trial, inode, acl.DEFAULT, FULL)
        put(trial, inode, acl.ACCESS, empty)
        got = put(trial, inode, acl.DEFAULT, empty)
        assert (got.mode, got.xattr_count) == (0o040731, 0)


def test_acl_flags_do_not_count(trial: TrialNamespace) -> None:
    """As in Linux, CREATE and REPLACE mean nothing for ACLs."""
    inode = trial.directory(b"d")
    put(trial, inode, acl.ACCESS, FULL, flags=REPLACE)
    put(trial, inode, acl.ACCESS, FULL, flags=CREATE)


def test_acls_refused(trial: TrialNamespace) -> None:
    """A default ACL on a file, any on a symlink, malformed ones, other versions."""
    inode, link = trial.file(b"a"), trial.symlink(b"s")
    with refused(Code.ACCESS_DENIED):
        put(trial, inode, acl.DEFAULT, PLAIN)
    with refused(Code.NOT_SUPPORTED):
        put(trial, link, acl.ACCESS, PLAIN)
    with refused(Code.INVALID):
        put(trial, inode, acl.ACCESS, PLAIN[:-1])
    with refused(Code.NOT_SUPPORTED):
        put(trial, inode, acl.ACCESS, b"\1" + PLAIN[1:])


def test_default_acl_is_inherited(trial: TrialNamespace) -> None:
    """Files get it cut by their mode, directories besides as their own default; the umask does not count; symlinks get none."""
    parent = trial.directory(b"d", mode=0o777)
    put(trial, parent, acl.DEFAULT, FULL)
    file = trial.attributes(trial.file(b"f", parent, mode=0o100664, umask=0o777))
    below = trial.attributes(trial.directory(b"e", parent, mode=0o777, umask=0o777))
    # FULL is u7 g5 mask3 o1. The file asked for 664: owner 6, mask 3 & 6 = 2, other 1 & 4 = 0.
    assert (file.mode, file.xattr_count) == (0o100620, 1)
    assert (below.mode, below.xattr_count) == (0o040731, 2)
    assert value_of(trial, file.inode, acl.ACCESS) == acl_of(
        (acl.USER_OBJ, 6), (acl.USER, 6), (acl.GROUP_OBJ, 5), (acl.MASK, 2), (acl.OTHER, 0)
    )
    assert value_of(trial, below.inode, acl.DEFAULT) == FULL
    assert trial.attributes(trial.symlink(b"s", parent=parent)).xattr_count == 0


def test_default_acl_that_is_a_mode(trial: TrialNamespace) -> None:
    """A file made under it has a mode and no ACL."""
    parent = trial.directory(b"d")
    put(trial, parent, acl.DEFAULT, PLAIN)
    got = trial.attributes(trial.file(b"f", parent, mode=0o100666, umask=0o777))
    assert (got.mode, got.xattr_count) == (0o100640, 0)
