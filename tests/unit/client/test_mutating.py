"""Transactions asked for without a task: once each, whatever happens to the connection. The other way: test_metadata.py."""

from typing import Any

import trio

from ringfs.base.errors import Code, Refused
from ringfs.wire.messages.common import Done
from ringfs.wire.messages.session import Mutate
from tests.unit.client.test_metadata import WAIT_S, line, unlink


async def test_soon_means_now(autojump_clock: trio.testing.MockClock) -> None:
    """The request is on its way when mutate_soon returns; the answer comes once, and not from there."""
    async with line() as at:
        done: list[Any] = []
        at.link.mutate_soon(unlink(1), done.append, session=at.link.session)
        assert not done
        await trio.sleep(1)
        assert [type(answer) for answer in done] == [Done]
        assert [(message.number, message.acknowledged) for message in at.service.of(Mutate)] == [(1, 1)]


async def test_it_is_sent_again_with_its_number(autojump_clock: trio.testing.MockClock) -> None:
    """Lost connections and a busy service: the same number again, and one answer in the end."""
    async with line() as at:
        at.service.keeps = (Mutate,)
        done: list[Any] = []
        at.link.mutate_soon(unlink(1), done.append, session=at.link.session)
        await trio.sleep(1)
        at.service.keeps, at.service.refuses = (), {Mutate: Code.OVERLOADED}
        at.cut()
        await trio.sleep(1)
        assert not done
        at.service.refuses = {}
        await trio.sleep(1)
        assert [type(answer) for answer in done] == [Done]
        assert {message.number for message in at.service.of(Mutate)} == {1}


async def test_a_refusal_is_handed_over(autojump_clock: trio.testing.MockClock) -> None:
    """Also that of a session that has ended, for which the operation was put together."""
    async with line() as at:
        at.service.refuses = {Mutate: Code.EXISTS}
        done: list[Refused] = []
        at.link.mutate_soon(unlink(1), done.append, session=at.link.session)
        at.link.mutate_soon(unlink(2), done.append, session=at.link.session + 1)
        await trio.sleep(1)
        assert {refused.code for refused in done} == {Code.EXISTS, Code.NO_SESSION}


async def test_patience_ends(autojump_clock: trio.testing.MockClock) -> None:
    """Without an answer it is refused in the end; what it may have changed is cached no more. The connection goes on."""
    async with line() as at:
        at.service.keeps = (Mutate,)
        done: list[Refused] = []
        lost = at.owner.lost_count
        at.link.mutate_soon(unlink(1), done.append, session=at.link.session)
        await trio.sleep(WAIT_S - 1)
        assert not done
        await trio.sleep(2)
        assert [refused.code for refused in done] == [Code.IO]
        assert at.owner.lost_count == lost + 1
        at.service.kept[0].reply(Done())
        at.service.keeps = ()
        await at.link.mutate(unlink(2))
        assert len(done) == 1
