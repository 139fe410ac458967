"""AheadQueue against a connection that does what it is told: order, batches, room, short answers, the end of a session."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from ringfs.base.errors import Code, ConnectionLost, Refused
from ringfs.base.limits import AHEAD_ITEMS_MAX
from ringfs.client.ahead import AheadQueue
from ringfs.wire.messages.namespace import Mkdir
from ringfs.wire.messages.session import AheadDone, AheadItem, MutateAhead


class Line:
    """Stands for an RpcClient; keeps what is sent, with its callback."""

    def __init__(self) -> None:
        self.room = 1000
        self.sent: list[tuple[MutateAhead, Callable[[Any], None]]] = []

    @property
    def has_urgent_room(self) -> bool:
        """See RpcClient."""
        return self.room > 0

    def call_soon(self, request: MutateAhead, on_answer: Callable[[Any], None], *, urgent: bool) -> None:
        """See RpcClient."""
        assert urgent
        self.room -= 1
        self.sent.append((request, on_answer))

    def take(self) -> tuple[MutateAhead, Callable[[Any], None]]:
        """The first that is not taken."""
        return self.sent.pop(0)


class Trial:
    """A queue, and what it told."""

    def __init__(self) -> None:
        self.mistakes: list[tuple[bytes, Code | None]] = []
        self.answered = 0
        self.refusals: list[Code] = []
        self.line = Line()
        self.queue = AheadQueue(self._mistaken, self._on_answers, self._on_refusal)

    def _mistaken(self, operation: Any, refused: Refused | None) -> None:
        self.mistakes.append((operation.name, refused.code if refused else None))

    def _on_answers(self) -> None:
        self.answered += 1

    def _on_refusal(self, _client: Any, refused: Refused) -> None:
        self.refusals.append(refused.code)

    def add(self, *numbers: int) -> None:
        """Do something ahead under each number; its mark is the number."""
        for number in numbers:
            self.queue.add(number, AheadItem(1, Mkdir(1, b"%d" % number, 0, 0, 0, 0)), number)

    def send(self) -> None:
        """On the line."""
        self.queue.send(self.line, 7, self.queue.first(99))  # type: ignore[arg-type]

    def answer(self, *, codes: list[int] | None = None, marks: list[int] | None = None, is_short: bool = False) -> list[int]:
        """Answer the first batch: rightly, if nothing else is said. Its numbers."""
        request, on_answer = self.line.take()
        numbers = [request.number + index for index in range(len(request.items))]
        right = marks is None and codes is None
        done = AheadDone([0] * len(numbers) if right else codes or [], numbers if right else marks or [], is_short)
        on_answer(SimpleNamespace(message=done))
        return numbers


@pytest.fixture
def trial() -> Trial:
    return Trial()


async def test_batches_are_in_order_and_without_gaps(trial: Trial) -> None:
    """A number that something else was sent under ends a batch; so does its size."""
    trial.add(1, 2, 4, 5)
    trial.add(*range(6, 6 + AHEAD_ITEMS_MAX))
    assert not trial.queue.is_clear
    trial.send()
    assert trial.queue.is_clear
    sizes = [(request.number, len(request.items)) for request, _ in trial.line.sent]
    assert sizes == [(1, 2), (4, AHEAD_ITEMS_MAX), (4 + AHEAD_ITEMS_MAX, 2)]
    assert {(request.session, request.acknowledged) for request, _ in trial.line.sent} == {(7, 1)}
    trial.answer()
    assert trial.queue.first(99) == 4
    trial.send()
    assert len(trial.line.sent) == 2, "nothing is sent twice"


async def test_room_bounds_what_is_sent(trial: Trial) -> None:
    """What has no room waits, in order."""
    trial.line.room = 1
    trial.add(1, 3)
    trial.send()
    assert [request.number for request, _ in trial.line.sent] == [1]
    assert not trial.queue.is_clear
    trial.line.room = 1
    trial.send()
    assert trial.queue.is_clear


async def test_a_short_answer_holds_everything_up(trial: Trial, autojump_clock: trio.testing.MockClock) -> None:
    """Nothing else is sent before what there was no space for, which is sent again after a while, with all that came later."""
    trial.add(1, 2, 3)
    trial.send()
    trial.add(4)
    trial.answer(codes=[0], marks=[1], is_short=True)
    assert not trial.queue.is_clear
    assert not trial.queue.is_welcome
    trial.send()
    assert not trial.line.sent
    before = trio.current_time()
    await trial.queue.pause()
    assert trio.current_time() > before
    trial.send()
    assert [request.number for request, _ in trial.line.sent] == [2]
    assert trial.answer() == [2, 3, 4]
    assert not len(trial.queue)
    await trio.sleep(2)
    assert trial.queue.is_welcome
    assert not trial.mistakes


async def test_a_refused_batch_is_sent_again(trial: Trial, autojump_clock: trio.testing.MockClock) -> None:
    """All of it."""
    trial.add(1, 2)
    trial.send()
    trial.line.take()[1](Refused(Code.OVERLOADED))
    assert trial.refusals == [Code.OVERLOADED]
    assert not trial.queue.is_clear
    await trial.queue.pause()
    trial.send()
    assert trial.answer() == [1, 2]


async def test_a_lost_connection(trial: Trial) -> None:
    """All unanswered is sent again, in order; an answer that was lost changes nothing, a late one counts once."""
    trial.add(1, 2)
    trial.send()
    trial.add(3)
    _, late = trial.line.take()
    late(ConnectionLost("gone"))
    assert len(trial.queue) == 3
    trial.queue.send_again()
    trial.send()
    assert trial.answer() == [1, 2, 3]
    late(SimpleNamespace(message=AheadDone([0, 0], [0, 0], False)))
    assert not trial.mistakes


async def test_other_answers_are_mistakes(trial: Trial) -> None:
    """A refusal, and another mark; each is told once, and no more waited for."""
    trial.add(1, 2, 3)
    trial.send()
    trial.answer(codes=[Code.EXISTS.number, 0, 0], marks=[0, 2, 77])
    assert trial.mistakes == [(b"1", Code.EXISTS), (b"3", None)]
    assert not len(trial.queue)
    assert trial.answered == 1


async def test_settled_waits_for_what_was_done_before(trial: Trial, autojump_clock: trio.testing.MockClock) -> None:
    """Not for what is done later."""
    await trial.queue.settled()
    trial.add(1, 2)
    done = trio.Event()

    async def wait() -> None:
        await trial.queue.settled()
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        trial.send()
        trial.add(3)
        trial.send()
        await trio.testing.wait_all_tasks_blocked()
        assert not done.is_set()
        trial.answer()
        await trio.testing.wait_all_tasks_blocked()
        assert done.is_set()


async def test_giving_up(trial: Trial, autojump_clock: trio.testing.MockClock) -> None:
    """With the session all is lost, told of each, and nobody waits any more."""
    trial.add(1, 2)
    trial.send()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trial.queue.settled)
        await trio.testing.wait_all_tasks_blocked()
        trial.queue.give_up()
    assert trial.mistakes == [(b"1", Code.NO_SESSION), (b"2", Code.NO_SESSION)]
    trial.answer(codes=[0, 0], marks=[1, 2])
    assert trial.queue.is_clear
    assert trial.queue.is_welcome


async def test_work_is_waited_for_a_moment_or_a_batch(trial: Trial, autojump_clock: trio.testing.MockClock) -> None:
    """So that a few go together, and many at once."""
    trial.add(1)
    before = trio.current_time()
    await trial.queue.wait_work()
    assert trio.current_time() > before
    trial.send()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trial.queue.wait_work)
        await trio.testing.wait_all_tasks_blocked()
        before = trio.current_time()
        trial.add(*range(2, 2 + AHEAD_ITEMS_MAX))
    assert trio.current_time() == before
