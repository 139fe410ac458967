"""The client's line to the metadata service: one connection, the session on it, exactly-once mutations, heartbeats.

Knows nothing of inodes: what is recalled goes to a callback. A request that was unanswered when the connection was lost
is sent again on the next one, with its request number. Leases hold from the moment a heartbeat was *sent*.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import structlog
import trio

from ringfs.base.clock import Clock
from ringfs.base.errors import Code, ConnectionLost, Refused, Retry
from ringfs.base.limits import LEASE_NS
from ringfs.client.ahead import DELAY_S as AHEAD_DELAY_S
from ringfs.client.ahead import AheadQueue
from ringfs.client.dependent import Dependent
from ringfs.client.lease import Lease
from ringfs.client.mutating import Mutator, OnDone
from ringfs.client.patience import bounded
from ringfs.client.recalls import Recalls
from ringfs.client.telling import Teller
from ringfs.client.window import RequestWindow
from ringfs.wire.leaders import HEARTBEAT_S, Leaders
from ringfs.wire.messages.cluster import ClusterMap, MapChanged
from ringfs.wire.messages.common import Attributes
from ringfs.wire.messages.locks import LockFreed
from ringfs.wire.messages.session import (
    AheadItem,
    CloseSession,
    Heartbeat,
    Open,
    OpenSession,
    Query,
    Recall,
    ResumeSession,
    SessionOpened,
)
from ringfs.wire.rpc import Dial, RpcClient, dial_tcp, open_client

log = structlog.get_logger("ringfs.client.metadata")

_RECONNECT_S = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
_RESUME_OPENS = 4096
#: After this long a request is sent again that the service was too busy for.
_RESEND_S = 0.1


class MetadataLink:
    """See the module. `run` must be running for anything to be answered."""

    def __init__(
        self,
        addresses: Sequence[str],
        key: bytes,
        name: str,
        clock: Clock,
        dependent: Dependent,
        dial: Dial = dial_tcp,
        *,
        leader_wait_s: float,
    ) -> None:
        self._name = name
        self._clock = clock
        self._dependent = dependent
        self._connect = partial(open_client, key=key, name=name, dial=dial)
        self._leaders = Leaders(addresses, self._connect, _RECONNECT_S)
        #: How long a request waits for a leader before the application gets EIO.
        self._leader_wait_s = leader_wait_s
        #: 0 until the first session is open.
        self.session = 0
        self.default_class = ""
        self.map = ClusterMap(0, "", [])
        #: Called with each newer map.
        self.on_map: Callable[[ClusterMap], None] = lambda _map: None
        #: Called with those that wait for locks and may try again, and with None when the service has forgotten all of them.
        self.on_locks_freed: Callable[[list[int] | None], None] = lambda _waiters: None
        self._client: RpcClient | None = None
        #: See Line.
        self.newest_client: RpcClient | None = None
        self.newest_session = 0
        self._up = trio.Event()
        self._lease = Lease(clock, dependent.leases_lost)
        #: Whether a lease that was given in an epoch is valid now.
        self.holds = self._lease.holds
        #: Nothing that was cached until now may be used.
        self.void_leases = self._lease.void
        self._recalls = Recalls(self, dependent.recalled)
        #: Applied here first; request numbers are shared with what is unanswered.
        self._ahead = AheadQueue(dependent.mistaken, self._window_moved, self.turned_away)
        self._window = RequestWindow(self._ahead.first)
        self._mutator = Mutator(self, self._window, leader_wait_s)
        self._teller = Teller(self, self._window_moved)
        self.tell = self._teller.tell
        self._closing = False
        self._nursery: trio.Nursery | None = None

    # --- requests ---------------------------------------------------------------------------------------------------

    async def query(self, operation: Any, *, timeout_s: float | None = None) -> Any:
        """The answer to a question. Raises Refused."""
        with bounded(self._leader_wait_s if timeout_s is None else timeout_s):
            while True:
                client = await self.connected()
                while self._teller and type(operation) is Open:
                    # It may be a close of the same inode.
                    await self._mutator.waiters.park()
                    client = await self.connected()
                try:
                    return (await client.call(Query(self.session, operation))).message
                except ConnectionLost:
                    continue
                except Refused as refused:
                    if self.turned_away(client, refused):
                        continue
                    if refused.code.retry is not Retry.RESEND:
                        raise
                    await trio.sleep(_RESEND_S)

    async def call(self, request: Any) -> Any:
        """The answer to a message that is no Query (status, snapshots …), sent again if the connection is lost."""
        with bounded(self._leader_wait_s):
            while True:
                client = await self.connected()
                try:
                    return (await client.call(request)).message
                except ConnectionLost:
                    continue
                except Refused as refused:
                    if not self.turned_away(client, refused):
                        raise

    async def mutate(self, operation: Any, *, urgent: bool = False, session: int = 0) -> Any:
        """The answer to a transaction, which takes effect once. Raises Refused; NO_SESSION if its session ended meanwhile.

        urgent: for what others' answers may wait for (commits, which recalls ask for). session: for which one the operation was
        put together, if it would be wrong under another.
        """
        return await self._mutator.mutate(operation, urgent=urgent, session=session)

    def mutate_soon(self, operation: Any, on_done: OnDone, *, session: int) -> None:
        """The same, urgent, without a task: on_done is called with the answer, or a Refused, from where it is received; never from
        here."""
        self._mutator.mutate_soon(operation, on_done, session=session)

    def _window_moved(self) -> None:
        self._mutator.waiters.unpark_all()

    # --- ahead of the service -------------------------------------------------------------------------------------------

    @property
    def may_act_ahead(self) -> bool:
        """Whether one more transaction may be applied here first. Not while something is to be told: it would be overtaken."""
        if self.live_client is None or self._teller:
            return False
        return self._window.has_room and self._ahead.is_welcome

    def act_ahead(self, operation: Any, client_ns: int, mark: int) -> None:
        """Have the service do what was done here, at client_ns; `mark` of its answer is expected (meta/namespace/marks.py)."""
        self._ahead.add(self._window.take(), AheadItem(client_ns, operation), mark)

    async def settled(self) -> None:
        """Wait until all that was done ahead until now is answered, and so durable. Raises Refused IO after a long time."""
        if self._ahead.is_settled:
            return
        with bounded(self._leader_wait_s):
            await self._ahead.settled()

    def send_ahead(self, client: RpcClient) -> bool:
        """Send what was done ahead, before anything else that may build upon it; whether all is sent."""
        if not self._ahead.is_clear:
            self._ahead.send(client, self.session, self._window.first)
        return self._ahead.is_clear

    async def _send_ahead_forever(self) -> None:
        while True:
            await self._ahead.wait_work()
            await self._ahead.pause()
            while not self._ahead.is_sent:
                client = await self._reached()
                if not self.send_ahead(client):
                    await trio.sleep(AHEAD_DELAY_S)
                    await self._ahead.pause()

    def start_soon(self, function: Callable[..., Awaitable[object]], *arguments: Any) -> None:
        """Run something beside, as long as the link runs."""
        assert self._nursery is not None, "the link is running"
        self._nursery.start_soon(function, *arguments)

    @property
    def has_untold(self) -> bool:
        """Whether something waits to be told."""
        return bool(self._teller)

    @property
    def recalls_seen(self) -> int:
        """How many arrived: an answer asked for before one came is not cached, since the one may be about the other."""
        return self._recalls.seen

    @property
    def lease_epoch(self) -> int:
        """What is cached now is leased in it."""
        return self._lease.epoch

    # --- the connection ---------------------------------------------------------------------------------------------

    async def connected(self) -> RpcClient:
        """The connection, once what was done ahead has been sent on it."""
        client = await self._reached()
        while not self.send_ahead(client):
            await self._ahead.clear()
            client = await self._reached()
        return client

    async def _reached(self) -> RpcClient:
        """The connection, once there is one."""
        while (client := self.live_client) is None:
            await self._up.wait()
        return client

    @property
    def live_client(self) -> RpcClient | None:
        """The connection, unless it is lost."""
        client = self._client
        return client if client is not None and not client.lost.is_set() else None

    async def run(self, task_status: trio.TaskStatus[Refused | None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep a connection and a session for ever. Started once the first session is open; or refused: then with the refusal."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._recalls.run)
            nursery.start_soon(self._lease.watch)
            nursery.start_soon(self._send_ahead_forever)
            while not self._closing:
                address = ""
                try:
                    address = await self._leaders.next()
                    async with self._connect(address, on_push=self._pushed) as client:
                        nursery.start_soon(self._leaders.leave_when_replaced, client, address)
                        await self._begin(client)
                        self._leaders.found(address)
                        task_status.started()
                        task_status = trio.TASK_STATUS_IGNORED
                        ended: Exception = await self._keep(client)
                except (OSError, ConnectionLost, trio.TooSlowError, Refused) as error:
                    if isinstance(error, Refused) and not self.session and error.code is not Code.NOT_LEADER:
                        task_status.started(error)
                        break
                    ended = error
                finally:
                    self._down()
                if not self._closing:
                    self._leaders.failed(address, ended)
            nursery.cancel_scope.cancel()

    async def _begin(self, client: RpcClient) -> None:
        """Open a session, or resume the one we had; then requests may flow."""
        sent_ns = self._clock.monotonic_ns()
        self.newest_client, self.newest_session = client, self.session
        opened: SessionOpened
        renewed = False
        if self.session == 0:
            opened = (await client.call(OpenSession(self._name), timeout_s=LEASE_NS / 1e9)).message
        else:
            try:
                opened = await self._resume(client, self.session)
            except Refused as refused:
                if refused.code is not Code.NO_SESSION:
                    raise
                log.warning("session has ended at the metadata service; opening a new one", session=self.session)
                self._ahead.give_up()
                opened = (await client.call(OpenSession(self._name), timeout_s=LEASE_NS / 1e9)).message
                self.newest_session = opened.session
                # Before anything else is asked under it: whoever reads what we have dirty must have us flush it.
                await self._resume(client, opened.session)
                renewed = True
        if opened.session != self.session:
            self._window.renew()
        self._leaders.check(opened.incarnation)
        self.session = self.newest_session = opened.session
        self.default_class = opened.default_class
        self._take_map(opened.map)
        self._lease.begin(sent_ns)
        if renewed:
            assert self._nursery is not None, "the link is running"
            self._dependent.session_renewed()
            self._nursery.start_soon(self._dependent.find_lost)
        self._client = client
        self._up.set()

    async def _resume(self, client: RpcClient, session: int) -> SessionOpened:
        # Also what was sent on a connection that was lost before it was resumed.
        self._ahead.send_again()
        opens = self._dependent.open_inodes()
        while True:
            part, opens = opens[:_RESUME_OPENS], opens[_RESUME_OPENS:]
            is_last = not opens and not self._ahead
            answer = await client.call(ResumeSession(session, part, not is_last), timeout_s=LEASE_NS / 1e9)
            if is_last:
                opened: SessionOpened = answer.message
                return opened
            if not opens:
                await self._repeat_ahead(client, session)

    async def _repeat_ahead(self, client: RpcClient, session: int) -> None:
        """Have what was done ahead answered before the service lets anybody else go on: it came first. Returns earlier if it takes
        long, for the session to be heard of."""
        with trio.move_on_after(LEASE_NS / 3e9):
            while self._ahead and not client.lost.is_set():
                await self._ahead.pause()
                self._ahead.send(client, session, self._window.first)
                await trio.sleep(AHEAD_DELAY_S)

    def _down(self) -> None:
        if self._client is not None:
            self._client = None
            self._teller.forget()
            self._mutator.waiters.unpark_all()
            self._ahead.send_again()
            self._up = trio.Event()
            self._lease.end()
            self.on_locks_freed(None)

    async def _keep(self, client: RpcClient) -> ConnectionLost | Refused:
        """Heartbeats until the connection is lost, or a server refuses one: how."""
        try:
            while True:
                with trio.move_on_after(HEARTBEAT_S if self._leaders.are_several else LEASE_NS / 3e9):
                    await client.lost.wait()
                sent_ns = self._clock.monotonic_ns()
                await client.call(Heartbeat(self.session), timeout_s=LEASE_NS / 1e9, urgent=True)
                self._lease.renew(sent_ns)
        except (ConnectionLost, Refused) as error:
            return error

    def turned_away(self, client: RpcClient, refused: Refused) -> bool:
        """Whether a refusal means that this connection leads nowhere any more: the service does not know our session, or does not
        lead. Then requests wait until there is another (see _begin)."""
        if refused.code not in (Code.NO_SESSION, Code.NOT_LEADER):
            return False
        self._leaders.learn(refused)
        if self._client is client:
            self._down()
            assert self._nursery is not None, "the link is running"
            self._nursery.start_soon(client.aclose)
        return True

    async def close(self) -> None:
        """End the session cleanly, if the service answers within a lease time."""
        self._closing = True
        client = self._client
        if client is not None:
            with trio.move_on_after(LEASE_NS / 1e9):
                try:
                    await client.call(CloseSession(self.session))
                except (ConnectionLost, Refused) as error:
                    log.warning("session not closed cleanly", reason=str(error))
            await client.aclose()

    def class_of(self, attributes: Attributes) -> str:
        """The class of service of an inode's new bytes. The map that names a class comes before anybody hears of its number."""
        classes = self.map.classes
        return classes[attributes.class_number] if attributes.class_number < len(classes) else self.default_class

    # --- what the service pushes ------------------------------------------------------------------------------------

    def _pushed(self, message: Any) -> None:
        if isinstance(message, Recall):
            self._recalls.arrived(message)
        elif isinstance(message, MapChanged):
            self._take_map(message.map)
        elif isinstance(message, LockFreed):
            self.on_locks_freed(message.waiters)

    def _take_map(self, map: ClusterMap) -> None:
        if map.epoch >= self.map.epoch:
            self.map = map
            self.on_map(map)
