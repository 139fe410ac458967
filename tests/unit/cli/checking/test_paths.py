"""From a lost object to the names of the files it harms."""

from ringfs.base.ids import ROOT_INODE
from ringfs.cli.checking import paths
from ringfs.meta.namespace import keys
from ringfs.meta.namespace.records import unpack_inode
from ringfs.meta.namespace.system import AppendSnapshot
from ringfs.wire.messages import namespace as m
from tests.support.namespace import TrialNamespace

OID = bytes(range(20))


def made() -> tuple[TrialNamespace, dict[bytes, int]]:
    """/a/b/deep, /top with a second name /a/again, /gone (unlinked, held open), /ü: numbers by name."""
    trial = TrialNamespace()
    numbers: dict[bytes, int] = {}
    for parent, name in ((b"", b"a"), (b"a", b"b")):
        entry = trial.do(m.Mkdir(numbers.get(parent, ROOT_INODE), name, 0o755, 0, 0, 0))
        numbers[name] = entry.attributes.inode
    for parent, name in ((b"b", b"deep"), (b"", b"top"), (b"", b"gone"), (b"", b"\xfc")):
        entry = trial.do(m.Mknod(numbers.get(parent, ROOT_INODE), name, 0o100644, 0, 0, 0, 0, 0, True))
        numbers[name] = entry.attributes.inode
    trial.do(m.Link(numbers[b"top"], numbers[b"a"], b"again"))
    return trial, numbers


def refer(trial: TrialNamespace, *numbers: int) -> None:
    """Let chunks of these inodes point to the object."""
    for number in numbers:
        for index in (0, 3):
            trial.view.put(keys.reference(OID, keys.u64_u32(number, index)), b"\x01")


def test_files_are_named() -> None:
    """Each once, by one of its paths, whatever bytes are in its name."""
    trial, numbers = made()
    refer(trial, numbers[b"deep"], numbers[b"top"], numbers[b"\xfc"])
    found = paths.files_of(trial.view, OID)
    assert found[0] == "/a/b/deep"
    assert found[1] in ("/top", "/a/again")
    assert found[2] == "/\udcfc"
    assert len(found) == 3


def test_without_a_name() -> None:
    """An inode that was unlinked while open is told by its number."""
    trial, numbers = made()
    trial.do(m.Unlink(ROOT_INODE, b"gone"), holders=[trial.session])
    refer(trial, numbers[b"gone"])
    assert paths.files_of(trial.view, OID) == (f"inode {numbers[b'gone']}",)


def test_snapshot_of_the_metadata() -> None:
    """What the leader keeps for itself is told as that."""
    trial, _ = made()
    new = m.NewObject(OID, 100, "replica:2", trial.now_ns, "replica:2")
    number = trial.system(AppendSnapshot(0, [new])).inode
    assert paths.files_of(trial.view, OID) == (f"inode {number}, a snapshot of the metadata",)


def test_nobody() -> None:
    """An object without references harms nobody; neighbours' references are not its own."""
    trial, numbers = made()
    trial.view.put(keys.reference(OID[:-1] + b"\xff", keys.u64_u32(numbers[b"top"], 0)), b"\x01")
    assert paths.files_of(trial.view, OID) == ()


def test_many_are_not_all_named() -> None:
    """An object that very many files share is told with some of them."""
    trial, _ = made()
    refer(trial, *range(1000, 1100))
    found = paths.files_of(trial.view, OID)
    assert len(found) == 9
    assert found[-1] == "…"


def test_broken_tree_ends() -> None:
    """A directory that is its own ancestor, or lacks its row, does not hold the checker up."""
    trial, numbers = made()
    refer(trial, numbers[b"deep"])
    trial.view.delete(keys.inode(numbers[b"a"]))
    assert paths.files_of(trial.view, OID) == ("?/b/deep",)
    directory = trial.view.get(keys.inode(numbers[b"b"]))
    assert directory is not None
    looped = unpack_inode(numbers[b"b"], directory)
    looped.parent = numbers[b"b"]
    trial.view.put(keys.inode(numbers[b"b"]), looped.pack())
    assert paths.files_of(trial.view, OID) == ("/b/deep",)
