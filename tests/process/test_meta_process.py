"""The metadata server as a real process: killed in the middle of transactions, stopped, started twice."""

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from ringfs.base.errors import ConnectionLost
from ringfs.base.ids import ROOT_INODE
from ringfs.base.kv.store import Store
from ringfs.meta import marks
from ringfs.meta.journal.file import FileJournal
from ringfs.meta.namespace.check import check
from ringfs.wire.messages.namespace import Mknod
from ringfs.wire.messages.queries import Lookup, ReadDirectory
from ringfs.wire.messages.session import Mutate, OpenSession, Query, ResumeSession
from ringfs.wire.rpc import open_client
from tests.support.meta_process import MetaProcess

KILLS = 8
WORKERS = 16


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MetaProcess]:
    """One that is not running yet."""
    server = MetaProcess(tmp_path)
    yield server
    server.kill()


class Maker:
    """A session that makes files, each by one request, repeated under its number until it is answered."""

    def __init__(self) -> None:
        self.session = 0
        self.number = 0
        #: Requests without answer, oldest first; and the names whose making was acknowledged.
        self.unanswered: dict[int, Mutate] = {}
        self.acknowledged: set[bytes] = set()

    async def make_until_lost(self, server: MetaProcess) -> None:
        """Resume, repeat what is unanswered, and go on until the server is gone."""
        lost = False
        try:
            await self._make(server)
        except* ConnectionLost:
            lost = True
        assert lost, "it ends with the server only"

    async def _make(self, server: MetaProcess) -> None:
        async with open_client(server.address, server.key, name="maker", on_push=lambda _message: None) as client:
            if self.session == 0:
                self.session = (await client.call(OpenSession("maker"))).message.session
            else:
                await client.call(ResumeSession(self.session, [], False))

            async def work() -> None:
                while True:
                    await answer(self.next_request())

            async def answer(request: Mutate) -> None:
                name = request.operation.name
                made = await client.call(request)
                assert made.message.attributes.links == 1
                del self.unanswered[request.number]
                self.acknowledged.add(name)

            async with trio.open_nursery() as nursery:
                for request in list(self.unanswered.values()):
                    nursery.start_soon(answer, request)
                for _ in range(WORKERS):
                    nursery.start_soon(work)

    def next_request(self) -> Mutate:
        """The next file. `exclusive`: making it twice would be refused."""
        self.number += 1
        operation = Mknod(ROOT_INODE, b"file%d" % self.number, 0o100644, 0, 0, 0, 0, 0, True)
        request = Mutate(self.session, self.number, next(iter(self.unanswered), self.number), operation)
        self.unanswered[self.number] = request
        return request


async def test_killed_in_the_middle_of_transactions(server: MetaProcess) -> None:
    """SIGKILL at random moments: everything acknowledged is there, each request took effect once, the namespace is right."""
    seed = random.randrange(1 << 32)
    draw = random.Random(seed)
    maker = Maker()
    for _ in range(KILLS):
        await server.start()

        async def kill_soon() -> None:
            goal = len(maker.acknowledged) + draw.randrange(300)
            while len(maker.acknowledged) < goal:  # noqa: ASYNC110 -- another process brings it about
                await trio.sleep(0.001)
            # Answers come in batches, and this is about all that lies between them.
            await trio.sleep(draw.uniform(0, 0.05))
            await server.end(signal.SIGKILL)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill_soon)
            await maker.make_until_lost(server)
    assert len(maker.acknowledged) > 100, seed
    await server.start()
    names = await all_names(server, maker)
    assert maker.acknowledged <= names, f"seed {seed}: {sorted(maker.acknowledged - names)} are missing"
    unanswered = {request.operation.name for request in maker.unanswered.values()}
    assert names <= maker.acknowledged | unanswered, seed
    assert await server.end(signal.SIGTERM) == 0
    check_state(server.config.parent)


async def all_names(server: MetaProcess, maker: Maker) -> set[bytes]:
    names: set[bytes] = set()
    async with open_client(server.address, server.key, name="reader") as client:
        await client.call(ResumeSession(maker.session, [], False))
        after, more = 0, True
        while more:
            page = (await client.call(Query(maker.session, ReadDirectory(ROOT_INODE, after, 1000)))).message
            assert not names & {entry.name for entry in page.entries}
            names |= {entry.name for entry in page.entries}
            after, more = (page.entries[-1].cookie if page.entries else after), page.more
    return names


def check_state(directory: Path) -> None:
    """What lies on the disk after a clean end: a checkpoint of everything, of a namespace that is right."""
    store = Store(directory / "meta1" / "store")
    journal = FileJournal(directory / "meta1" / "journal", "12345678-1234-5678-1234-567812345678")
    found = marks.read(store)
    assert found is not None
    assert found.position == journal.last
    findings = [str(finding) for finding in check(store)]
    assert not findings, findings
    journal.close()
    store.close()


async def test_a_clean_end_leaves_nothing_to_replay(server: MetaProcess) -> None:
    """SIGTERM: exit code 0, and the next start has everything from the checkpoint."""
    await server.start()
    async with open_client(server.address, server.key, name="x") as client:
        session = (await client.call(OpenSession("x"))).message.session
        await client.call(Mutate(session, 1, 1, Mknod(ROOT_INODE, b"f", 0o100644, 0, 0, 0, 0, 0, True)))
    assert await server.end(signal.SIGTERM) == 0
    await server.start()
    assert "event=recovered position=2 replayed=0" in server.log()
    async with open_client(server.address, server.key, name="x") as client:
        await client.call(ResumeSession(session, [], False))
        assert (await client.call(Query(session, Lookup(ROOT_INODE, b"f")))).message.attributes is not None
    assert await server.end(signal.SIGTERM) == 0


async def test_a_second_server_is_refused(server: MetaProcess) -> None:
    """On a state directory in use: exit code 2, and a line that names the process that uses it; the first one goes on."""
    await server.start()
    code, line = await server.run_refused()
    assert code == 2
    assert str(server.pid) in line
    async with open_client(server.address, server.key, name="x") as client:
        await client.call(OpenSession("x"))
    assert await server.end(signal.SIGTERM) == 0


async def test_a_store_that_was_cut_short_is_refused(server: MetaProcess) -> None:
    """The server says which file it is, instead of dying of it."""
    await server.start()
    assert await server.end(signal.SIGTERM) == 0
    with (server.config.parent / "meta1" / "store" / "data.mdb").open("r+b") as file:
        file.truncate(3 * 4096)
    code, line = await server.run_refused()
    assert code == 2
    assert "data.mdb was cut short" in line


async def test_a_state_of_another_cluster_is_refused(server: MetaProcess) -> None:
    """Exit code 2 and the reason; the state is as it was."""
    await server.start()
    assert await server.end(signal.SIGTERM) == 0
    other = MetaProcess(server.config.parent, cluster="87654321-1234-5678-1234-567812345678")
    code, line = await other.run_refused()
    assert code == 2
    assert "cluster" in line
    MetaProcess(server.config.parent)
    await server.start()
    assert await server.end(signal.SIGTERM) == 0
