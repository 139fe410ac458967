"""A process that puts, renews and deletes until it is killed: `python -m tests.support.store_worker DIR SEED FIRST`.

Lines: "put N", "renewed N", "deleted N" after the store has acknowledged it; "deleting N" before it is asked to. N counts up from
FIRST; what it stands for is thing(N).
"""

import random
import sys
from pathlib import Path

import trio

from ringfs.data import checkpointer
from tests.support.stores import Made, TickingClock, any_part, made, put, running

#: Deletes and renewals look back so far.
_RECENT = 20


def thing(number: int) -> Made:
    """Small ones, some of several blocks; copies and fragments."""
    return any_part(made(number, random.Random(number).choice([100, 5000, 70_000, 300_000])))


def say(what: str, number: int) -> None:
    """At once: the process may be killed at any time."""
    sys.stdout.write(f"{what} {number}\n")
    sys.stdout.flush()


async def work(directory: Path, seed: int, first: int) -> None:
    """For ever."""
    chance = random.Random(seed)
    checkpointer.INTERVAL_S = 0.02
    numbers = iter(range(first, sys.maxsize))
    held: list[int] = []
    async with running(directory, clock=TickingClock(1_000_000 * first + 1)) as store, trio.open_nursery() as nursery:

        def take_one() -> int:
            """A recent one that no other loop deals with meanwhile."""
            return held.pop(-1 - chance.randrange(min(len(held), _RECENT)))

        async def loop() -> None:
            for number in numbers:
                await put(store, thing(number))
                say("put", number)
                held.append(number)
                if held and chance.random() < 0.3:
                    again = take_one()
                    if not await put(store, thing(again)):
                        say("renewed", again)
                    held.append(again)
                if held and chance.random() < 0.3:
                    dead = take_one()
                    say("deleting", dead)
                    await store.delete([(thing(dead).oid, 1 << 61)])
                    say("deleted", dead)

        for _ in range(4):
            nursery.start_soon(loop)


if __name__ == "__main__":
    trio.run(work, Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
