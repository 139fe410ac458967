"""Loopback ports for a dev cluster that stay free while it is down."""

import random
import socket
from pathlib import Path

from ringfs.base.errors import UserError

_LOWEST = 10240
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_ports(count: int) -> list[int]:
    """So many different TCP ports of 127.0.0.1 that nobody listens on.

    From below the range that the kernel gives to outgoing connections: one of those could else hold a port of ours when
    its server is started again. Chosen by chance, so that clusters made side by side do not meet.
    """
    highest = int(_RANGE.read_text().split()[0]) - 1
    if highest - _LOWEST < 1000:
        highest = 65535  # a machine that gives nearly everything to outgoing connections: take what is free now
    candidates = list(range(_LOWEST, highest + 1))
    random.shuffle(candidates)
    found: list[int] = []
    for port in candidates:
        if len(found) == count:
            return found
        if _is_free(port):
            found.append(port)
    raise UserError(f"no free ports between {_LOWEST} and {highest} on 127.0.0.1: end what uses them")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
