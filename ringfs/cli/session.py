"""A short session of a verb at the metadata service: it asks and changes, caches nothing, and obeys every recall at once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ringfs.base.config import ClusterConfig
from ringfs.base.errors import ConnectionLost, Refused
from ringfs.cli.reach import ANSWER_TIMEOUT_S, reach_leader
from ringfs.cli.servers import caller_name
from ringfs.wire.messages.session import CloseSession, Mutate, OpenSession, Query, Recall, RecallDone, SessionOpened
from ringfs.wire.rpc import Answer, RpcClient


class Session:
    """An open session. What is dirty in mounts is flushed before a question about it is answered."""

    def __init__(self, leader: RpcClient, opened: SessionOpened) -> None:
        self.leader = leader
        self.opened = opened
        self._number = 0

    async def ask(self, question: Any) -> Any:
        """The answer to a question of messages/queries.py. Raises Refused, ConnectionLost."""
        return (await self.leader.call(Query(self.opened.session, question), timeout_s=ANSWER_TIMEOUT_S)).message

    async def change(self, operation: Any) -> Any:
        """The answer to a transaction. Raises Refused; ConnectionLost: whether it took effect is not known."""
        self._number += 1
        mutate = Mutate(self.opened.session, self._number, self._number, operation)
        return (await self.leader.call(mutate, timeout_s=ANSWER_TIMEOUT_S)).message


@asynccontextmanager
async def open_session(config: ClusterConfig, verb: str) -> AsyncIterator[Session]:
    """A session that is closed at the end of the block. Raises NotReachable."""
    current: list[Session] = []

    def obey(pushed: Any) -> None:
        if isinstance(pushed, Recall) and current:
            done = RecallDone(current[0].opened.session, pushed.serial)
            current[0].leader.call_soon(done, _ignore, urgent=True)

    async with reach_leader(config, verb, on_push=obey) as leader:
        opened: SessionOpened = (await leader.call(OpenSession(caller_name(verb)), timeout_s=ANSWER_TIMEOUT_S)).message
        current.append(Session(leader, opened))
        yield current[0]
        await leader.call(CloseSession(opened.session), timeout_s=ANSWER_TIMEOUT_S)


def _ignore(_answer: Answer | Refused | ConnectionLost) -> None:
    """Nothing was cached, so nothing depends on it."""
