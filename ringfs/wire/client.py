"""The asking side of RPC: calls that wait, calls that call back, pushes. Any number of them share one connection."""

import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import outcome
import trio

from ringfs.base.address import split_address
from ringfs.base.checksums import Buffer
from ringfs.base.errors import BY_NUMBER, Code, ConnectionLost, PeerBrokeProtocol, Refused, again
from ringfs.base.limits import HANDSHAKE_TIMEOUT_S, REQUESTS_IN_FLIGHT_MAX, REQUESTS_URGENT
from ringfs.wire.connection import Connection
from ringfs.wire.frames import KIND_PUSH, KIND_REPLY, KIND_REQUEST, Frame, FrameReader, FrameSealer
from ringfs.wire.handshake import greet_server
from ringfs.wire.messages.common import Refusal
from ringfs.wire.transport import transport_on


class Answer:
    """What a request was answered with. The payload is memory of its own."""

    __slots__ = ("message", "payload")

    def __init__(self, message: Any, payload: memoryview) -> None:
        self.message = message
        self.payload = payload


class NoAnswer(Refused):
    """The caller's patience ended; whether the request takes effect is not known."""

    def __init__(self) -> None:
        super().__init__(Code.IO, "no answer in time")


OnAnswer = Callable[[Answer | Refused | ConnectionLost], None]
OnPush = Callable[[Any], None]
#: Makes a stream to an address; dial_tcp, or a test's network in memory.
Dial = Callable[[str], Awaitable[trio.abc.Stream]]


class _Slots:
    """How many requests may be in flight: a semaphore whose ways without waiting are plain calls."""

    __slots__ = ("_waiting", "value")

    def __init__(self, value: int) -> None:
        #: Free ones.
        self.value = value
        self._waiting = trio.lowlevel.ParkingLot()

    async def take(self) -> None:
        """Wait for one and take it; first come, first served."""
        if self.value:
            self.value -= 1
        else:
            await self._waiting.park()

    def give(self) -> None:
        """Give one back."""
        if self._waiting:
            self._waiting.unpark()
        else:
            self.value += 1


class _Pending:
    """A request whose answer has not come."""

    __slots__ = ("deadline", "is_patient", "on_answer", "slots")

    def __init__(self, on_answer: OnAnswer, slots: _Slots, deadline: float, is_patient: bool) -> None:
        self.on_answer = on_answer
        #: Where the request's slot goes back to when it was answered.
        self.slots = slots
        #: The connection is given up if the answer has not come by then (trio's clock); only the answer, if is_patient.
        self.deadline = deadline
        self.is_patient = is_patient

    def give_up(self) -> None:
        """Nobody waits for the answer any more."""
        self.on_answer = _forget
        self.deadline = math.inf


def _forget(_answer: Answer | Refused | ConnectionLost) -> None:
    """The answer of a call that was cancelled."""


class RpcClient:
    """A connection to ask on; from open_client or client_on."""

    def __init__(self, on_push: OnPush | None) -> None:
        self._on_push = on_push
        #: Set before anybody else gets this object.
        self._connection: Connection
        self._pending: dict[int, _Pending] = {}
        #: Requests sent so far; the number of the latest one.
        self._number = 0
        self._slots = _Slots(REQUESTS_IN_FLIGHT_MAX - REQUESTS_URGENT)
        self._urgent_slots = _Slots(REQUESTS_URGENT)
        #: When the watch looks at the deadlines next; an earlier deadline must wake it.
        self._watch_at = math.inf
        self._watch_sooner = trio.Event()
        #: Set when the connection has ended.
        self.lost = trio.Event()

    # --- asking ---------------------------------------------------------------------------------------------------------

    async def call(
        self,
        request: Any,
        payload: Sequence[Buffer] = (),
        *,
        timeout_s: float | None = None,
        patience_s: float | None = None,
        urgent: bool = False,
    ) -> Answer:
        """Ask and wait for the answer. Raises Refused, ConnectionLost; after timeout_s the whole connection is given up, after
        patience_s (one of both) only the answer: NoAnswer. That costs less than a cancel scope around the call.

        The payload's buffers must not change until then, and if the call is cancelled, not before the connection's end.
        urgent: has a few slots of its own, for what others' answers may depend on.
        """
        deadline, is_patient = _deadline(timeout_s, patience_s)
        slots = self._urgent_slots if urgent else self._slots
        if not self._take_slot(slots, urgent):
            await self._wait_slot(slots, urgent, deadline, is_patient)
        pending = _Pending(_resume(trio.lowlevel.current_task()), slots, deadline, is_patient)
        self._ask(request, payload, pending)

        def abort(_raise_cancel: Any) -> trio.lowlevel.Abort:
            pending.give_up()
            return trio.lowlevel.Abort.SUCCEEDED

        answer: Answer | Refused | ConnectionLost = await trio.lowlevel.wait_task_rescheduled(abort)
        if isinstance(answer, Answer):
            return answer
        raise again(answer)

    def call_soon(
        self,
        request: Any,
        on_answer: OnAnswer,
        payload: Sequence[Buffer] = (),
        *,
        timeout_s: float | None = None,
        patience_s: float | None = None,
        urgent: bool = False,
    ) -> None:
        """Ask; on_answer is called once from the receiving loop. At once, from here, if the connection has ended or has no room
        for the request (Refused OVERLOADED: see has_room)."""
        slots = self._urgent_slots if urgent else self._slots
        if self.lost.is_set():
            on_answer(self._gone())
        elif not self._take_slot(slots, urgent):
            on_answer(Refused(Code.OVERLOADED, "too many requests in flight on this connection"))
        else:
            self._ask(request, payload, _Pending(on_answer, slots, *_deadline(timeout_s, patience_s)))

    @property
    def has_room(self) -> bool:
        """Whether call_soon would send a request now."""
        return self._slots.value > 0 and self._connection.has_room

    @property
    def has_urgent_room(self) -> bool:
        """Whether an urgent request would be sent now, and some more."""
        return self._urgent_slots.value > REQUESTS_URGENT // 4

    @property
    def oldest_unanswered(self) -> int:
        """The number of the request that has waited longest for its answer; 0 if none does."""
        return next(iter(self._pending), 0)

    async def aclose(self) -> None:
        """End the connection; whatever is unanswered is lost."""
        self._connection.close("closed here")
        await self.lost.wait()

    def _take_slot(self, slots: _Slots, urgent: bool) -> bool:
        """Whether a request may be sent now; then a slot has been taken for it."""
        if not slots.value or self.lost.is_set() or not (urgent or self._connection.has_room):
            return False
        slots.value -= 1
        return True

    async def _wait_slot(self, slots: _Slots, urgent: bool, deadline: float, is_patient: bool) -> None:
        with trio.CancelScope(deadline=deadline) as scope:
            await slots.take()
            try:
                if not urgent:
                    await self._connection.wait_room()
                if self.lost.is_set():
                    raise self._gone()
            except BaseException:
                slots.give()
                raise
        if scope.cancelled_caught and is_patient:
            raise NoAnswer
        if scope.cancelled_caught:
            self._connection.close("the peer takes no more requests")
            raise self._gone()

    def _ask(self, request: Any, payload: Sequence[Buffer], pending: _Pending) -> None:
        self._number = number = self._number + 1
        is_alone = not self._pending
        self._connection.send(KIND_REQUEST, number, request, payload, at_once=is_alone)
        self._pending[number] = pending
        if pending.deadline < self._watch_at:
            self._watch_sooner.set()

    # --- Owner of the connection ----------------------------------------------------------------------------------------

    def handle_frame(self, frame: Frame) -> None:
        """See Owner."""
        if frame.kind == KIND_REPLY:
            pending = self._pending.pop(frame.number, None)
            if pending is None:
                raise PeerBrokeProtocol("an answer to no request")
            pending.slots.give()
            message = frame.message
            if type(message) is Refusal:
                pending.on_answer(_refused(message))
            else:
                pending.on_answer(Answer(message, frame.payload))
        elif frame.kind == KIND_PUSH and self._on_push is not None:
            self._on_push(frame.message)
        else:
            raise PeerBrokeProtocol(f"a frame of kind {frame.kind} to a client")

    def may_receive(self) -> bool:
        """See Owner. Always: answers were asked for, and a client that did not take them could block a server that blocks it."""
        return True

    async def admit(self, payload_bytes: int) -> None:
        """See Owner."""

    # --- tasks ----------------------------------------------------------------------------------------------------------

    async def run(self, connection: Connection, *, task_status: trio.TaskStatus[None]) -> None:
        """Serve the connection until it ends."""
        self._connection = connection
        try:
            async with trio.open_nursery() as nursery:
                connection.start(nursery)
                nursery.start_soon(self._watch_deadlines)
                task_status.started()
                await connection.receive_loop()
        finally:
            connection.close("closed here")
            self.lost.set()
            self._lose_pending()

    def _lose_pending(self) -> None:
        pending, self._pending = self._pending, {}
        for request in pending.values():
            request.slots.give()
            request.on_answer(self._gone())

    def _gone(self) -> ConnectionLost:
        return ConnectionLost(self._connection.end_reason)

    async def _watch_deadlines(self) -> None:
        """One task for the timeouts of all calls: any one that passes is the end of the connection, or of somebody's patience."""
        while True:
            self._watch_sooner = trio.Event()
            now = trio.current_time()
            for pending in [pending for pending in self._pending.values() if pending.is_patient and pending.deadline <= now]:
                on_answer = pending.on_answer
                pending.give_up()
                on_answer(NoAnswer())
            self._watch_at = min((pending.deadline for pending in self._pending.values()), default=math.inf)
            if self._watch_at <= now:
                self._connection.close("a request was not answered in time")
            with trio.CancelScope(deadline=self._watch_at):
                await self._watch_sooner.wait()


def _deadline(timeout_s: float | None, patience_s: float | None) -> tuple[float, bool]:
    """See _Pending."""
    if patience_s is not None:
        return trio.current_time() + patience_s, True
    return (math.inf if timeout_s is None else trio.current_time() + timeout_s), False


def _resume(task: trio.lowlevel.Task) -> OnAnswer:
    return lambda answer: trio.lowlevel.reschedule(task, outcome.Value(answer))


def _refused(refusal: Refusal) -> Refused:
    code = BY_NUMBER.get(refusal.code)
    return Refused(code, refusal.detail) if code else Refused(Code.IO, f"refusal {refusal.code} {refusal.detail}".rstrip())


async def dial_tcp(address: str) -> trio.abc.Stream:
    """Connect to "host:port". Raises ConnectionLost."""
    host, port = split_address(address)
    try:
        return await trio.open_tcp_stream(host, port)
    except OSError as error:
        raise ConnectionLost(f"cannot connect to {address}: {error.strerror or error}") from error


@contextlib.asynccontextmanager
async def open_client(
    address: str, key: bytes, *, name: str, on_push: OnPush | None = None, dial: Dial = dial_tcp
) -> AsyncIterator[RpcClient]:
    """Connect, prove the key both ways, give a client that ends with the block. Raises ConnectionLost, Refused WRONG_CLUSTER."""
    with trio.move_on_after(HANDSHAKE_TIMEOUT_S) as scope:
        stream = await dial(address)
    if scope.cancelled_caught:
        raise ConnectionLost(f"cannot connect to {address}: no answer in {HANDSHAKE_TIMEOUT_S:g} s")
    async with client_on(stream, key, name=name, on_push=on_push, address=address) as client:
        yield client


@contextlib.asynccontextmanager
async def client_on(
    stream: trio.abc.Stream, key: bytes, *, name: str, on_push: OnPush | None = None, address: str = "a stream"
) -> AsyncIterator[RpcClient]:
    """The same over a stream that is connected already, which it closes at the end."""
    transport = transport_on(stream)
    try:
        with trio.move_on_after(HANDSHAKE_TIMEOUT_S) as scope:
            try:
                keys = await greet_server(transport, key, name)
            except (ConnectionLost, PeerBrokeProtocol) as error:
                raise ConnectionLost(f"no connection to {address}: {error}") from error
        if scope.cancelled_caught:
            raise ConnectionLost(f"no connection to {address}: the handshake took over {HANDSHAKE_TIMEOUT_S:g} s")
        client = RpcClient(on_push)
        connection = Connection(transport, FrameSealer(keys.to_server), FrameReader(keys.to_client), client)
        body_error: Exception | None = None
        async with trio.open_nursery() as nursery:
            await nursery.start(client.run, connection)
            try:
                yield client
            except Exception as error:
                # Raised again outside of the nursery, which would wrap what callers of call() expect in a group.
                body_error = error
            nursery.cancel_scope.cancel()
        if body_error is not None:
            raise body_error
    finally:
        await transport.aclose()
