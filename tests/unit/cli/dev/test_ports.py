"""Ports that stay free: not in use now, and none that outgoing connections are given."""

import socket
from pathlib import Path

import pytest

from ringfs.base.errors import UserError
from ringfs.cli.dev import ports


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
