"""Files against disks and lists: what is bad, what is gone meanwhile, how it is shown. Nodes and file system are fakes."""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from ringfs.base.checksums import plain_digest
from ringfs.base.errors import Code, ConnectionLost, Refused
from ringfs.cli.checking.nodes import HoldingNode
from ringfs.cli.verifying import verifier
from ringfs.cli.verifying.files import Found, files_at
from ringfs.cli.verifying.parts import BadPart, PartVerifier
from ringfs.cli.verifying.report import FileResult, JsonView, TextView, Totals
from ringfs.cli.verifying.verifier import Verifier
from ringfs.ring.parts import COPY, Part
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages import queries as q
from ringfs.wire.messages.data import Have, Held, HeldPart, Verified, Verify
from ringfs.wire.rpc import Answer
from tests.support.heal_reports import node
from tests.support.namespace import TrialNamespace, inline

OIDS = [bytes([number]) * 20 for number in (1, 2)]
FRAGMENT = Part(2, 1, 1)


class Node:
    """Holds parts; `said` is what it finds when it reads some. None: it is gone."""

    def __init__(self, *held: tuple[bytes, Part], said: dict[bytes, Verified | Refused | None] | None = None) -> None:
        self.held = held
        self.said = said or {}
        self.read: list[bytes] = []

    async def call(self, request: Any, *, timeout_s: float) -> Answer:
        """See RpcClient."""
        match request:
            case Have(objects):
                return Answer(Held([HeldPart(oid, part.pack()) for oid, part in self.held if oid in objects]), memoryview(b""))
            case Verify(oid):
                self.read.append(oid)
                outcome = self.said.get(oid, Verified(True, []))
                if outcome is None:
                    raise ConnectionLost("gone")
                if isinstance(outcome, Refused):
                    raise outcome
                return Answer(outcome, memoryview(b""))
        raise AssertionError(request)


class Fs:
    """A FileSystem over a namespace in memory. Inodes in `unreadable` are refused with that; reading others tells the number."""

    def __init__(self, trial: TrialNamespace) -> None:
        self.trial = trial
        self.unreadable: dict[int, Code] = {}
        self.changing: set[int] = set()

    async def getattr(self, number: int) -> Any:
        """See FileSystem."""
        attributes = self.trial.ask(q.GetAttributes(number)).attributes
        return SimpleNamespace(attributes=replace(attributes, change=attributes.change + (number in self.changing)))

    async def readdir(self, number: int, after: int, _limit: int) -> Any:
        """A page of one entry."""
        return self.trial.ask(q.ReadDirectory(number, after, 1))

    async def open(self, number: int, *, writes: bool) -> Any:
        """See FileSystem."""
        assert not writes
        if number in self.unreadable:
            raise Refused(self.unreadable[number])
        return SimpleNamespace(inode=SimpleNamespace(number=number, attributes=self.trial.ask(q.GetAttributes(number)).attributes))

    async def read(self, handle: Any, offset: int, _size_bytes: int) -> bytes:
        """In two pieces."""
        return [b"first", b"%d" % handle.inode.number, b""][min(offset, 5) // 5 + (offset > 5)]

    async def release(self, handle: Any) -> None:
        """See FileSystem."""


def digest(number: int) -> bytes:
    """Of what Fs reads."""
    return plain_digest(b"first%d" % number)


@pytest.fixture
def trial() -> TrialNamespace:
    """/a (an object of its own and a shared one), /d/b (the shared one), /d/e/c (inline), a symlink: numbers by name."""
    made = TrialNamespace()
    directory = made.directory(b"d")
    deeper = made.directory(b"e", directory)
    numbers = {b"a": made.file(b"a"), b"b": made.file(b"b", directory), b"c": made.file(b"c", deeper)}
    objects = [m.NewObject(oid, 60, "replica:2", made.now_ns, "replica:2") for oid in OIDS]
    shared = m.Extent(60, 30, 0, OIDS[1])
    files = [
        m.FileCommit(numbers[b"a"], [m.Extent(0, 60, 0, OIDS[0]), shared], -1, -1, -1, 0, False),
        m.FileCommit(numbers[b"b"], [shared], -1, -1, -1, 0, False),
    ]
    made.do(m.Commit(objects, files))
    made.commit(numbers[b"c"], inline(0, b"x"))
    made.do(m.Symlink(directory, b"s", b"/a", 0, 0))
    return made


def number_of(trial: TrialNamespace, *names: bytes) -> int:
    """The inode at a path."""
    number = 1
    for name in names:
        number = trial.ask(q.Lookup(number, name)).attributes.inode
    return number


def part_verifier(trial: TrialNamespace, nodes: Sequence[Node]) -> PartVerifier:
    """Asks these."""
    session = SimpleNamespace(ask=lambda question: _later(trial.ask(question)))
    held = [HoldingNode(node(number), each) for number, each in enumerate(nodes, 1)]  # type: ignore[arg-type]  # fakes
    return PartVerifier(session, held)  # type: ignore[arg-type]  # a fake


async def _later(answer: Any) -> Any:
    return answer


async def results(fs: Fs, nodes: Sequence[Node], expected: dict[str, bytes] | None = None) -> dict[str, FileResult]:
    """Of the whole tree, by path."""
    files: AsyncIterator[Found] = files_at(fs, "/", 1)  # type: ignore[arg-type]  # a fake
    made = Verifier(fs, part_verifier(fs.trial, nodes), expected, lambda _bytes: None)  # type: ignore[arg-type]
    return {result.path: result async for result in made.results(files)}


@pytest.fixture(autouse=True, params=[1, 16])
def _at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The outcome does not depend on how many files are verified together."""
    monkeypatch.setattr(verifier, "_FILES_AT_ONCE", request.param)


async def test_all_is_good(trial: TrialNamespace) -> None:
    """Every regular file below, its content hashed in pieces, every part read once also where files share it."""
    nodes = [Node((OIDS[0], COPY), (OIDS[1], FRAGMENT)), Node((OIDS[0], COPY))]
    found = await results(Fs(trial), nodes)
    assert sorted(found) == ["/a", "/d/b", "/d/e/c"]
    assert all(result.is_good for result in found.values())
    assert found["/a"].digest == digest(number_of(trial, b"a"))
    assert [(found[path].objects, found[path].parts) for path in sorted(found)] == [(2, 3), (1, 1), (0, 0)]
    assert sorted(nodes[0].read) == OIDS


async def test_bad_parts(trial: TrialNamespace) -> None:
    """They are told with object, node and part; all files that share the object are bad; one that was moved meanwhile is not."""
    nodes = [
        Node((OIDS[1], FRAGMENT), said={OIDS[1]: Verified(True, [3])}),
        Node((OIDS[0], COPY), said={OIDS[0]: Refused(Code.NOT_HELD)}),
        Node((OIDS[0], COPY), said={OIDS[0]: None}),
    ]
    found = await results(Fs(trial), nodes)
    bad = (BadPart(OIDS[1].hex(), "data1", "fragment 1 of ec:2+1", "damaged blocks 3"),)
    assert [found[path].bad for path in sorted(found)] == [bad, bad, ()]
    assert found["/a"].digest is not None


async def test_content_that_cannot_be_read(trial: TrialNamespace) -> None:
    """It is bad, and has no BLAKE3. A file that was removed meanwhile is left out."""
    fs = Fs(trial)
    fs.unreadable = {number_of(trial, b"a"): Code.IO, number_of(trial, b"d", b"b"): Code.STALE}
    found = await results(fs, [])
    assert sorted(found) == ["/a", "/d/e/c"]
    assert (found["/a"].digest, found["/a"].is_good) == (None, False)
    assert found["/a"].why.startswith("cannot be read: ")


async def test_against_a_list(trial: TrialNamespace) -> None:
    """Another BLAKE3 is bad; a file that is not in the list, or was written to meanwhile, is only told."""
    fs = Fs(trial)
    fs.changing = {number_of(trial, b"d", b"e", b"c")}
    expected = {"/a": digest(0), "/d/e/c": digest(number_of(trial, b"d", b"e", b"c"))}
    found = await results(fs, [], expected)
    assert [(found[path].why, found[path].note) for path in sorted(found)] == [
        ("is not what the list says", ""),
        ("", "not in the list"),
        ("", "written to while it was read"),
    ]


GOOD = FileResult("/a\nb", bytes(32), 5, 1, 2, note="not in the list")
BAD = FileResult("/c", None, 7, 1, 2, (BadPart("00", "data1", "copy", "damaged blocks 0"),), "cannot be read: why")


def test_views_agree(capsys: pytest.CaptureFixture[str]) -> None:
    """People and scripts are told the same; a line is a file."""
    totals = Totals(missing_files=1, silent={"data9": "gone"})
    for result in (GOOD, BAD):
        totals.add(result)
    for view in (TextView(), JsonView()):
        view.file(GOOD)
        view.file(BAD)
        view.missing("/d")
        view.end(totals)
    text, _, told = capsys.readouterr().out.partition('{"files"')
    shown = json.loads('{"files"' + told)
    assert [(row["path"], row["good"], row["digest"]) for row in shown["files"]] == [
        ("/a\nb", True, "00" * 32),
        ("/c", False, None),
        ("/d", False, None),
    ]
    assert (shown["good"], shown["totals"]["bad_files"], shown["totals"]["bad_parts"], shown["totals"]["bytes"]) == (
        False,
        1,
        1,
        12,
    )
    assert text.splitlines() == [
        f"ok   {'00' * 32}  /a\\nb (not in the list)",
        f"BAD  {'-' * 64}  /c: cannot be read: why",
        "     object 00, copy on data1: damaged blocks 0",
        f"BAD  {'-' * 64}  /d: is in the list, and not there",
        "node data9 could not be asked: gone",
        "2 files, 12 B, 4 copies and fragments read and verified: 1 bad files, 1 bad copies or fragments, 1 missing",
    ]


def test_nothing_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    """An empty directory is good."""
    JsonView().end(Totals())
    assert json.loads(capsys.readouterr().out) == {
        "files": [],
        "totals": {"files": 0, "bad_files": 0, "bytes": 0, "parts": 0, "bad_parts": 0, "missing_files": 0, "silent": {}},
        "good": True,
    }
