"""A client in the simulation of failover: the client library with an application on it, which may crash and begin anew.

The application does steps of the workloads until it is told to finish. When both crash, the workloads are told so, for what had not
been acknowledged may be lost; afterwards another client, with a session of its own, goes on in its place.
"""

from collections.abc import Sequence

import trio

from ringfs.base.errors import Refused
from tests.support.failover_workloads import Workload
from tests.support.failover_world import FailoverWorld
from tests.support.stopped_processes import become
from tests.support.world import Mounted

#: Between two steps: bursts, and times when nothing is asked.
_PAUSES_S = (0.0, 0.0, 0.02, 0.5, 1.5)
#: Steps after it was told to finish.
_LAST_STEPS = 5


class Client:
    """See the module. From `Client.start`."""

    def __init__(self, world: FailoverWorld, index: int, works: Sequence[Workload], mounted: Mounted) -> None:
        self.index = index
        self.name = f"client{index}"
        self.mounted = mounted
        self.step_count = 0
        self._world = world
        self._works = works
        self._last_steps = 0
        self._is_finishing = False
        self._scope = trio.CancelScope()
        #: Set but between a crash and the next beginning.
        self._is_there = trio.Event()
        self._is_there.set()
        #: Nothing of the application is under way.
        self._has_ended = trio.Event()

    @classmethod
    async def start(cls, world: FailoverWorld, index: int, works: Sequence[Workload]) -> "Client":
        """A mount, with nothing done on it yet."""
        return cls(world, index, works, await world.mount(f"client{index}"))

    async def run(self) -> None:
        """The application, until the last of its steps."""
        become(self.name)
        while self._last_steps < _LAST_STEPS:
            self._has_ended.set()
            # From here on a crash finds something to cancel.
            with trio.CancelScope() as self._scope:
                while not self._is_there.is_set():
                    await self._is_there.wait()
                await self._work()
            if self._scope.cancelled_caught:
                for work in self._works:
                    work.crashed(self.index)

    async def _work(self) -> None:
        draw = self._world.draw
        while self._last_steps < _LAST_STEPS:
            try:
                await draw.choice(self._works).step(self.index, self.mounted.fs)
            except Refused as refused:
                # A client that crashes may tell who waits on it, and nobody hears it any more.
                await trio.lowlevel.checkpoint_if_cancelled()
                raise AssertionError(f"an application on client {self.index} sees an error: {refused!r}") from refused
            self.step_count += 1
            self._last_steps += self._is_finishing
            await trio.sleep(draw.choice(_PAUSES_S) * draw.random())

    def finish(self) -> None:
        """A few steps more."""
        self._is_finishing = True

    async def crash(self, *, is_silent: bool) -> None:
        """Client and application end in this moment. is_silent: with their machine, so that nobody is told."""
        self._is_there, self._has_ended = trio.Event(), trio.Event()
        self.mounted.port.blacken()
        self._scope.cancel()
        await self.mounted.crash()
        await self._has_ended.wait()
        if not is_silent:
            self.mounted.port.cut()

    async def fall_silent(self, seconds: float) -> None:
        """Nobody hears the client any more. Its application ends after so long, and it lives on with all that it has to tell."""
        self.mounted.port.blacken()
        await trio.sleep(seconds)
        self._is_there, self._has_ended = trio.Event(), trio.Event()
        self._scope.cancel()

    async def be_heard(self, seconds: float, *, is_orderly: bool) -> None:
        """After fall_silent: for so long the client can tell what it has to; then it ends, too."""
        self.mounted.port.whiten()
        await trio.sleep(seconds)
        await (self.mounted.close() if is_orderly else self.mounted.crash())
        await self._has_ended.wait()

    async def begin_anew(self) -> None:
        """After an end."""
        self.mounted = await self._world.mount(self.name)
        self._is_there.set()

    def stand_still(self, is_stopped: bool) -> None:
        """Client and application do, as after SIGSTOP; or go on."""
        if is_stopped:
            self._world.processes.stop(self.name)
        else:
            self._world.processes.go_on(self.name)
