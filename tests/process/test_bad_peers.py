"""Garbage at the ports of real servers, and peers with the wrong key: one logged line each, and nothing else happens."""

import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringfs.base.config import load_config
from tests.support.mounts import DevCluster, dev_cluster

#: Longer than the server gives a handshake.
SECONDS_MAX = 60
#: What servers say when the whole machine stands still for seconds.
STANDSTILL = re.compile(r'event="(node is|the server stood still|metadata service)')
GARBAGE = {
    "text": b"GET / HTTP/1.1\r\nHost: ringfs\r\n\r\n" * 4,
    "zeros": bytes(100_000),
    "another version": b"RFS\x63" + bytes(200),
    "noise": os.urandom(100_000),
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[DevCluster]:
    """One for all: nothing here changes it."""
    with dev_cluster("--data", "2") as cluster:
        yield cluster


def address_of(cluster: DevCluster, name: str) -> tuple[str, int]:
    """Where a server listens."""
    config = load_config(cluster.directory / "cluster.toml")
    addresses = {server.name: server.address for server in config.meta} | {node.name: node.address for node in config.data}
    address = addresses[name]
    host, _, port = address.rpartition(":")
    return host, int(port)


def refusals(cluster: DevCluster, name: str, start: int) -> list[str]:
    """Lines of a server's log from an offset on that are neither of ordinary connections nor of a standstill: waits for one."""
    deadline_s = time.monotonic() + SECONDS_MAX
    while True:
        lines = (cluster.directory / name / "log").read_bytes()[start:].decode().splitlines(keepends=True)
        found = [line for line in lines if line.endswith("\n") and "level=info" not in line and not STANDSTILL.search(line)]
        if found or time.monotonic() > deadline_s:
            return found


def log_size(cluster: DevCluster, name: str) -> int:
    """Where its log ends now."""
    return (cluster.directory / name / "log").stat().st_size


def pids(cluster: DevCluster) -> list[int]:
    """Of all processes."""
    return sorted(cluster.pids())


@pytest.mark.parametrize("name", ["meta1", "data1"])
@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage(cluster: DevCluster, name: str, kind: str) -> None:
    """The connection ends, one warning is logged, and the mount goes on with the same processes."""
    before, start = pids(cluster), log_size(cluster, name)
    file = cluster.mount / "file"
    file.write_bytes(b"before" * 100_000)
    with socket.create_connection(address_of(cluster, name), timeout=SECONDS_MAX) as peer:
        try:
            peer.sendall(GARBAGE[kind])
            while peer.recv(65536):
                pass
        except ConnectionError:
            pass  # it ended while we were still sending
    (line,) = refusals(cluster, name, start)
    assert 'level=warning event="connection refused"' in line
    with file.open("ab") as opened:
        opened.write(b"after")
        os.fsync(opened.fileno())
    assert file.read_bytes() == b"before" * 100_000 + b"after"
    assert pids(cluster) == before


def test_a_peer_that_says_nothing(cluster: DevCluster) -> None:
    """It loses its connection when the time for the handshake is over; one line."""
    start = log_size(cluster, "data1")
    with socket.create_connection(address_of(cluster, "data1"), timeout=SECONDS_MAX) as peer:
        while peer.recv(65536):
            pass
    (line,) = refusals(cluster, "data1", start)
    assert "the handshake took over" in line


def test_the_wrong_key(cluster: DevCluster, tmp_path: Path) -> None:
    """The command ends with one line that says so: the server proves its key first. The server logs one line."""
    start = log_size(cluster, "meta1")
    text = (cluster.directory / "cluster.toml").read_text()
    (tmp_path / "cluster.toml").write_text(text)
    (tmp_path / "key").write_text("ab" * 32)
    (tmp_path / "key").chmod(0o600)
    done = cluster.ringfs("status", "--cluster", tmp_path, check=False)
    assert done.returncode != 0
    (said,) = done.stdout.splitlines()
    assert said.startswith("ringfs: ")
    assert "key" in said
    (line,) = refusals(cluster, "meta1", start)
    assert 'level=warning event="connection refused"' in line
    (cluster.mount / "alive").write_bytes(b"yes")
    assert (
        subprocess.run(["cat", cluster.mount / "alive"], stdout=subprocess.PIPE, check=True, timeout=SECONDS_MAX).stdout == b"yes"
    )
