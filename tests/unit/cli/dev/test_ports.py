"""Ports that stay free: not in use now, and none that outgoing connections are given."""

import socket
from pathlib import Path

import pytest

from ringfs.base.errors import UserError
from ringfs.cli.dev import ports


@pytest.fixture(autouse=True)
def nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a range, as long as the test does not."""
    monkeypatch.delenv(ports.VARIABLE, raising=False)


def test_different_and_outside_the_ephemeral_range() -> None:
    """Fifty at once are fifty."""
    lowest_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found = ports.free_ports(50)
    assert len(set(found)) == 50
    assert max(found) < lowest_ephemeral or lowest_ephemeral < 11240


def test_none() -> None:
    """No ports are none."""
    assert ports.free_ports(0) == []


def test_ports_in_use_are_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A port that somebody listens on is not given out; without any the line says so."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert not ports._is_free(port)
        monkeypatch.setattr(ports, "_LOWEST", port)
        monkeypatch.setattr(ports, "_is_free", lambda _: False)
        with pytest.raises(UserError, match="no free ports"):
            ports.free_ports(1)


def test_a_range_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """All come from it, and what is none is said."""
    monkeypatch.setenv(ports.VARIABLE, "20000-20099")
    assert set(ports.free_ports(20)) <= set(range(20000, 20100))
    for none in ("20000", "a-b", "9-8", "1-65536", "0-5"):
        monkeypatch.setenv(ports.VARIABLE, none)
        with pytest.raises(UserError, match="write LOWEST-HIGHEST"):
            ports.free_ports(1)
