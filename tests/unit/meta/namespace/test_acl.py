"""ACLs: the xattr format byte by byte, validity, and the arithmetic between them and modes."""

import itertools

import pytest

from ringfs.base.errors import Code
from ringfs.meta.namespace import acl
from ringfs.meta.namespace.acl import GROUP, GROUP_OBJ, MASK, OTHER, UNDEFINED_ID, USER, USER_OBJ, Acl, AclEntry
from tests.support.refusals import refused

#: getfattr -e hex of a file after `setfacl -m u:1000:rw-` on mode 0644: Linux's own bytes.
LINUX = bytes.fromhex("02000000 01000600ffffffff 02000600e8030000 04000400ffffffff 10000600ffffffff 20000400ffffffff")


def of(*entries: tuple[int, int]) -> Acl:
    return [AclEntry(tag, bits, 5 if tag in (USER, GROUP) else UNDEFINED_ID) for tag, bits in entries]


def test_golden() -> None:
    """Parsing Linux's bytes and writing them again gives the same."""
    parsed = acl.parse(LINUX)
    assert parsed[1] == AclEntry(USER, 6, 1000)
    assert acl.serialize(parsed) == LINUX
    assert acl.mode_of(parsed) == (0o664, False)


def test_ids_that_mean_nothing_are_cleared() -> None:
    """Entries that name nobody get the undefined id, as Linux writes them."""
    assert acl.parse(LINUX.replace(b"\xff\xff\xff\xff", b"\0\0\0\0")) == acl.parse(LINUX)


@pytest.mark.parametrize("value", [b"", b"\2\0\0", LINUX[:-1], LINUX + b"\0"])
def test_wrong_sizes(value: bytes) -> None:
    """Less than a header, or no whole entries: INVALID."""
    with refused(Code.INVALID):
        acl.parse(value)


def test_versions_and_emptiness() -> None:
    """Only version 2; no entries mean no ACL."""
    with refused(Code.NOT_SUPPORTED):
        acl.parse(b"\1\0\0\0")
    assert acl.parse(b"\2\0\0\0") == []


BASE = ((USER_OBJ, 7), (GROUP_OBJ, 5), (OTHER, 0))


@pytest.mark.parametrize(
    "entries",
    [
        BASE[:2],
        BASE[1:],
        (BASE[0], BASE[2]),
        (BASE[1], BASE[0], BASE[2]),
        (*BASE, (MASK, 7)),
        (BASE[0], BASE[0], *BASE[1:]),
        (*BASE, BASE[2]),
        (BASE[0], (USER, 4), BASE[1], BASE[2]),
        (BASE[0], BASE[1], (GROUP, 4), BASE[2]),
        (BASE[0], BASE[1], (MASK, 4), (GROUP, 4), BASE[2]),
        (BASE[0], (GROUP, 4), BASE[1], (MASK, 7), BASE[2]),
        (BASE[0], BASE[1], (MASK, 4), (MASK, 4), BASE[2]),
        ((USER_OBJ, 8), *BASE[1:]),
        ((USER_OBJ, 7), (3, 4), *BASE[1:]),
        ((0, 4), *BASE),
    ],
)
def test_invalid(entries: tuple[tuple[int, int], ...]) -> None:
    """Missing, misplaced or doubled entries, named ones without mask, bits that are none, tags that are none."""
    with refused(Code.INVALID):
        acl.parse(acl.serialize(of(*entries)))


def test_named_nobody() -> None:
    """A named entry needs a name."""
    with refused(Code.INVALID):
        acl.parse(acl.serialize([*of(BASE[0]), AclEntry(USER, 4, UNDEFINED_ID), *of(BASE[1], (MASK, 7), BASE[2])]))


@pytest.mark.parametrize(
    "entries",
    [
        BASE,
        (BASE[0], BASE[1], (MASK, 2), BASE[2]),
        (BASE[0], (USER, 4), (USER, 1), BASE[1], (GROUP, 4), (GROUP, 0), (MASK, 7), BASE[2]),
    ],
)
def test_valid(entries: tuple[tuple[int, int], ...]) -> None:
    """The minimal one, one with a mask only, a full one."""
    assert acl.parse(acl.serialize(of(*entries))) == of(*entries)


def kernel_create_masq(entries: Acl, mode: int) -> int:
    """posix_acl_create_masq, transcribed line by line as an oracle."""
    whole = mode
    group = mask = None
    for entry in entries:
        if entry.tag == USER_OBJ:
            entry.permissions &= (mode >> 6) | ~7
            mode &= (entry.permissions << 6) | ~0o700
        elif entry.tag == GROUP_OBJ:
            group = entry
        elif entry.tag == OTHER:
            entry.permissions &= mode | ~7
            mode &= entry.permissions | ~7
        elif entry.tag == MASK:
            mask = entry
    chosen = mask or group
    assert chosen is not None
    chosen.permissions &= (mode >> 3) | ~7
    mode &= (chosen.permissions << 3) | ~0o070
    return (whole & ~0o777) | (mode & 0o777)


def test_restrict_against_the_kernel() -> None:
    """All combinations of some bits and modes, with and without a mask."""
    for user, group, mask, other in itertools.product((0, 5, 7), (0, 6), (None, 0, 3, 7), (0, 4, 7)):
        entries = [(USER_OBJ, user), (USER, 6), (GROUP_OBJ, group), *([] if mask is None else [(MASK, mask)]), (OTHER, other)]
        for mode in (0o100000, 0o107777, 0o100644, 0o040751, 0o101270):
            ours, theirs = of(*entries), of(*entries)
            assert (acl.restrict(ours, mode), ours) == (kernel_create_masq(theirs, mode), theirs)


def test_mode_and_back() -> None:
    """chmod by an ACL's own mode changes nothing; by another one, owner, other, and mask or group follow."""
    plain, masked = of(*BASE), of(BASE[0], BASE[1], (MASK, 2), BASE[2])
    for entries in (plain, masked):
        acl.follow_mode(entries, acl.mode_of(entries)[0])
    assert (plain, masked) == (of(*BASE), of(BASE[0], BASE[1], (MASK, 2), BASE[2]))
    for entries in (plain, masked):
        acl.follow_mode(entries, 0o100641)
        assert acl.mode_of(entries)[0] == 0o641
    assert [entry.permissions for entry in masked] == [6, 5, 4, 1]
    assert [acl.mode_of(entries)[1] for entries in (plain, masked)] == [True, False]
