"""What `ring plan` asks, and makes of the answer: against a leader that is a function."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import click
import pytest
from click.testing import CliRunner

from ringfs.base.errors import UserError
from ringfs.cli.main import cli
from ringfs.cli.ring import plan
from ringfs.wire.messages.cluster import GetStatus
from ringfs.wire.messages.heal import ListLive, LiveObject, LivePage
from ringfs.wire.rpc import Answer
from tests.support.heal_reports import MIB, node, status
from tests.support.meta_doubles import CONFIG


class Leader:
    """Three nodes, and ten live objects of 1 MiB, of two classes; three to a page."""

    def __init__(self) -> None:
        classes = ["replica:2"] * 6 + ["ec:2+1"] * 4
        self.objects = [
            LiveObject(bytes([number + 1]) * 20, MIB, MIB, text, text if number % 2 else "replica:2")
            for number, text in enumerate(classes)
        ]

    async def call(self, request: Any, *, timeout_s: float) -> Answer:
        """See RpcClient."""
        if isinstance(request, GetStatus):
            return Answer(status(node(1), node(2), node(3)), memoryview(b""))
        assert isinstance(request, ListLive)
        rows = [row for row in self.objects if row.object > request.after]
        return Answer(LivePage(rows[:3], len(rows) > 3), memoryview(b""))


@pytest.fixture(autouse=True)
def _leader(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that every verb finds."""

    @asynccontextmanager
    async def reach_leader(_config: Any, _verb: str) -> AsyncIterator[Leader]:
        yield Leader()

    monkeypatch.setattr(plan, "reach_leader", reach_leader)
    monkeypatch.setattr(plan, "find_cluster", lambda _cluster: CONFIG)


def run(*words: str, code: int = 0) -> str:
    """What `ringfs ring plan WORDS` shows."""
    result = CliRunner().invoke(cli, ["ring", "plan", *words], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    assert result.return_value == code
    return result.output


#: Four objects of the one class, and two of the other as two copies; two as three fragments of half a MiB.
STORED = (6 * 2 + 2 * 2 + 2 * 1.5) * MIB


def planned(*words: str, code: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
    """The whole, and the nodes by name."""
    told = json.loads(run(*words, "--json", code=code))
    return told, {row["name"]: row for row in told["nodes"]}


def test_add() -> None:
    """A quarter of everything comes to the fourth node; one of twice the weight takes more, as far as parts may lie there."""
    told, nodes = planned("add", "data4")
    assert nodes["data4"]["in_bytes"] == pytest.approx(STORED / 4, rel=0.15)
    assert told["moved_bytes"] == pytest.approx(nodes["data4"]["in_bytes"], rel=0.1)
    assert told["moved_fraction"] == pytest.approx(told["moved_bytes"] / STORED)
    assert told["duration_s"] == pytest.approx(told["moved_bytes"] / 4 / CONFIG.ring.heal_bytes_per_s, rel=0.01)
    assert nodes["data1"]["used_bytes"] == MIB
    _, heavy = planned("add", "data4", "--weight", "200")
    assert heavy["data4"]["in_bytes"] > nodes["data4"]["in_bytes"] * 1.3
    _, default = planned("add", "data4", "--weight", "100")
    assert nodes["data4"] == default["data4"], "what those weigh that are there"
    _, both = planned("add", "data4", "data5", "--domain", "rack9")
    assert both["data4"]["in_bytes"] > 0
    assert both["data5"]["in_bytes"] > 0


@pytest.mark.parametrize("verb", ["drain", "remove"])
def test_leaving(verb: str) -> None:
    """What it has goes to the others; a class that would have too few domains then is named, with exit code 1."""
    told, nodes = planned(verb, "data3", code=1)
    assert nodes["data3"]["out_bytes"] > STORED / 4
    assert nodes["data3"]["after_bytes"] == 0
    assert told["unmet"] == ["ec:2+1"]
    assert told["kept"] is False
    assert run(verb, "data3", code=1).endswith("too few failure domains would be left for ec:2+1\n")


def test_weight() -> None:
    """Twice the weight takes from the others."""
    told, nodes = planned("weight", "data1", "200")
    assert nodes["data1"]["in_bytes"] == pytest.approx(told["moved_bytes"], rel=0.01)
    assert told["moved_bytes"] > 0
    assert nodes["data1"]["weight_share"] == 0.5


def test_text() -> None:
    """A row for each node, and the sum."""
    shown = run("add", "data4").splitlines()
    assert shown[0].split() == ["NODE", "USED", "IN", "OUT", "AFTER", "WEIGHT", "HOLDS"]
    assert [line.split()[0] for line in shown[1:5]] == ["data1", "data2", "data3", "data4"]
    assert " to move (2" in shown[-1]


def test_mistakes() -> None:
    """A node that is not there, a weight of zero."""
    with pytest.raises(UserError, match="no node 'data9'"):
        run("drain", "data9")
    with pytest.raises(click.UsageError):
        run("weight", "data1", "0")
