"""What info learns and shows of an inode: over a namespace in memory, with nodes that are asked."""

import json
from dataclasses import replace
from typing import Any

import pytest

from ringfs.base.errors import Code, Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.base.limits import CHUNK_BYTES
from ringfs.cli.checking.nodes import HoldingNode
from ringfs.cli.checking.placement import Holding
from ringfs.cli.checking.snapshot import ObjectEntry
from ringfs.cli.info_view import JsonView, TextView, Totals
from ringfs.cli.locate import Locator, Piece, find_inode, read_attributes
from ringfs.cli.session import Session
from ringfs.ring.parts import COPY, Part
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages import queries as q
from ringfs.wire.messages.cluster import CloseSnapshot, ClusterMap, OpenSnapshot, Pair, ReadSnapshot, SnapshotOpened, SnapshotPage
from ringfs.wire.messages.common import Done
from ringfs.wire.messages.data import WHOLE, Have, Held, HeldPart
from ringfs.wire.messages.session import Query, SessionOpened
from ringfs.wire.rpc import Answer
from tests.support.heal_reports import node as map_node
from tests.support.namespace import TrialNamespace

OIDS = [bytes([number]) * 20 for number in (1, 2)]


class Server:
    """A leader over a namespace in memory. most_chunks: more in one question are refused, as where extents are many."""

    def __init__(self, trial: TrialNamespace) -> None:
        self.trial = trial
        self.most_chunks = 1 << 30

    async def call(self, request: Any, *, timeout_s: float) -> Answer:
        """See RpcClient."""
        return Answer(self.answer(request), memoryview(b""))

    def answer(self, request: Any) -> Any:
        """The answer."""
        match request:
            case Query(1, q.ReadExtents(_, _, count)) if count > self.most_chunks:
                raise Refused(Code.RANGE)
            case Query(1, question):
                return self.trial.ask(question)
            case OpenSnapshot():
                return SnapshotOpened(1, 1)
            case CloseSnapshot():
                return Done()
            case ReadSnapshot(1, after, limit):
                pairs = [Pair(key, value) for key, value in self.trial.view.scan(after + b"\0", b"\xff")]
                return SnapshotPage(pairs[:limit], True)
        raise AssertionError(request)


class Node:
    """Holds some objects."""

    def __init__(self, *held: bytes) -> None:
        self.held = held

    async def call(self, request: Any, *, timeout_s: float) -> Answer:
        """See RpcClient."""
        assert isinstance(request, Have)
        return Answer(Held([HeldPart(oid, WHOLE) for oid in request.objects if oid in self.held]), memoryview(b""))


def make_session(trial: TrialNamespace) -> tuple[Session, Server]:
    """A session over the namespace."""
    server = Server(trial)
    return Session(server, SessionOpened(1, 1, "replica:2", ClusterMap(1, "", []))), server  # type: ignore[arg-type]  # a fake


def make_file(trial: TrialNamespace) -> int:
    """/d/file: 10 inline bytes, a hole, an object from its byte 5 on, and far away another object."""
    directory = trial.do(m.Mkdir(ROOT_INODE, b"d", 0o755, 0, 0, 0)).attributes.inode
    number: int = trial.do(m.Mknod(directory, b"file", 0o100644, 0, 0, 0, 0, 0, True)).attributes.inode
    extents = [
        m.Extent(0, 10, m.INLINE, b"0123456789"),
        m.Extent(100, 50, 5, OIDS[0]),
        m.Extent(200 * CHUNK_BYTES, 60, 0, OIDS[1]),
    ]
    objects = [m.NewObject(oid, 60, "replica:2", trial.now_ns, "replica:2") for oid in OIDS]
    trial.do(m.Commit(objects, [m.FileCommit(number, extents, -1, -1, -1, 0, False)]))
    return number


async def pieces_of(session: Session, number: int, *nodes: Node) -> list[Piece]:
    """All of them."""
    held = [HoldingNode(map_node(count), node) for count, node in enumerate(nodes, 1)]  # type: ignore[arg-type]  # fakes
    attributes = await read_attributes(session, number)
    return [piece async for batch in Locator(session, held).pieces(attributes) for piece in batch]


@pytest.mark.parametrize("most_chunks", [1, 3, 1000])
async def test_pieces(most_chunks: int) -> None:
    """Each extent with its place; for objects what they are, who holds them, and what is missing."""
    trial = TrialNamespace()
    number = make_file(trial)
    session, server = make_session(trial)
    server.most_chunks = most_chunks
    pieces = await pieces_of(session, number, Node(*OIDS), Node(OIDS[0]), Node())
    assert [(piece.offset, piece.length, piece.kind) for piece in pieces if piece.kind != "hole"] == [
        (0, 10, "inline"),
        (100, 50, "object"),
        (200 * CHUNK_BYTES, 60, "object"),
    ]
    first, second = (piece for piece in pieces if piece.kind == "object")
    assert (first.oid, first.object_offset, first.nodes, first.missing_parts) == (OIDS[0].hex(), 5, ("data1", "data2"), 0)
    assert (second.nodes, second.missing_parts) == (("data1",), 1)
    assert first.entry is not None
    assert (first.entry.size_bytes, first.entry.live_bytes, first.entry.stored_class) == (60, 50, "replica:2")


async def test_refusals_of_one_chunk_go_on() -> None:
    """What cannot be asked in smaller parts is not asked for ever."""
    trial = TrialNamespace()
    number = make_file(trial)
    session, server = make_session(trial)
    server.most_chunks = 0
    with pytest.raises(Refused) as refused:
        await pieces_of(session, number)
    assert refused.value.code is Code.RANGE


async def test_directory_has_no_pieces() -> None:
    """Only regular files have extents."""
    session, _ = make_session(TrialNamespace())
    assert await pieces_of(session, ROOT_INODE) == []


async def test_path_below_the_root() -> None:
    """With or without a slash; what does not exist is refused by its path."""
    trial = TrialNamespace()
    number = make_file(trial)
    session, _ = make_session(trial)
    assert await find_inode(session, "/d/file") == number
    assert await find_inode(session, "d/file") == number
    assert await find_inode(session, "/") == ROOT_INODE
    with pytest.raises(Refused, match="/d/other: no such file"):
        await find_inode(session, "/d/other")


async def test_views_agree(capsys: pytest.CaptureFixture[str]) -> None:
    """People and scripts are told the same: attributes, places, sums, what is missing."""
    trial = TrialNamespace()
    number = make_file(trial)
    session, _ = make_session(trial)
    attributes = await read_attributes(session, number)
    pieces = await pieces_of(session, number, Node(*OIDS), Node(OIDS[0]))
    totals = Totals()
    totals.add(pieces)
    for view in (TextView(), JsonView()):
        view.begin("/d/file", attributes, "replica:2")
        view.pieces(pieces[:1])
        view.pieces(pieces[1:])
        view.end(totals, {"data3": "away"})
    text, _, told = capsys.readouterr().out.partition('{"path"')
    shown = json.loads('{"path"' + told)
    assert shown["attributes"]["inode"] == number
    assert len(shown["extents"]) == len(pieces) == shown["totals"]["extents"]
    assert shown["extents"][-1] == {
        "offset": 200 * CHUNK_BYTES,
        "length": 60,
        "kind": "object",
        "object": OIDS[1].hex(),
        "object_offset": 0,
        "nodes": ["data1"],
        "parts": [{"node": "data1", "domain": "rack1", "part": "copy"}],
        "stored": {"size_bytes": 60, "live_bytes": 60, "class": "replica:2", "form": "replica:2"},
    }
    assert shown["totals"] == {"extents": len(pieces), "object_bytes": 110, "inline_bytes": 10, "missing_parts": 1}
    assert shown["silent_nodes"] == {"data3": "away"}
    assert f"inode     {number}, regular file, mode 0644, owner 0:0" in text
    assert f"object {OIDS[1].hex()} +0 (60 B, replica:2) on data1, 1 MISSING" in text
    assert "node data3 could not be asked: away" in text


def test_fragments_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Which one is where, the form beside the class, what is missing."""
    held = [Holding(map_node(number), Part(2, 1, number)) for number in (2, 1)]
    entry = ObjectEntry(OIDS[0], 1 << 20, 1 << 20, "ec:2+1", "ec:2+1")
    piece = Piece(0, 60, "object", OIDS[0].hex(), 0, entry, tuple(held))
    promised = replace(piece, entry=replace(entry, form="replica:2"), held=(Holding(map_node(1), COPY),))
    TextView().pieces([piece, promised])
    JsonView().pieces([piece])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("(1 MiB, ec:2+1) fragments 2 on data2, 1 on data1, 1 MISSING")
    assert lines[1].endswith("(1 MiB, ec:2+1 as replica:2) on data1, 1 MISSING")
    assert json.loads(lines[2])["parts"][0] == {"node": "data2", "domain": "rack2", "part": "fragment 2 of ec:2+1"}
