"""chmod, chown, utimensat, truncate's attributes, statvfs; suid and sgid that go when they must; times that move when they must."""

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.posix import ALICE, BOB, UTIME_NOW, UTIME_OMIT, as_user, outcome, tick, utimensat

SECOND_NS = 10**9


def mode_of(path: Path) -> str:
    """Permission bits in octal."""
    return oct(stat.S_IMODE(path.lstat().st_mode))


@pytest.mark.parametrize("mode", [0, 0o1, 0o644, 0o1777, 0o2755, 0o4755, 0o6711, 0o7777], ids=oct)
def test_chmod(place: Path, mode: int) -> None:
    """Every mode is kept, on a file, a directory, through a symlink and by descriptor; the type stays."""
    (place / "file").touch()
    (place / "dir").mkdir()
    (place / "link").symlink_to("file")
    (place / "link").chmod(mode)
    (place / "dir").chmod(mode)
    assert mode_of(place / "file") == mode_of(place / "dir") == oct(mode)
    with open(place / "file", "rb") as file:
        os.fchmod(file.fileno(), 0o600)
    assert mode_of(place / "file") == oct(0o600)
    assert (place / "file").is_file()
    assert (place / "dir").is_dir()


@pytest.mark.parametrize(
    ("call", "owner", "expected"),
    [
        (lambda path: os.chmod(path, 0o700), ALICE, "ok"),
        (lambda path: os.chmod(path, 0o700), BOB, "EPERM"),
        (lambda path: os.chown(path, BOB, -1), ALICE, "EPERM"),
        (lambda path: os.chown(path, -1, BOB), ALICE, "EPERM"),
        (lambda path: os.chown(path, -1, ALICE), ALICE, "ok"),
        (lambda path: os.chown(path, ALICE, ALICE), ALICE, "ok"),
        (lambda path: os.chown(path, -1, 30003), ALICE, "ok"),
        (lambda path: os.chown(path, -1, -1), BOB, "ok"),
        (lambda path: os.utime(path, (1, 1)), ALICE, "ok"),
        (lambda path: os.utime(path, (1, 1)), BOB, "EPERM"),
        (lambda path: os.utime(path), BOB, "EACCES"),
        (lambda path: os.truncate(path, 0), BOB, "EACCES"),
        (lambda path: os.setxattr(path, "user.k", b"v"), BOB, "EACCES"),
        (lambda path: os.setxattr(path, "user.k", b"v"), ALICE, "ok"),
        (lambda path: os.setxattr(path, "trusted.k", b"v"), ALICE, "EPERM"),
    ],
)
def test_who_may_change(place: Path, call: Callable[[Path], object], owner: int, expected: str) -> None:
    """Alice, in group 30003, changes a file of hers or of Bob's (mode 0644)."""
    path = place / "file"
    path.touch()
    path.chmod(0o644)
    os.chown(path, owner, owner)
    assert as_user(ALICE, lambda: outcome(call, path), groups=(30003,)) == expected


def test_chown(place: Path) -> None:
    """Owner and group are kept, large ones too; -1 leaves one; lchown is of the symlink."""
    (place / "file").touch()
    (place / "link").symlink_to("file")
    for uid, gid, expected in ((5, 6, (5, 6)), (-1, 7, (5, 7)), (8, -1, (8, 7)), (2**32 - 2, 2**31, (2**32 - 2, 2**31))):
        os.chown(place / "link", uid, gid)
        status = (place / "file").stat()
        assert (status.st_uid, status.st_gid) == expected
    os.lchown(place / "link", 9, 10)
    status = (place / "link").lstat()
    assert (status.st_uid, status.st_gid) == (9, 10)
    assert (place / "file").stat().st_uid == 2**32 - 2


def write_one(path: Path) -> None:
    """Overwrites a byte."""
    fd = os.open(path, os.O_WRONLY)
    os.write(fd, b"x")
    os.close(fd)


CLEARING: dict[str, Callable[[Path], object]] = {
    "write": write_one,
    "truncate": lambda path: os.truncate(path, 1),
    "open with O_TRUNC": lambda path: os.close(os.open(path, os.O_WRONLY | os.O_TRUNC)),
    "chown to oneself": lambda path: os.chown(path, ALICE, ALICE),
}


@pytest.mark.parametrize(("before", "after"), [(0o6777, 0o777), (0o4777, 0o777), (0o2777, 0o777), (0o2767, 0o2767)], ids=oct)
@pytest.mark.parametrize("call", CLEARING)
def test_suid_goes_when_a_user_changes_the_file(place: Path, call: str, before: int, after: int) -> None:
    """A write, truncate or chown by its owner takes suid, and sgid where the group may execute."""
    path = place / "program"
    path.write_bytes(b"content")
    os.chown(path, ALICE, ALICE)
    path.chmod(before)
    as_user(ALICE, lambda: CLEARING[call](path))
    assert mode_of(path) == oct(after)


@pytest.mark.parametrize("call", ["write", "truncate", "open with O_TRUNC"])
def test_suid_stays_when_root_changes_the_file(place: Path, call: str, driver: str) -> None:
    """Who has CAP_FSETID keeps the bits. Through pyfuse3 every write clears them: it does not hand on whether that is wanted."""
    path = place / "program"
    path.write_bytes(b"content")
    path.chmod(0o6777)
    CLEARING[call](path)
    assert mode_of(path) == oct(0o777 if driver == "pyfuse3" and call == "write" else 0o6777)


@pytest.mark.parametrize("call", [": >", "truncate -s 3"])
def test_suid_is_a_matter_of_the_capability(place: Path, call: str, driver: str) -> None:
    """Root without CAP_FSETID loses the bits, a user with it keeps them; pyfuse3 is told of users only."""
    if driver == "pyfuse3":
        pytest.skip("no capability is told there")
    place.chmod(0o755)
    user = [f"--reuid={ALICE}", f"--regid={ALICE}", "--clear-groups"]
    for who, after in (
        (["--bounding-set=-fsetid"], 0o777),
        ([*user, "--inh-caps=+fsetid", "--ambient-caps=+fsetid"], 0o6777),
        (user, 0o777),
    ):
        path = place / f"program{len(who)}"
        path.write_bytes(b"content")
        os.chown(path, ALICE, ALICE)
        path.chmod(0o6777)
        subprocess.run(["setpriv", *who, "sh", "-c", f"{call} {path}"], check=True)
        assert mode_of(path) == oct(after), who


def test_suid_goes_when_root_gives_the_file_away(place: Path) -> None:
    """chown clears them whoever calls it; a directory keeps its setgid bit."""
    (place / "program").touch()
    (place / "program").chmod(0o6777)
    (place / "dir").mkdir()
    (place / "dir").chmod(0o2755)
    os.chown(place / "program", ALICE, ALICE)
    os.chown(place / "dir", ALICE, ALICE)
    assert mode_of(place / "program") == oct(0o777)
    assert mode_of(place / "dir") == oct(0o2755)


def test_sgid_is_not_for_strangers_to_the_group(place: Path) -> None:
    """chmod by an owner who is not in the file's group, and creation in such a directory, leave sgid out."""
    (place / "file").touch()
    os.chown(place / "file", ALICE, BOB)
    as_user(ALICE, lambda: (place / "file").chmod(0o2755))
    assert mode_of(place / "file") == oct(0o755)
    as_user(ALICE, lambda: (place / "file").chmod(0o2755), groups=(BOB,))
    assert mode_of(place / "file") == oct(0o2755)
    os.chown(place, 0, BOB)
    place.chmod(0o2777)
    as_user(ALICE, lambda: os.close(os.open(place / "new", os.O_CREAT | os.O_WRONLY, 0o2755)), umask=0)
    assert mode_of(place / "new") == oct(0o755)


@pytest.mark.parametrize(
    "seconds", [0, 1, 1_700_000_000, 2**31 - 1, 2**31, 2**32, 2**33], ids=["epoch", "1", "now", "2038-", "2038+", "2106", "2242"]
)
@pytest.mark.parametrize("nanoseconds", [0, 1, 999_999_999])
def test_times_are_kept_to_the_nanosecond(place: Path, seconds: int, nanoseconds: int) -> None:
    """atime and mtime are as given, for files, directories and symlinks; stat says so at once and after a reopen."""
    (place / "file").write_text("x")
    (place / "dir").mkdir()
    (place / "link").symlink_to("file")
    for name in ("file", "dir", "link"):
        atime, mtime = (seconds, nanoseconds), (seconds + 1, 999_999_999 - nanoseconds)
        utimensat(place / name, atime, mtime, follow=False)
        status = (place / name).lstat()
        assert status.st_atime_ns == atime[0] * SECOND_NS + atime[1]
        assert status.st_mtime_ns == mtime[0] * SECOND_NS + mtime[1]


def test_times_before_the_epoch(place: Path) -> None:
    """1960 is a time too."""
    (place / "file").touch()
    os.utime(place / "file", ns=(-315_619_200 * SECOND_NS, -1))
    status = (place / "file").stat()
    assert (status.st_atime_ns, status.st_mtime_ns) == (-315_619_200 * SECOND_NS, -1)


def test_utime_omit_and_now(place: Path) -> None:
    """UTIME_OMIT leaves one, UTIME_NOW takes the time of the call; both omitted changes nothing, ctime included."""
    path = place / "file"
    path.touch()
    os.utime(path, ns=(1000, 2000))
    utimensat(path, (0, UTIME_OMIT), (7, 7))
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (1000, 7 * SECOND_NS + 7)
    utimensat(path, (8, 8), (0, UTIME_OMIT))
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (8 * SECOND_NS + 8, 7 * SECOND_NS + 7)
    (place / "reference").touch()
    tick()
    utimensat(path, (0, UTIME_NOW), (0, UTIME_OMIT))
    assert path.stat().st_atime_ns > (place / "reference").stat().st_mtime_ns
    assert path.stat().st_mtime_ns == 7 * SECOND_NS + 7
    before = path.stat()
    tick()
    utimensat(path, (0, UTIME_OMIT), (0, UTIME_OMIT))
    assert path.stat() == before


CHANGES: dict[str, tuple[Callable[[Path], object], bool]] = {
    "chmod": (lambda path: path.chmod(0o640), False),
    "chown": (lambda path: os.chown(path, 1, 1), False),
    "utime": (lambda path: os.utime(path, ns=(5, 5)), False),
    "setxattr": (lambda path: os.setxattr(path, "user.k", b"v"), False),
    "link": (lambda path: os.link(path, path.with_name("link")), False),
    "rename": (lambda path: path.rename(path.with_name("renamed")).rename(path), False),
    "write": (write_one, True),
    "append": (lambda path: path.open("ab").write(b"more"), True),
    "truncate down": (lambda path: os.truncate(path, 1), True),
    "truncate up": (lambda path: os.truncate(path, 1_000_000), True),
}


@pytest.mark.parametrize("change", CHANGES)
def test_ctime_and_mtime(place: Path, change: str) -> None:
    """Every change of the inode moves ctime; changes of the bytes move mtime, and nothing else does."""
    path = place / "file"
    path.write_bytes(b"content")
    os.utime(path, ns=(100, 200))
    before = path.stat()
    tick()
    call, changes_bytes = CHANGES[change]
    call(path)
    after = path.stat()
    assert after.st_ctime_ns > before.st_ctime_ns
    if changes_bytes:
        assert after.st_mtime_ns > before.st_mtime_ns
    elif change != "utime":
        assert after.st_mtime_ns == before.st_mtime_ns


def test_mtime_set_after_a_write_stays(place: Path) -> None:
    """What cp -p and tar do: write, set the time, close. The time set is the one that stays, also after a sync and a reopen."""
    path = place / "file"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"x" * 200_000)
    os.utime(fd, ns=(1_000_000_001, 2_000_000_002))
    assert os.fstat(fd).st_mtime_ns == 2_000_000_002
    os.fsync(fd)
    os.close(fd)
    assert path.stat().st_mtime_ns == 2_000_000_002
    with open(path, "rb") as file:
        file.read()
    assert path.stat().st_mtime_ns == 2_000_000_002


@pytest.mark.parametrize(
    ("size", "expected"),
    [(-1, "EINVAL"), (0, "ok"), (1, "ok"), (2**40, "ok"), (2**63 - 1, "EFBIG")],
    ids=["-1", "0", "1", "2^40", "max"],
)
def test_truncate(place: Path, size: int, expected: str) -> None:
    """Sizes that are none are EINVAL, those past the largest file EFBIG; a refused truncate changes nothing."""
    path = place / "file"
    path.write_bytes(b"content")
    assert outcome(os.truncate, path, size) == expected
    assert path.stat().st_size == (size if expected == "ok" else 7)
    with open(path, "r+b") as file:
        assert outcome(os.ftruncate, file.fileno(), size) == expected


@pytest.mark.parametrize(("name", "expected"), [("dir", "EISDIR"), ("absent", "ENOENT"), ("fifo", "EINVAL"), ("file/x", "ENOTDIR")])
def test_truncate_errors(place: Path, name: str, expected: str) -> None:
    """Only files have a size to set."""
    (place / "dir").mkdir()
    (place / "file").touch()
    os.mkfifo(place / "fifo")
    assert outcome(os.truncate, place / name, 0) == expected


def test_largest_file(place: Path, is_ringfs: bool) -> None:
    """The largest file size of ringfs (base/limits.py) can be set, one byte more cannot."""
    if not is_ringfs:
        pytest.skip("other file systems have other limits")
    from ringfs.base.limits import FILE_BYTES_MAX  # only where ringfs is under test

    path = place / "file"
    path.touch()
    assert outcome(os.truncate, path, FILE_BYTES_MAX) == "ok"
    assert path.stat().st_size == FILE_BYTES_MAX
    assert outcome(os.truncate, path, FILE_BYTES_MAX + 1) == "EFBIG"
    with open(path, "r+b") as file:
        os.pwrite(file.fileno(), b"end", FILE_BYTES_MAX - 3)
        assert os.pread(file.fileno(), 10, FILE_BYTES_MAX - 4) == b"\0end"


def test_write_past_the_largest_file_is_told(place: Path) -> None:
    """A write that no file can hold fails: at once, or at the latest when it is synced."""
    fd = os.open(place / "file", os.O_RDWR | os.O_CREAT)

    def write_and_sync() -> None:
        os.pwrite(fd, b"x", 2**62)
        os.fsync(fd)

    assert outcome(write_and_sync) == "EFBIG"
    assert outcome(os.close, fd) in ("ok", "EFBIG")


def test_truncate_to_the_same_size(place: Path) -> None:
    """Its times move, and its bytes stay."""
    path = place / "file"
    path.write_bytes(b"x" * 100_000)
    before = path.stat()
    tick()
    os.truncate(path, before.st_size)
    assert path.stat().st_mtime_ns > before.st_mtime_ns
    assert path.read_bytes() == b"x" * 100_000


def test_blocks(place: Path) -> None:
    """st_blocks counts what is stored, not what is a hole; st_blksize is a size that programs can use."""
    path = place / "file"
    with open(path, "wb") as file:
        file.truncate(1 << 30)
        file.flush()
        os.fsync(file.fileno())
    assert path.stat().st_blocks * 512 < 1 << 20
    path.write_bytes(os.urandom(1 << 20))
    with open(path, "rb") as file:
        os.fsync(file.fileno())
    assert path.stat().st_blocks * 512 >= 1 << 20
    assert path.stat().st_blksize >= 4096


def test_statvfs(place: Path) -> None:
    """Figures that programs can reckon with."""
    figures = os.statvfs(place)
    assert figures.f_namemax == 255
    assert 0 < figures.f_bavail <= figures.f_bfree <= figures.f_blocks
    assert 0 < figures.f_ffree <= figures.f_files
    assert figures.f_bsize >= 512
    assert not figures.f_flag & os.ST_RDONLY


def test_access(place: Path) -> None:
    """access(2) answers for the caller's real identity; root may all but execute what nobody may."""
    (place / "file").touch()
    (place / "file").chmod(0o644)

    def answers() -> list[bool]:
        return [os.access(place / "file", mode) for mode in (os.F_OK, os.R_OK, os.W_OK, os.X_OK)]

    assert as_user(ALICE, answers) == [True, True, False, False]
    assert answers() == [True, True, True, False]
    (place / "file").chmod(0o001)
    assert os.access(place / "file", os.X_OK)
