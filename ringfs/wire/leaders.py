"""Following the leader of several metadata servers: where it is, and whether it was replaced while it does not answer.

A leader that was found is left when its connection is lost, when it says that it leads no more, or when it leaves a request
unanswered and another server knows of a newer term; never only because it is slow. Once a newer one was heard of, none of an older
term is gone to. With one address there is nothing to find: it is tried again and again.

Not here: the connection to the leader and what is said on it (client/metadata.py, data/membership.py).
"""

from collections.abc import Sequence
from typing import Any

import structlog
import trio

from ringfs.base.errors import Code, ConnectionLost, Refused
from ringfs.wire.client import RpcClient
from ringfs.wire.messages.cluster import ROLE_LEADER, ServerStatus
from ringfs.wire.scouting import SAY_S, Connect, Scouts

log = structlog.get_logger("ringfs.leaders")

#: With several servers, heartbeats are sent so often: what is not asked cannot stay unanswered.
HEARTBEAT_S = 1.0
#: After a request was unanswered for so long, others are asked whether they know a newer leader.
_SILENCE_S = 1.0
_LOOK_S = 0.25
#: Longest pause between attempts when there are several servers.
_PAUSE_MAX_S = 0.25


class Leaders:
    """See the module. pauses_s: how long to wait after each failed attempt, the last for all further ones.

    `next` gives an address to connect to; then `found` is to be called once it serves, and `failed` when it was lost or never did.
    """

    def __init__(self, addresses: Sequence[str], connect: Connect, pauses_s: Sequence[float]) -> None:
        self._scouts = Scouts(addresses, connect)
        self._pauses_s = pauses_s
        #: The newest term that was heard of.
        self.term = 0
        self._failure_count = 0
        #: Since when nobody serves, and when that was said last (trio's clock).
        self._lost_s: float | None = None
        self._said_s = 0.0

    @property
    def are_several(self) -> bool:
        """Whether there is more than one server to choose from."""
        return len(self._scouts.words) > 1

    # --- finding --------------------------------------------------------------------------------------------------------

    async def next(self) -> str:
        """Where to try next, when it is time to."""
        if self._failure_count:
            pause_s = self._pauses_s[min(self._failure_count, len(self._pauses_s)) - 1]
            await trio.sleep(min(pause_s, _PAUSE_MAX_S) if self.are_several else pause_s)
        if not self.are_several:
            return self._scouts.addresses[0]
        address, status = await self._scouts.find(self._leads, _say_who_does_not_lead)
        self.term = status.term
        return address

    def _leads(self, status: ServerStatus) -> bool:
        return status.role == ROLE_LEADER and status.term >= self.term

    def check(self, term: int) -> None:
        """A server has let us in under that term. Raises ConnectionLost if a newer leader was heard of meanwhile."""
        if self.are_several and term < self.term:
            raise ConnectionLost(f"it leads in term {term}, which is over: there is a leader in term {self.term}")
        self.term = term

    def found(self, address: str) -> None:
        """The server there serves us."""
        if self._lost_s is not None:
            waited_s = round(trio.current_time() - self._lost_s, 2)
            log.info("metadata service found", address=address, term=self.term, waited_s=waited_s, attempts=self._failure_count)
        self._lost_s = None
        self._failure_count = 0

    def failed(self, address: str, error: Any) -> None:
        """The server there serves us no more, or did not at all. A refusal may say who leads."""
        self.learn(error)
        self._failure_count += 1
        now_s = trio.current_time()
        if self._lost_s is None:
            self._lost_s = now_s
        elif now_s - self._said_s < SAY_S:
            return
        self._said_s = now_s
        log.warning("metadata service lost; waiting for it", address=address, reason=str(error) or repr(error))

    def learn(self, error: Any) -> None:
        """Take the hint of a refusal, if it is one."""
        if isinstance(error, Refused) and error.code is Code.NOT_LEADER:
            self._scouts.learn(error.detail)

    # --- leaving --------------------------------------------------------------------------------------------------------

    async def leave_when_replaced(self, client: RpcClient, address: str) -> None:
        """Until the connection to the leader at an address is lost: end it if the leader is silent and there is a newer term."""
        while self.are_several and (number := await _falls_silent(client)):
            silent_since_s = trio.current_time() - _SILENCE_S
            newer_term = await self._newer_term(client, number, address)
            if newer_term:
                log.warning("metadata service is silent, and replaced", address=address, term=self.term, newer_term=newer_term)
                self.term = newer_term
                self._lost_s, self._said_s = silent_since_s, trio.current_time()
                await client.aclose()

    async def _newer_term(self, client: RpcClient, number: int, address: str) -> int:
        """What others say while that request to the leader is unanswered; 0 if it is answered, or the connection lost."""
        newer_term = 0

        def say(servers: dict[str, str]) -> None:
            log.warning("metadata service leaves a request unanswered; waiting for it", address=address, servers=servers)

        async def ask_others() -> None:
            nonlocal newer_term
            _, status = await self._scouts.find(lambda status: status.term > self.term, say, but=address)
            newer_term = status.term
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_others)
            while client.oldest_unanswered == number:
                with trio.move_on_after(_LOOK_S):
                    await client.lost.wait()
                    break
            nursery.cancel_scope.cancel()
        return newer_term


def _say_who_does_not_lead(servers: dict[str, str]) -> None:
    log.warning("no metadata server leads; waiting for one", servers=servers)


async def _falls_silent(client: RpcClient) -> int:
    """Wait until a request has been unanswered for some time: its number; 0 if the connection is lost before."""
    number, since_s = 0, 0.0
    while not client.lost.is_set():
        if client.oldest_unanswered != number:
            number, since_s = client.oldest_unanswered, trio.current_time()
        elif number and trio.current_time() - since_s >= _SILENCE_S:
            return number
        with trio.move_on_after(_LOOK_S):
            await client.lost.wait()
    return 0
