"""POSIX ACLs through setfacl and getfacl: they decide, they mask, they are inherited."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from tests.support.posix import ALICE, BOB, as_user, outcome, with_umask


def setfacl(*arguments: str | Path) -> None:
    """Runs setfacl; an error fails the test."""
    subprocess.run(["setfacl", *map(str, arguments)], check=True)


def getfacl(path: Path) -> list[str]:
    """The entries, numeric, without comments."""
    output = subprocess.run(["getfacl", "-cnpE", str(path)], check=True, capture_output=True, text=True).stdout
    return output.split()


def may(uid: int, path: Path, gid: int | None = None) -> str:
    """What of rwx the user may do with the file by opening it and access(2)."""

    def tests() -> str:
        return "".join(
            letter if os.access(path, mode) else "-" for letter, mode in (("r", os.R_OK), ("w", os.W_OK), ("x", os.X_OK))
        )

    return str(as_user(uid, tests, gid=gid))


@pytest.fixture
def file(place: Path) -> Path:
    """A file of root, 0640."""
    path = place / "file"
    path.touch()
    path.chmod(0o640)
    return path


def test_named_user_and_group(file: Path) -> None:
    """A named user's and group's entries decide before other's, behind the mask."""
    setfacl("-m", f"u:{ALICE}:rw,g:{BOB}:r", file)
    assert getfacl(file) == ["user::rw-", f"user:{ALICE}:rw-", "group::r--", f"group:{BOB}:r--", "mask::rw-", "other::---"]
    assert may(ALICE, file) == "rw-"
    assert may(30005, file, gid=BOB) == "r--"
    assert may(30005, file) == "---"
    assert oct(stat.S_IMODE(file.stat().st_mode)) == oct(0o660), "the group bits show the mask"


def test_mask(file: Path) -> None:
    """The mask bounds named entries and the group; chmod of the group bits sets it."""
    setfacl("-m", f"u:{ALICE}:rwx", file)
    setfacl("-m", "m::r", file)
    assert may(ALICE, file) == "r--"
    file.chmod(0o670)
    assert f"user:{ALICE}:rwx" in getfacl(file)
    assert "mask::rwx" in getfacl(file)
    assert may(ALICE, file) == "rwx"
    file.chmod(0o600)
    assert may(ALICE, file) == "---"


def test_entry_that_denies(file: Path) -> None:
    """An entry for a user is final, even if other would allow more."""
    file.chmod(0o666)
    setfacl("-m", f"u:{ALICE}:-", file)
    assert may(ALICE, file) == "---"
    assert may(BOB, file) == "rw-"


def test_removal(file: Path) -> None:
    """Without the extended entries the mode is all there is."""
    setfacl("-m", f"u:{ALICE}:rw", file)
    setfacl("-b", file)
    assert getfacl(file) == ["user::rw-", "group::r--", "other::---"]
    assert "system.posix_acl_access" not in os.listxattr(file)
    assert may(ALICE, file) == "---"


def test_equivalent_acl_is_a_mode(file: Path) -> None:
    """An ACL of the three base entries only is stored as the mode."""
    setfacl("--set", "u::rwx,g::r-x,o::r", file)
    assert oct(stat.S_IMODE(file.stat().st_mode)) == oct(0o754)
    assert outcome(os.getxattr, file, "system.posix_acl_access") == "ENODATA"


def test_default_acl_is_inherited(place: Path) -> None:
    """New files get a directory's default ACL as theirs, new directories as both; the mode given bounds it."""
    setfacl("-d", "-m", f"u:{ALICE}:rwx,g::r-x,o::-", place)

    def make() -> None:
        os.close(os.open(place / "file", os.O_CREAT | os.O_WRONLY, 0o666))
        (place / "dir").mkdir(0o777)
        os.mkfifo(place / "fifo", 0o600)

    with_umask(0, make)
    assert getfacl(place / "file") == ["user::rw-", f"user:{ALICE}:rwx", "group::r-x", "mask::rw-", "other::---"]
    assert may(ALICE, place / "file") == "rw-"
    inherited = ["user::rwx", f"user:{ALICE}:rwx", "group::r-x", "mask::rwx", "other::---"]
    assert getfacl(place / "dir") == [*inherited, *(f"default:{entry}" for entry in inherited)]
    assert getfacl(place / "fifo")[-2:] == ["mask::---", "other::---"]
    assert may(ALICE, place / "dir") == "rwx"
    with_umask(0, lambda: (place / "dir/deeper").mkdir())
    assert getfacl(place / "dir/deeper") == getfacl(place / "dir")


def test_default_acl_is_for_directories(place: Path, file: Path) -> None:
    """A file takes none."""
    setfacl("-d", "-m", f"u:{ALICE}:rwx", place)
    value = os.getxattr(place, "system.posix_acl_default")
    assert outcome(os.setxattr, file, "system.posix_acl_default", value) == "EACCES"
    setfacl("-k", place)
    assert not [entry for entry in getfacl(place) if entry.startswith("default")]


def test_directory_acl_decides_who_enters(place: Path) -> None:
    """x for one user on a closed directory lets that user in, and nobody else."""
    (place / "closed").mkdir(0o700)
    (place / "closed/file").write_text("x")
    (place / "closed/file").chmod(0o644)
    setfacl("-m", f"u:{ALICE}:x", place / "closed")
    assert as_user(ALICE, lambda: (place / "closed/file").read_text()) == "x"
    assert as_user(ALICE, lambda: outcome(os.listdir, place / "closed")) == "EACCES"
    assert as_user(BOB, lambda: outcome(os.stat, place / "closed/file")) == "EACCES"


def test_only_the_owner_sets_it(file: Path) -> None:
    """Others may not change an ACL; a malformed one is EINVAL."""
    setfacl("-m", f"u:{ALICE}:rw", file)
    value = os.getxattr(file, "system.posix_acl_access")
    assert as_user(ALICE, lambda: outcome(os.setxattr, file, "system.posix_acl_access", value)) == "EPERM"
    assert outcome(os.setxattr, file, "system.posix_acl_access", value[:-1]) == "EINVAL"
    assert os.getxattr(file, "system.posix_acl_access") == value
