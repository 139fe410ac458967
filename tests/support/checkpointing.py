"""A child process that checkpoints a Store until it is killed: `python -m tests.support.checkpointing DIRECTORY`.

Checkpoint n puts n into every key that n's seed chooses, deletes others, and takes the mark n. Before and after each it
says so on its standard output: `begin n`, `done n`.
"""

import random
import sys
from pathlib import Path

import trio

from ringfs.base.kv.store import Store

KEYS = [b"key %05d" % number for number in range(20_000)]


def changes(number: int) -> dict[bytes, bytes | None]:
    """What checkpoint `number` writes: enough pages that it takes a while."""
    chance = random.Random(number)
    return {key: None if chance.random() < 0.2 else b"%d " % number * chance.randint(1, 40) for key in chance.sample(KEYS, 3000)}


def expected(number: int) -> dict[bytes, bytes]:
    """What the store holds after checkpoint `number`."""
    state: dict[bytes, bytes | None] = {}
    for each in range(1, number + 1):
        state.update(changes(each))
    return {key: value for key, value in state.items() if value is not None}


async def main(directory: Path) -> None:
    """Checkpoint for ever."""
    store = Store(directory)
    number = int(store.mark(b"number") or b"0")
    while True:
        number += 1
        store.apply(changes(number))
        print("begin", number, flush=True)
        await store.checkpoint({b"number": b"%d" % number})
        print("done", number, flush=True)


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]))
