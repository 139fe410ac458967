"""What goes wrong in the simulation of failover: the failure model, and schedules drawn from it.

Whatever of this happens, in any order and at once, nothing acknowledged is lost, nothing happens twice, and once it is over
everybody goes on:

    crash       a metadata server ends; it starts again on what its disk has, at once or many seconds later
    stop        one ends properly
    wipe        one ends, and starts again with an empty disk
    stall       one stands still for up to 15 s, as after SIGSTOP, and goes on with all that came in meanwhile
    promote     an operator has another one lead, which may be down, or the one that leads
    isolate     nothing of one's gets through to etcd, or back
    silence     what is sent to one and by it vanishes; nobody is told
    reset       all connections to one break: answers under way are lost, and requests come again
    slow        messages to one and its calls to etcd take longer
    quorum      etcd has none for a while, and answers nobody
    lose        etcd's answers to one server's changes are lost after they took effect
    watch       a member of etcd is lost with the watches it had
    compact     etcd forgets its history: a watch cannot go on where it broke
    clock       one's wall clock jumps by up to CLOCK_SKEW_MAX_NS less one second
    cut         one client's connections break
    vanish      one client is cut off from everybody for less than its leases last
    halt        one client stands still for as long at most
    die         a client crashes, with its machine or alone; another one begins in its place, soon or when its session has ended
    outlive     a client is cut off until its session has ended, and its application ends; then it is heard again, with all that it
                had not told, and ends, too; another one begins in its place

The journal is trimmed behind snapshots all the while, so who was away, or has an empty disk, may have to load one.

Not here: what the parts survive that this part builds upon: disks that lie, bytes that flip, data nodes that die.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import trio

from ringfs.base.errors import ConnectionLost, Refused
from ringfs.base.limits import CLOCK_SKEW_MAX_NS, SESSION_TIMEOUT_NS
from ringfs.wire.messages.cluster import Promote
from ringfs.wire.rpc import open_client
from tests.support.failover_client import Client
from tests.support.failover_server import NAMES, Server
from tests.support.failover_world import FailoverWorld
from tests.support.meta_doubles import KEY

#: How long a client may be alone: others go on without it when its leases are over.
_ALONE_MAX_S = 4.0
_STALL_MAX_S = 15.0
_ANSWER_S = 2.0
#: Of each seed: others wait for locks until the session of one that died has ended.
_DEATHS_MAX = 2


class Faults:
    """Draws and makes faults, and tells them as a story."""

    def __init__(self, world: FailoverWorld, clients: list[Client]) -> None:
        self.story: list[str] = []
        self._world = world
        self._draw = world.draw
        self._clients = clients
        self._deaths = 0
        #: Whom something is being done to.
        self.busy: set[str] = set()
        self._kinds: dict[str, tuple[int, Callable[[], Awaitable[None]]]] = {
            "crash": (6, self._crash),
            "stop": (2, self._stop),
            "wipe": (2, self._wipe),
            "stall": (5, self._stall),
            "promote": (4, self._promote),
            "isolate": (4, self._isolate),
            "silence": (3, self._silence),
            "reset": (4, self._reset),
            "slow": (3, self._slow),
            "quorum": (2, self._lose_quorum),
            "lose": (4, self._lose_answers),
            "watch": (3, self._break_watches),
            "compact": (2, self._compact),
            "clock": (2, self._jump),
            "cut": (3, self._cut_client),
            "vanish": (2, self._vanish_client),
            "halt": (2, self._halt_client),
            "die": (1, self._kill_client),
            "outlive": (2, self._outlive_session),
        }

    async def run(self, seconds: float) -> None:
        """For so long; when it returns everything is whole again."""
        kinds = list(self._kinds)
        weights = [weight for weight, _ in self._kinds.values()]
        until_s = trio.current_time() + seconds
        async with trio.open_nursery() as nursery:
            while trio.current_time() < until_s:
                (kind,) = self._draw.choices(kinds, weights)
                nursery.start_soon(self._kinds[kind][1])
                await trio.sleep(self._draw.choice([0.0, 0.1, 0.5, 1.0, 3.0]) * self._draw.random() * 2)
        self._tell("all is whole")

    def _tell(self, text: str) -> None:
        self.story.append(f"{trio.current_time():8.3f} s  {text}")

    def _pick(self) -> Server | None:
        """A server that runs and that nothing is being done to: as a rule the one that leads."""
        free = [server for server in self._world.servers.values() if server.is_up and server.name not in self.busy]
        leading = [server for server in free if server.leads]
        if leading and self._draw.random() < 0.6:
            return leading[0]
        return self._draw.choice(free) if free else None

    async def _for(self, what: str, longest_s: float, change: Callable[[Server, bool], None]) -> None:
        """Change something of a server, and after a time change it back."""
        server = self._pick()
        if server is None:
            return
        seconds = longest_s * self._draw.random() ** 2
        self._tell(f"{what} {server.name} for {seconds:.3f} s{', which leads' if server.leads else ''}")
        await self._during(server.name, seconds, partial(change, server))

    async def _during(self, name: str, seconds: float, change: Callable[[bool], None]) -> None:
        self.busy.add(name)
        change(True)
        await trio.sleep(seconds)
        change(False)
        self.busy.discard(name)

    # --- servers --------------------------------------------------------------------------------------------------------

    async def _crash(self) -> None:
        await self._end("crash", _crash)

    async def _stop(self) -> None:
        await self._end("stop", Server.stop)

    async def _wipe(self) -> None:
        await self._end("wipe", _wipe)

    async def _end(self, what: str, end: Callable[[Server], Awaitable[None]]) -> None:
        server = self._pick()
        if server is None:
            return
        self.busy.add(server.name)
        seconds = self._draw.choice([0.0, 0.3, 2.0, 6.0, 15.0]) * self._draw.random()
        self._tell(f"{what} {server.name}, to start {seconds:.3f} s later{', which leads' if server.leads else ''}")
        await end(server)
        await trio.sleep(seconds)
        await server.start()
        self._tell(f"{server.name} is there again")
        self.busy.discard(server.name)

    async def _stall(self) -> None:
        await self._for("stall", _STALL_MAX_S, Server.stand_still)

    async def _promote(self) -> None:
        leading, name = self._world.leading(), self._draw.choice(NAMES)
        if leading is None:
            return
        self._tell(f"have {name} lead instead of {leading.name}")
        with suppress(ConnectionLost, Refused, trio.TooSlowError), trio.move_on_after(_ANSWER_S):
            async with open_client(leading.address, KEY, name="operator", dial=self._world.network.dial) as client:
                await client.call(Promote(name), timeout_s=_ANSWER_S)

    async def _isolate(self) -> None:
        def change(server: Server, begins: bool) -> None:
            server.etcd.is_cut = begins

        await self._for("isolate", 20.0, change)

    async def _silence(self) -> None:
        network = self._world.network

        def change(server: Server, begins: bool) -> None:
            if begins:
                for link in network.links_to(server.address):
                    link.drop()
                network.unreachable.add(server.address)
            else:
                network.unreachable.discard(server.address)
                network.cut(server.address)

        await self._for("silence", 8.0, change)

    async def _reset(self) -> None:
        network = self._world.network

        def change(server: Server, begins: bool) -> None:
            if begins:
                for link in network.links_to(server.address):
                    link.to_client.drop()
            else:
                network.cut(server.address)

        await self._for("reset", 0.5, change)

    async def _slow(self) -> None:
        network, delay_s = self._world.network, 0.3 * self._draw.random()

        def change(server: Server, begins: bool) -> None:
            for link in network.links_to(server.address):
                link.delay(delay_s if begins else 0.0)
            server.etcd.delay_s = delay_s if begins else 0.001

        await self._for(f"slow, by {delay_s:.3f} s,", 6.0, change)

    async def _jump(self) -> None:
        server = self._draw.choice(list(self._world.servers.values()))
        off_ns = CLOCK_SKEW_MAX_NS - 10**9
        server.clock.wall_offset_ns = self._world.clock.wall_offset_ns + self._draw.randrange(-off_ns, off_ns)
        self._tell(f"clock of {server.name} jumps")

    # --- etcd -----------------------------------------------------------------------------------------------------------

    async def _lose_quorum(self) -> None:
        etcd = self._world.etcd
        if not etcd.has_quorum:
            return
        seconds = 8.0 * self._draw.random() ** 2
        self._tell(f"quorum of etcd lost for {seconds:.3f} s")
        etcd.has_quorum = False
        await trio.sleep(seconds)
        etcd.regain_quorum()

    async def _lose_answers(self) -> None:
        server = self._pick()
        if server is not None:
            server.etcd.answers_to_lose = self._draw.randint(1, 3)
            self._tell(f"lose {server.etcd.answers_to_lose} answers of etcd to {server.name}")

    async def _break_watches(self) -> None:
        server = self._pick()
        if server is not None:
            server.etcd.breaks += 1
            self._tell(f"watch of {server.name} broken")

    async def _compact(self) -> None:
        self._tell("etcd is compacted")
        self._world.etcd.compact(self._world.etcd.revision)

    # --- clients --------------------------------------------------------------------------------------------------------

    async def _cut_client(self) -> None:
        client = self._draw.choice(self._clients)
        self._tell(f"cut {client.name}")
        client.mounted.port.cut()

    async def _vanish_client(self) -> None:
        def change(client: Client, begins: bool) -> None:
            if begins:
                client.mounted.port.blacken()
            else:
                client.mounted.port.whiten()

        await self._alone("vanish", change)

    async def _halt_client(self) -> None:
        await self._alone("halt", Client.stand_still)

    async def _alone(self, what: str, change: Callable[[Client, bool], None]) -> None:
        """Nobody sees anything of a client for a time."""
        client = self._draw.choice(self._clients)
        if client.name in self.busy:
            return
        seconds = _ALONE_MAX_S * self._draw.random()
        self._tell(f"{what} {client.name} for {seconds:.3f} s")
        await self._during(client.name, seconds, partial(change, client))

    async def _kill_client(self) -> None:
        client = self._draw.choice(self._clients)
        if client.name in self.busy or self._deaths >= _DEATHS_MAX:
            return
        self._deaths += 1
        self.busy.add(client.name)
        is_silent = self._draw.random() < 0.5
        seconds = self._draw.choice([0.0, 1.0, 10.0, SESSION_TIMEOUT_NS / 1e9 + 5]) * self._draw.random()
        self._tell(f"{client.name} dies{' with its machine' if is_silent else ''}, to begin anew {seconds:.3f} s later")
        await client.crash(is_silent=is_silent)
        await trio.sleep(seconds)
        await client.begin_anew()
        self._tell(f"{client.name} is there again")
        self.busy.discard(client.name)

    async def _outlive_session(self) -> None:
        client = self._draw.choice(self._clients)
        if client.name in self.busy or self._deaths >= _DEATHS_MAX:
            return
        self._deaths += 1
        self.busy.add(client.name)
        session = client.mounted.fs.link.session
        self._tell(f"{client.name} is heard no more, and its application ends")
        await client.fall_silent(_ALONE_MAX_S * self._draw.random())
        while not self._world.has_ended(session):  # noqa: ASYNC110 -- virtual time
            await trio.sleep(1.0)
        self._tell(f"{client.name} is heard again after session {session} has ended")
        await client.be_heard(5.0 * self._draw.random(), is_orderly=self._draw.random() < 0.5)
        await client.begin_anew()
        self._tell(f"{client.name} has ended, and begun anew")
        self.busy.discard(client.name)


async def _crash(server: Server) -> None:
    server.crash()
    await server.wait_gone()


async def _wipe(server: Server) -> None:
    await _crash(server)
    server.wipe()
