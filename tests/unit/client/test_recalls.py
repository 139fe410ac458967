"""Recalls are confirmed on the connection that they came on, also while the session is being resumed there."""

from typing import Any

import pytest
import trio
import trio.testing

from ringfs.client.recalls import Recalls
from ringfs.wire.messages.session import Recall, RecallDone


class Connection:
    """Notes what is asked on it."""

    def __init__(self) -> None:
        self.lost = trio.Event()
        self.asked: list[Any] = []

    async def call(self, request: Any, *, urgent: bool) -> None:
        """As RpcClient's."""
        assert urgent
        await trio.lowlevel.checkpoint()
        self.asked.append(request)


class TheLine:
    """As much of a Line as matters here. Not resumed: there is no live client."""

    live_client = None
    session = 3

    def __init__(self) -> None:
        self.newest_client: Any = Connection()
        self.newest_session = 4


@pytest.mark.parametrize("fault", ["none", "lost", "another"])
async def test_a_recall_while_the_session_is_resumed(fault: str) -> None:
    """It is confirmed under the session that is resumed; not once the connection is lost, or there is another one."""
    line, obeyed = TheLine(), trio.Event()
    connection = line.newest_client

    async def obey(_recall: Recall) -> None:
        if fault == "lost":
            connection.lost.set()
        if fault == "another":
            line.newest_client = Connection()
        obeyed.set()

    recalls = Recalls(line, obey)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(recalls.run)
        recalls.arrived(Recall(7, []))
        await obeyed.wait()
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert connection.asked == ([RecallDone(4, 7)] if fault == "none" else [])
    assert line.newest_client.asked == connection.asked or fault == "another"
    assert recalls.seen == 1
