"""A bad network before a data node: a proxy, a process of its own, that holds back what it forwards. For tests and tools.

It stands where others look for the node (`advertise` of cluster.toml). It takes neither netem nor rights: what a program sees of
a slow or lossy way is bytes that come late, and in order, and that is made here:

    delay S      each chunk, either way, arrives S seconds after it was sent; as many as there are may be on their way
    loss P [S]   such a share of chunks, either way, is lost and sent once more, S (by default 0.2) to 2 S seconds later; those
                 behind it wait for it
    off          nothing is held back

These are lines on the program's standard input; each is answered by one line: how many bytes the server has sent so far. It ends
with its input.
"""

import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, cast

import trio

from ringfs.base.address import split_address
from ringfs.base.config import load_config
from tests.support.mounts import DevCluster

#: So much is on its way at the most, in each direction of a connection: a bound, not a window.
_CHUNKS_MAX = 1024
#: The shortest that what was lost takes to come again, if it is not said.
_LOST_S = 0.2


class Weather:
    """What befalls chunks just now."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._delay_s = 0.0
        self._loss = 0.0
        self._lost_s = _LOST_S
        #: Of the server's bytes.
        self.sent_bytes = 0

    def obey(self, line: str) -> None:
        """A line of the module's list."""
        kind, *given = line.split()
        amount, self._lost_s = [*map(float, given), *(0.0, _LOST_S)[len(given) :]]
        self._delay_s = amount if kind == "delay" else 0.0
        self._loss = amount if kind == "loss" else 0.0

    def held_back_s(self) -> float:
        """How much later the next chunk arrives."""
        is_lost = self._loss and self._random.random() < self._loss
        return self._random.uniform(self._lost_s, 2 * self._lost_s) if is_lost else self._delay_s


async def _forward(weather: Weather, source: trio.SocketStream, target: trio.SocketStream, *, is_server: bool) -> None:
    """One direction of a connection, to its end."""
    put, take = trio.open_memory_channel[tuple[float, bytes | bytearray]](_CHUNKS_MAX)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_deliver, take, target)
        due_s = 0.0
        async with put:
            async for chunk in source:
                weather.sent_bytes += len(chunk) if is_server else 0
                due_s = max(due_s, trio.current_time() + weather.held_back_s())
                await put.send((due_s, chunk))


async def _deliver(take: "trio.MemoryReceiveChannel[tuple[float, bytes | bytearray]]", target: trio.SocketStream) -> None:
    async for due_s, chunk in take:
        await trio.sleep_until(due_s)
        await target.send_all(chunk)
    await target.send_eof()


async def _serve(weather: Weather, address: str, client: trio.SocketStream) -> None:
    """A connection, to the end of both directions, or to a failure of either."""
    host, port = split_address(address)
    try:
        async with await trio.open_tcp_stream(host, port) as server, trio.open_nursery() as nursery:
            nursery.start_soon(partial(_forward, weather, client, server, is_server=False))
            nursery.start_soon(partial(_forward, weather, server, client, is_server=True))
    except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
        # As when the way is cut: either end sees its connection end.
        pass


async def _run(address: str, seed: int) -> None:
    weather = Weather(seed)
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, partial(_serve, weather, address), listeners)
        print(listeners[0].socket.getsockname()[1], flush=True)
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            weather.obey(line)
            print(weather.sent_bytes, flush=True)
        nursery.cancel_scope.cancel()


class SlowProxy:
    """The process, seen from outside."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        #: Where it listens.
        self.address = f"127.0.0.1:{self._line()}"

    def set(self, weather: str) -> int:
        """A line of the module's list; how many bytes the server has sent until now."""
        commands = cast(IO[str], self._process.stdin)
        commands.write(weather + "\n")
        commands.flush()
        return self._line()

    def _line(self) -> int:
        return int(cast(IO[str], self._process.stdout).readline())


@contextmanager
def slow_proxy(address: str, seed: int = 1) -> Iterator[SlowProxy]:
    """One before that address; ended afterwards."""
    command = [sys.executable, "-m", "tests.support.slow_proxy", address, str(seed)]
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        try:
            yield SlowProxy(process)
        finally:
            process.kill()


@contextmanager
def node_behind_proxy(cluster: DevCluster, name: str, seed: int = 1) -> Iterator[SlowProxy]:
    """A data node of a dev cluster, started anew so that clients and other nodes reach it through a proxy."""
    config = cluster.directory / "cluster.toml"
    address = load_config(config).data_named(name).address
    with slow_proxy(address, seed) as proxy:
        line = f'address = "{address}"\n'
        config.write_text(config.read_text().replace(line, f'{line}advertise = "{proxy.address}"\n'))
        cluster.dev("stop", name)
        cluster.dev("up")
        yield proxy


if __name__ == "__main__":
    trio.run(_run, sys.argv[1], int(sys.argv[2]))
