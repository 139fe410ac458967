"""Whose disk it is: only an empty directory becomes a disk, and nothing but our own disk is ever written to."""

import uuid
from pathlib import Path

import pytest

from ringfs.base.errors import UserError
from ringfs.base.files import RealFiles
from ringfs.data.identity import FILE_NAME, Identity, check_disk, is_there, make_identity, parse, remember_node
from ringfs.data.serving import take_disk

CLUSTER = "11111111-2222-3333-4444-555555555555"
FILES = RealFiles()


def contents(directory: Path) -> dict[str, bytes]:
    """What stands in a directory."""
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def test_golden_bytes() -> None:
    """The file as docs/formats/segment.md shows it, read back the same."""
    identity = Identity(CLUSTER, uuid.UUID(int=7, version=4), bytes(range(32)), 3)
    packed = identity.pack()
    assert packed.decode().splitlines()[:5] == [
        "ringfs disk 1",
        f"cluster {CLUSTER}",
        "disk 00000000-0000-4000-8000-000000000007",
        "key 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        "node 3",
    ]
    assert parse(packed) == identity


@pytest.mark.parametrize("bit", range(0, 218 * 8, 13))
def test_any_flipped_bit_is_noticed(bit: int) -> None:
    """By the sum, or because the line is not what it must be."""
    packed = bytearray(Identity(CLUSTER, uuid.uuid4(), bytes(32)).pack())
    packed[bit // 8 % len(packed)] ^= 1 << bit % 8
    assert parse(bytes(packed)) is None


def test_an_empty_directory_becomes_a_disk(tmp_path: Path) -> None:
    """What mkfs leaves, and what a first start leaves that was cut short, is empty."""
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "ringfs-disk.new").write_bytes(b"half")
    assert check_disk(FILES, tmp_path, CLUSTER) is None
    identity = make_identity(FILES, tmp_path, CLUSTER)
    assert check_disk(FILES, tmp_path, CLUSTER) == identity
    assert remember_node(FILES, tmp_path, identity, 12).node == 12
    found = check_disk(FILES, tmp_path, CLUSTER)
    assert found is not None
    assert (found.node, found.disk, found.record_key) == (12, identity.disk, identity.record_key)


def test_what_is_refused_is_not_written_to(tmp_path: Path) -> None:
    """A directory that is not empty, a disk of another cluster, a damaged identity: the reason, and not a byte changed."""
    full, foreign, damaged = tmp_path / "full", tmp_path / "foreign", tmp_path / "damaged"
    for directory in (full, foreign, damaged):
        directory.mkdir()
    (full / "holiday.mov").write_bytes(b"precious")
    make_identity(FILES, foreign, "another")
    make_identity(FILES, damaged, CLUSTER)
    (damaged / FILE_NAME).write_bytes(b"ringfs disk 1\n")
    for directory, reason in ((full, "not empty"), (foreign, "another cluster"), (damaged, "damaged")):
        before = contents(directory)
        with pytest.raises(UserError, match=reason):
            take_disk(FILES, directory, CLUSTER)
        assert contents(directory) == before


def test_a_missing_directory_is_refused(tmp_path: Path) -> None:
    """It is not made: it may be where a disk was to be mounted."""
    with pytest.raises(UserError, match="create an empty directory"):
        take_disk(FILES, tmp_path / "nowhere", CLUSTER)
    assert not (tmp_path / "nowhere").exists()


def test_one_server_for_each_disk(tmp_path: Path) -> None:
    """A second one is refused while the first has it."""
    identity, lock = take_disk(FILES, tmp_path, CLUSTER)
    with pytest.raises(UserError, match="in use"):
        take_disk(FILES, tmp_path, CLUSTER)
    lock.release()
    again, lock = take_disk(FILES, tmp_path, CLUSTER)
    assert again == identity
    lock.release()


def test_a_disk_that_went_away_is_noticed(tmp_path: Path) -> None:
    """Identity gone, damaged, or another disk's."""
    identity = make_identity(FILES, tmp_path, CLUSTER)
    assert is_there(FILES, tmp_path, identity)
    path = tmp_path / FILE_NAME
    data = path.read_bytes()
    path.unlink()
    assert not is_there(FILES, tmp_path, identity)
    path.write_bytes(Identity(CLUSTER, uuid.uuid4(), bytes(32)).pack())
    assert not is_there(FILES, tmp_path, identity)
    path.write_bytes(data[:-5])
    assert not is_there(FILES, tmp_path, identity)
    path.write_bytes(data)
    assert is_there(FILES, tmp_path, identity)
