"""tools/fsx.py finds what it is there to find: it passes on a file system one trusts, and fails on every injected fault."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tools.fsx import main
from tools.fsx_file import OpenFile
from tools.fsx_model import KINDS, BadLog, Drawer, Limits, Model, Operation

#: A faulty file does wrong every so many calls: one lost write may be overwritten before anything reads it.
FAULT_EVERY = 40
KINDS_DRAWN = sorted(KINDS - {"closeopen", "move"})
LIMITS = Limits(length_max=10_000, operation_max=1000, light=False, reopen_one_in=10, handles=3, has_second=True)


class Countdown:
    """Says every so many calls that it is time to do wrong."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.calls = 0

    def is_over(self) -> bool:
        """True on every count-th call."""
        self.calls += 1
        return self.calls % self.count == 0


def faulty(kind: str) -> Callable[[Path], OpenFile]:
    """Opens files that do one thing wrong now and then: `kind` names it."""
    countdown = Countdown(FAULT_EVERY)

    class Faulty(OpenFile):
        def read(self, offset: int, length: int) -> bytes:
            content = super().read(offset, length)
            if kind == "corrupt read" and content and countdown.is_over():
                return bytes([content[0] ^ 1]) + content[1:]
            return content[:-1] if kind == "short read" and content and countdown.is_over() else content

        def write(self, offset: int, data: bytes) -> None:
            if kind == "lost write" and countdown.is_over():
                self.truncate(max(self.size(), offset + len(data)))
            elif kind == "flipped byte" and countdown.is_over():
                super().write(offset, data[:-1] + bytes([data[-1] ^ 1]))
            else:
                super().write(offset, data)

        def map_write(self, offset: int, data: bytes) -> None:
            if kind == "lost mapped write" and countdown.is_over():
                self.truncate(max(self.size(), offset + len(data)))
            else:
                super().map_write(offset, data)

        def truncate(self, size: int) -> None:
            super().truncate(size + 1 if kind == "wrong size" and countdown.is_over() else size)

        def fallocate(self, mode: int, offset: int, length: int) -> None:
            if not (kind == "lost punch" and mode & 2 and countdown.is_over()):
                super().fallocate(mode, offset, length)

        def holes(self) -> Iterator[tuple[int, int]]:
            found = list(super().holes())
            if kind == "data called a hole" and self.size():
                found = [(0, self.size())]
            return iter(found)

        def fsync(self) -> None:
            if kind == "failing fsync" and countdown.is_over():
                raise OSError(5, "Input/output error")
            super().fsync()

    return Faulty


FAULTS = [
    "corrupt read",
    "short read",
    "lost write",
    "flipped byte",
    "lost mapped write",
    "wrong size",
    "lost punch",
    "data called a hole",
    "failing fsync",
]


def arguments(directory: Path, *more: str) -> list[str]:
    """A quiet run on directory/file."""
    return ["-q", "-S", "11", "-P", str(directory), *more, str(directory / "file")]


@pytest.mark.parametrize(
    "more",
    [
        ["-N", "100000"],
        ["-N", "5000", "-c", "20", "--handles", "2"],
        ["-N", "3000", "-L"],
        ["-N", "3000", "-b", "2000"],
        ["-N", "3000", "-W", "-R", "-H", "-z", "-F", "-E", "-C", "-I"],
        ["-N", "500", "-f", "-c", "10", "-l", "5000000", "-o", "1000000"],
    ],
    ids=" ".join,
)
def test_passes_on_a_right_file_system(tmp_path: Path, more: list[str]) -> None:
    """No false alarm in any mode, and nothing but the file is left."""
    assert main(arguments(tmp_path, *more)) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_second_path(tmp_path: Path) -> None:
    """Both paths of one file are used, and agree."""
    (tmp_path / "file").touch()
    (tmp_path / "other").hardlink_to(tmp_path / "file")
    assert main(arguments(tmp_path, "-N", "3000", "-c", "10", "--second", str(tmp_path / "other"))) == 0


def test_second_path_that_lags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second path that does not show what was closed on the first is found out."""
    (tmp_path / "other").write_bytes(b"old")
    assert main(arguments(tmp_path, "-N", "3000", "-c", "10", "--second", str(tmp_path / "other"))) == 1
    assert "FAILED at operation" in capsys.readouterr().out


@pytest.mark.parametrize("fault", FAULTS)
def test_fails_on_a_wrong_one(tmp_path: Path, fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each fault ends the run with 1, a report, the good bytes and a log that parses."""
    assert main(arguments(tmp_path, "-N", "20000"), faulty(fault)) == 1
    assert "FAILED at operation" in capsys.readouterr().out
    assert (tmp_path / "file.fsxgood").exists()
    lines = (tmp_path / "file.fsxops").read_text().splitlines()
    assert len([Operation.parse(line) for line in lines if not line.startswith("#")]) < 20000


def test_report_names_the_culprit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The operation whose byte was flipped is among those listed as having touched the first wrong offset."""
    log = tmp_path / "log"
    steps = ["1 write 0 0x0 0x3000", "2 write 0 0x1000 0x10", "3 write 0 0x2000 0x10", "4 read 0 0x0 0x3000"]
    log.write_text("".join(f"{step} 0x0 grow\n" for step in steps))

    class SecondWriteFlipped(OpenFile):
        def write(self, offset: int, data: bytes) -> None:
            super().write(offset, data if offset != 0x1000 else b"\xff" + data[1:])

    assert main(arguments(tmp_path, "--replay", str(log)), SecondWriteFlipped) == 1
    report = capsys.readouterr().out
    assert "the first at 0x1000" in report
    touching = report.partition("touched 0x1000")[2]
    assert "  1 write" in touching
    assert "  2 write" in touching
    assert "  3 write" not in touching


def test_replays(tmp_path: Path) -> None:
    """The log of a failed run fails again on the same fault, and passes without it."""
    assert main(arguments(tmp_path, "-N", "20000", "-c", "30"), faulty("lost write")) == 1
    log = tmp_path / "failed"
    (tmp_path / "file.fsxops").rename(log)
    assert main(arguments(tmp_path, "--replay", str(log)), faulty("lost write")) == 1
    assert main(arguments(tmp_path, "--replay", str(log))) == 0


def test_same_seed_same_operations() -> None:
    """What is drawn follows from the seed."""
    first, second = Drawer(3, KINDS_DRAWN, LIMITS), Drawer(3, KINDS_DRAWN, LIMITS)
    assert [first.draw(number, 5000) for number in range(500)] == [second.draw(number, 5000) for number in range(500)]


def test_lines_round_trip() -> None:
    """Every drawn operation is its line and back."""
    drawer = Drawer(5, KINDS_DRAWN, LIMITS)
    for number in range(1000):
        operation = drawer.draw(number, 5000)
        assert Operation.parse(operation.line()) == operation


@pytest.mark.parametrize("line", ["", "1 read", "1 fly 0 0 0 0 grow", "x read 0 0 0 0 grow", "1 read 0 0 0 0 shrink"])
def test_bad_lines(line: str) -> None:
    """A line that is no operation is refused."""
    with pytest.raises(BadLog):
        Operation.parse(line)


def test_bad_log_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong line in a log: exit code 2, and where it is."""
    log = tmp_path / "log"
    log.write_text("# comment\n1 read 0 0x0 0x1 0x0 grow\nnonsense\n")
    assert main(arguments(tmp_path, "--replay", str(log))) == 2
    assert f"{log}:3:" in capsys.readouterr().err


def test_model() -> None:
    """What each operation makes of the bytes."""
    model = Model()
    for operation, expected_size in (
        (Operation(1, "write", offset=10, length=10), 20),
        (Operation(2, "truncate", length=15), 15),
        (Operation(3, "allocate", offset=20, length=5, keep_size=True), 15),
        (Operation(4, "allocate", offset=20, length=5), 25),
        (Operation(5, "copy", offset=10, length=5, target=30), 35),
        (Operation(6, "punch", offset=12, length=100), 35),
        (Operation(7, "zero", offset=0, length=11), 35),
        (Operation(8, "mapwrite", offset=34, length=2), 36),
        (Operation(9, "read", offset=34, length=2), 36),
    ):
        model.apply(operation)
        assert model.size == expected_size, operation
    first = Operation(1, "write", offset=10, length=10).data()
    assert model.written == bytes(11) + b"\1" + bytes(22) + b"\1\1"
    assert model.content == bytes(11) + first[1:2] + bytes(22) + Operation(8, "mapwrite", offset=34, length=2).data()


def test_model_moves_ranges() -> None:
    """A collapse takes bytes out, an insertion puts a hole in, what was written behind them moves."""
    model = Model()
    data = Operation(1, "write", length=3).data()
    model.apply(Operation(1, "write", length=3))
    model.apply(Operation(2, "insert", offset=1, length=2))
    assert (bytes(model.content), bytes(model.written)) == (data[:1] + bytes(2) + data[1:], b"\1\0\0\1\1")
    model.apply(Operation(3, "collapse", offset=0, length=2))
    assert (bytes(model.content), bytes(model.written)) == (bytes(1) + data[1:], b"\0\1\1")


def test_exact_holes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file system that keeps holes in blocks does not pass as one that keeps them to the byte."""
    log = tmp_path / "log"
    log.write_text("1 truncate 0 0x0 0x10000 0x0 grow\n2 write 0 0x100 0x10 0x0 grow\n3 seek 0 0x0 0x0 0x0 grow\n")
    assert main(arguments(tmp_path, "--replay", str(log))) == 0
    assert main(arguments(tmp_path, "--exact-holes", "--replay", str(log))) == 1
    assert "was never written" in capsys.readouterr().out
