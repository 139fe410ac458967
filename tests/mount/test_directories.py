"""mkdir, rmdir and readdir(3): errors, link counts, and listings that stay right while entries come and go."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.posix import ALICE, DirectoryStream, as_user, names, outcome, tick

MANY = 5000


@pytest.mark.parametrize(
    ("path", "expected"),
    [("new", "ok"), ("dir", "EEXIST"), ("file", "EEXIST"), ("link", "EEXIST"), ("absent/new", "ENOENT"), ("file/new", "ENOTDIR")],
)
def test_mkdir(place: Path, path: str, expected: str) -> None:
    """What mkdir(2) says of each kind of name."""
    (place / "dir").mkdir()
    (place / "file").touch()
    (place / "link").symlink_to("absent")
    assert outcome(os.mkdir, place / path) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [("dir", "ok"), ("full", "ENOTEMPTY"), ("file", "ENOTDIR"), ("link", "ENOTDIR"), ("absent", "ENOENT"), ("file/x", "ENOTDIR")],
)
def test_rmdir(place: Path, path: str, expected: str) -> None:
    """What rmdir(2) says of each kind of name."""
    (place / "dir").mkdir()
    (place / "full/dir").mkdir(parents=True)
    (place / "file").touch()
    (place / "link").symlink_to("dir")
    assert outcome(os.rmdir, place / path) == expected


def test_mount_point_is_busy(mount_point: Path, is_ringfs: bool) -> None:
    """The root of a mount is not removed and not renamed."""
    if not is_ringfs:
        pytest.skip("a directory that stands in is no mount point")
    assert outcome(os.rmdir, mount_point) == "EBUSY"
    assert outcome(os.rename, mount_point, mount_point.with_name("other")) == "EBUSY"


def test_link_counts(place: Path) -> None:
    """A directory has two links and one more for each directory in it, through mkdir, rename and rmdir."""

    def links(*path: str) -> int:
        return place.joinpath(*path).stat().st_nlink

    assert links() == 2
    for name in ("a", "b", "a/x", "a/y"):
        (place / name).mkdir()
    (place / "a/file").touch()
    assert (links(), links("a"), links("b")) == (4, 4, 2)
    (place / "a/x").rename(place / "b/x")
    assert (links("a"), links("b")) == (3, 3)
    (place / "a/y").rename(place / "a/z")
    assert links("a") == 3
    (place / "a/z").rename(place / "b/x")
    assert (links("a"), links("b"), links("b", "x")) == (2, 3, 2)
    (place / "b/x").rmdir()
    assert links("b") == 2


def test_times_of_the_parent(place: Path) -> None:
    """Whatever makes, removes or renames an entry sets mtime and ctime of the directory; looking at it does not."""
    (place / "dir").mkdir()
    (place / "there").touch()
    (place / "there2").touch()
    directory = place / "dir"

    def times() -> tuple[int, int]:
        status = directory.stat()
        return status.st_mtime_ns, status.st_ctime_ns

    for change in (
        lambda: (directory / "file").touch(),
        lambda: (directory / "sub").mkdir(),
        lambda: (directory / "link").symlink_to("x"),
        lambda: os.link(place / "there", directory / "hard"),
        lambda: os.mkfifo(directory / "fifo"),
        lambda: (directory / "file").rename(directory / "renamed"),
        lambda: (directory / "renamed").rename(place / "out"),
        lambda: (place / "there2").rename(directory / "in"),
        lambda: (directory / "in").unlink(),
        lambda: (directory / "sub").rmdir(),
    ):
        before = times()
        tick()
        change()
        mtime, ctime = times()
        assert mtime > before[0]
        assert ctime > before[1]
    before = times()
    tick()
    os.listdir(directory)
    (directory / "hard").write_text("x")
    assert outcome(os.mkdir, directory / "hard") == "EEXIST"
    assert times() == before


def test_listing_tells_types_and_inodes(place: Path) -> None:
    """d_type and d_ino agree with lstat for every kind."""
    (place / "file").touch()
    (place / "dir").mkdir()
    (place / "link").symlink_to("dir")
    os.mkfifo(place / "fifo")
    os.mknod(place / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    with os.scandir(place) as entries:
        for entry in entries:
            status = os.lstat(entry.path)
            assert entry.inode() == status.st_ino, entry.name
            assert entry.is_symlink() == stat.S_ISLNK(status.st_mode), entry.name
            assert entry.is_dir(follow_symlinks=False) == stat.S_ISDIR(status.st_mode), entry.name
            assert entry.is_file(follow_symlinks=False) == stat.S_ISREG(status.st_mode), entry.name


def test_dot_entries(place: Path) -> None:
    """A listing has `.` and `..` once each."""
    stream = DirectoryStream(place)
    assert sorted(stream) == [".", ".."]
    stream.close()


def fill(directory: Path, prefix: str, count: int) -> set[str]:
    """Makes count empty files, and names them."""
    made = {f"{prefix}{number}" for number in range(count)}
    for name in made:
        (directory / name).touch()
    return made


def test_many_entries_while_they_come_and_go(place: Path) -> None:
    """No entry is seen twice and none that stays is missed, while others are removed, made and renamed between reads."""
    stay, go = fill(place, "stay", MANY // 2), sorted(fill(place, "go", MANY // 2))
    stream = DirectoryStream(place)
    seen: list[str] = []
    for count, name in enumerate(stream):
        seen.append(name)
        if count % 4 == 0 and go:
            (place / go.pop()).unlink()
        elif count % 4 == 1:
            (place / f"new{count}").touch()
        elif count % 4 == 2 and go:
            leaving = go.pop()
            (place / leaving).rename(place / f"renamed-{leaving}")
    stream.close()
    assert len(seen) == len(set(seen)), "an entry was seen twice"
    assert stay <= set(seen), f"missed: {sorted(stay - set(seen))[:5]}"
    remaining = {"stay", "go", "new", "renamed-go"}
    assert {name.rstrip("0123456789") for name in seen} - {".", ".."} <= remaining
    assert stay <= set(names(place))


def test_removing_while_listing_empties_the_directory(place: Path) -> None:
    """The loop that rm -r runs, one pass over a listing with removal of each entry, leaves nothing."""
    fill(place, "f", 2000)
    stream = DirectoryStream(place)
    for name in stream:
        if name not in (".", ".."):
            (place / name).unlink()
    stream.close()
    assert names(place) == []


def test_seek_and_tell(place: Path) -> None:
    """A position that telldir gave leads seekdir back to the same entries, for every entry, also after others have gone."""
    fill(place, "f", 300)
    stream = DirectoryStream(place)
    order, positions = [], []
    while True:
        positions.append(stream.tell())
        name = stream.read()
        if name is None:
            break
        order.append(name)
    assert len(set(positions)) == len(positions)
    for index in (0, 1, 150, 299, 301, 7):
        stream.seek(positions[index])
        assert list(stream) == order[index:], index
    gone = [name for name in order[160:200] if name.startswith("f")]
    for name in gone:
        (place / name).unlink()
    stream.seek(positions[150])
    rest = list(stream)
    # The library may have buffered entries; those that stay are all there, in order, once.
    assert [name for name in rest if name not in gone] == [name for name in order[150:] if name not in gone]
    stream.close()


def test_rewind_sees_what_is_there_now(place: Path) -> None:
    """rewinddir starts over with the entries of that moment."""
    fill(place, "old", 10)
    stream = DirectoryStream(place)
    assert len(list(stream)) == 12
    for name in names(place):
        (place / name).unlink()
    (place / "new").touch()
    stream.rewind()
    assert sorted(stream) == [".", "..", "new"]
    stream.close()


def test_removed_directory_that_is_still_open(place: Path) -> None:
    """A removed directory lists nothing and takes no new entries; its descriptor still answers."""
    (place / "dir").mkdir()
    directory = os.open(place / "dir", os.O_RDONLY)
    (place / "dir").rmdir()
    assert os.fstat(directory).st_nlink == 0
    assert os.listdir(directory) == []
    assert outcome(os.mkdir, "x", dir_fd=directory) == "ENOENT"
    assert outcome(os.open, "x", os.O_CREAT | os.O_WRONLY, dir_fd=directory) == "ENOENT"
    (place / "dir").mkdir()
    assert os.fstat(directory).st_ino != (place / "dir").stat().st_ino
    os.close(directory)


def test_new_directory_in_a_setgid_one(place: Path) -> None:
    """Entries of a setgid directory get its group; directories pass the bit on; others do not get it."""
    os.chown(place, 0, ALICE)
    place.chmod(0o2777)

    def make() -> None:
        (place / "dir").mkdir(0o755)
        (place / "file").touch(0o644)
        (place / "link").symlink_to("x")

    as_user(ALICE + 1, make)
    found = {name: (place / name).lstat() for name in ("dir", "file", "link")}
    assert {status.st_gid for status in found.values()} == {ALICE}
    assert oct(stat.S_IMODE(found["dir"].st_mode)) == oct(0o2755)
    assert oct(stat.S_IMODE(found["file"].st_mode)) == oct(0o644)


def test_one_level_of_many_directories(place: Path) -> None:
    """A thousand directories in one: counts and listing are exact."""
    for number in range(1000):
        (place / f"d{number}").mkdir()
    assert place.stat().st_nlink == 1002
    assert len(names(place)) == 1000


def test_a_listing_that_the_kernel_has_cached(place: Path) -> None:
    """Read twice, it is the same; changed in between by each kind of call, it is as it is, whatever its mtime."""
    for name in ("one", "two", "three"):
        (place / name).touch()
    for _ in range(3):
        assert names(place) == ["one", "three", "two"]
    changes: list[tuple[Callable[[], object], list[str]]] = [
        (lambda: (place / "four").touch(), ["four", "one", "three", "two"]),
        (lambda: (place / "one").unlink(), ["four", "three", "two"]),
        (lambda: (place / "two").rename(place / "five"), ["five", "four", "three"]),
        (lambda: os.utime(place, ns=(0, 0)), ["five", "four", "three"]),
        (lambda: (place / "six").mkdir(), ["five", "four", "six", "three"]),
        (lambda: os.utime(place, ns=(0, 0)), ["five", "four", "six", "three"]),
        (lambda: (place / "six").rmdir(), ["five", "four", "three"]),
    ]
    for change, expected in changes:
        change()
        assert names(place) == expected
        assert names(place) == expected
