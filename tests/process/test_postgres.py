"""PostgreSQL with its data directory on a mount: SIGKILL of the server and of the mount; what COMMIT acknowledged is there.

Its own checks find no damage: page checksums, pg_amcheck of tables and indexes. tools/soak_postgres.py is the long version.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mounts import DevCluster, dev_cluster
from tests.support.postgres import Postgres

CLIENTS = 3
SOME = 40


@pytest.fixture
def cluster() -> Iterator[DevCluster]:
    """One of its own."""
    with dev_cluster("--data", "2") as cluster:
        yield cluster


@pytest.fixture
def postgres(cluster: DevCluster) -> Iterator[Postgres]:
    """A server with pgbench's tables, running."""
    with tempfile.TemporaryDirectory(prefix="ringfs-pg.") as name:
        Path(name).chmod(0o755)
        server = Postgres(cluster.mount / "data", Path(name) / "home")
        try:
            server.init(scale=1)
            yield server
        finally:
            server.end_clients()
            server.kill()


@pytest.mark.timeout(1800)
def test_kills(cluster: DevCluster, postgres: Postgres) -> None:
    """The server is killed, then its mount, then everything there is, each in the middle of commits; it recovers every time."""
    postgres.start_clients(CLIENTS)
    postgres.bench(seconds=3)
    postgres.wait_committed(SOME)
    postgres.kill()
    postgres.end_clients()
    postgres.start()
    assert postgres.verify() >= CLIENTS * SOME

    postgres.start_clients(CLIENTS)
    postgres.wait_committed(SOME)
    cluster.dev("kill", "mount1")
    postgres.end_clients()
    postgres.kill()
    cluster.dev("start", "mount1")
    postgres.start()
    assert postgres.verify() >= 2 * CLIENTS * SOME

    postgres.start_clients(CLIENTS)
    postgres.wait_committed(SOME)
    for name in ("meta1", "data1", "mount1", "data2"):
        cluster.dev("kill", name)
    postgres.end_clients()
    postgres.kill()
    cluster.dev("up")
    postgres.start()
    assert postgres.verify() >= 3 * CLIENTS * SOME
    postgres.stop()
    postgres.verify_files()
    assert cluster.ringfs("check", cluster.mount).returncode == 0
