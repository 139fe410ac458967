"""Waiting for a healed ring: what takes minutes outlives the moments in which nobody leads."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ringfs.base.config import ClusterConfig, MetaConfig, MountConfig
from ringfs.base.errors import ConnectionLost
from ringfs.cli import healing
from ringfs.cli.exits import NotReachable
from ringfs.wire.messages.heal import HealStatus
from tests.support.heal_reports import HEALED
from tests.support.heal_reports import healing as still_healing

NOBODY = NotReachable("no metadata server answers")
CONFIG = ClusterConfig(Path("x"), "uuid", Path("key"), "replica:1", (MetaConfig("m", "m:1", Path("s")),), (), MountConfig(), "info")
Say = Callable[[Iterator[HealStatus | Exception]], None]


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Say:
    """What the leader answers, one after the other, or what becomes of asking it."""

    def these(words: Iterator[HealStatus | Exception]) -> None:
        async def ask(*_: Any) -> HealStatus:
            word = next(words)
            if isinstance(word, Exception):
                raise word
            return word

        monkeypatch.setattr(healing, "ask_leader", ask)

    return these


async def wait(shown: list[HealStatus]) -> HealStatus:
    return await healing.wait_healed(CONFIG, "test", 0, shown.append)


async def test_nobody_leads_for_a_while(say: Say, autojump_clock: object) -> None:
    """It goes on when somebody does."""
    say(iter([still_healing(), NOBODY, ConnectionLost("gone"), NOBODY, NOBODY, still_healing(), NOBODY, HEALED]))
    shown: list[HealStatus] = []
    assert await wait(shown) == HEALED
    assert shown == [still_healing(), still_healing(), HEALED]


async def test_nobody_leads_at_first(say: Say, autojump_clock: object) -> None:
    """That is said at once."""
    say(iter([NOBODY, HEALED]))
    with pytest.raises(NotReachable):
        await wait([])


async def test_nobody_leads_for_long(say: Say, autojump_clock: object) -> None:
    """That is said some time later."""

    def words() -> Iterator[HealStatus | Exception]:
        yield still_healing()
        while True:
            yield NOBODY

    say(words())
    with pytest.raises(NotReachable):
        await wait([])
