"""Asking metadata servers what they are, side by side: one that is slow, stopped or gone holds up nobody but itself.

Not here: what is done with the leader that is found (leaders.py, cli/reach.py).
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

import trio

from ringfs.base.address import split_address
from ringfs.base.errors import Code, ConnectionLost, Refused, UserError
from ringfs.base.limits import HANDSHAKE_TIMEOUT_S
from ringfs.wire.client import RpcClient
from ringfs.wire.messages.cluster import ROLE_LEADER, ROLE_STANDBY, GetServer, ServerStatus

#: Each server is asked again so long after its last answer or failure; later, after some time without a leader, less often.
_PAUSE_S = 0.25
_LATER_PAUSE_S = 1.0
_LATER_S = 10.0
#: While nothing is found, it is said so often.
SAY_S = 10.0
#: Addresses that are known at most: hints come from peers.
_ADDRESSES_MAX = 16

#: Connects to a metadata server.
Connect = Callable[[str], AbstractAsyncContextManager[RpcClient]]


async def ask_server(connect: Connect, address: str) -> ServerStatus:
    """What one server says of itself. Raises ConnectionLost, Refused."""
    async with connect(address) as client:
        return await _ask(client)
    raise AssertionError("a client does not suppress exceptions")


async def _ask(client: RpcClient) -> ServerStatus:
    status: ServerStatus = (await client.call(GetServer(), timeout_s=HANDSHAKE_TIMEOUT_S)).message
    return status


def role_text(status: ServerStatus) -> str:
    """What a server is, for people."""
    role = {ROLE_LEADER: "leads", ROLE_STANDBY: "is a standby"}.get(status.role, "is starting")
    return f"{role}: {status.trouble}" if status.trouble else role


@dataclass(slots=True)
class _Search:
    """A search that is on its way."""

    wanted: Callable[[ServerStatus], bool]
    nursery: trio.Nursery
    begun_s: float
    asked: set[str]
    found: tuple[str, ServerStatus] | None = None
    #: Who will never answer: the cluster key is not the server's.
    refused: dict[str, Refused] = field(default_factory=dict)


class Scouts:
    """Knows the addresses of a cluster's metadata servers: those of the configuration, and those that servers told of."""

    def __init__(self, addresses: Iterable[str], connect: Connect) -> None:
        self._connect = connect
        #: By address: what the server said of itself last, or why it could not be asked.
        self.words: dict[str, str] = dict.fromkeys(addresses, "")

    @property
    def addresses(self) -> list[str]:
        """All that are known."""
        return list(self.words)

    def learn(self, address: str) -> None:
        """A server said that the leader is there; "" if it knows none."""
        try:
            split_address(address)
        except UserError:
            return
        if len(self.words) < _ADDRESSES_MAX:
            self.words.setdefault(address, "")

    async def find(
        self, wanted: Callable[[ServerStatus], bool], say: Callable[[dict[str, str]], None], *, but: str = ""
    ) -> tuple[str, ServerStatus]:
        """Ask all, but one, again and again until one is as wanted: its address, and what it said. While that takes long, `say`
        is called with `words`.

        Raises Refused WRONG_CLUSTER if all say that.
        """
        async with trio.open_nursery() as nursery:
            search = _Search(wanted, nursery, trio.current_time(), {but})
            self._ask_all(search)
            # Without anybody to ask this goes on until it is cancelled.
            while True:
                await trio.sleep(SAY_S)
                say(dict(self.words))
        if search.found is None:
            raise next(iter(search.refused.values()))
        return search.found

    def _ask_all(self, search: _Search) -> None:
        for address in self.addresses:
            if address not in search.asked:
                search.asked.add(address)
                search.nursery.start_soon(self._keep_asking, address, search)

    async def _keep_asking(self, address: str, search: _Search) -> None:
        while True:
            try:
                async with self._connect(address) as client:
                    while not self._take(address, await _ask(client), search):
                        await _pause(search)
            except (ConnectionLost, Refused) as error:
                self.words[address] = str(error)
                if isinstance(error, Refused) and error.code is Code.WRONG_CLUSTER:
                    self._refuse(address, error, search)
            await _pause(search)

    def _refuse(self, address: str, error: Refused, search: _Search) -> None:
        search.refused[address] = error
        if len(search.refused) == len(self.words):
            search.nursery.cancel_scope.cancel()

    def _take(self, address: str, status: ServerStatus, search: _Search) -> bool:
        self.words[address] = f"{status.name} {role_text(status)}"
        if search.wanted(status):
            search.found = search.found or (address, status)
            search.nursery.cancel_scope.cancel()
            return True
        self.learn(status.leader_address)
        self._ask_all(search)
        return False


async def _pause(search: _Search) -> None:
    is_late = trio.current_time() - search.begun_s >= _LATER_S
    await trio.sleep(_LATER_PAUSE_S if is_late else _PAUSE_S)
