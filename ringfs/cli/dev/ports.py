"""Loopback ports for a dev cluster that stay free while it is down."""

import os
import random
import socket
from pathlib import Path

from ringfs.base.errors import UserError

_LOWEST = 10240
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
#: "LOWEST-HIGHEST": where several who make clusters side by side must never meet, each has a range of its own.
VARIABLE = "RINGFS_DEV_PORTS"


def free_ports(count: int) -> list[int]:
    """So many different TCP ports of 127.0.0.1 that nobody listens on.

    From below the range that the kernel gives to outgoing connections: one of those could else hold a port of ours when
    its server is started again. Chosen by chance, so that clusters made side by side hardly meet. Raises UserError.
    """
    lowest, highest = bounds()
    candidates = list(range(lowest, highest + 1))
    random.shuffle(candidates)
    found: list[int] = []
    for port in candidates:
        if len(found) == count:
            return found
        if _is_free(port):
            found.append(port)
    raise UserError(f"no free ports between {lowest} and {highest} on 127.0.0.1: end what uses them")


def bounds() -> tuple[int, int]:
    """The lowest and the highest port that may be chosen. Raises UserError."""
    asked = os.environ.get(VARIABLE, "")
    if asked:
        lowest, _, highest = asked.partition("-")
        if not (lowest.isdecimal() and highest.isdecimal() and 0 < int(lowest) <= int(highest) < 65536):
            raise UserError(f"{VARIABLE} is '{asked}': write LOWEST-HIGHEST")
        return int(lowest), int(highest)
    highest_free = int(_RANGE.read_text().split()[0]) - 1
    # A machine may give nearly everything to outgoing connections: then take what is free now.
    return _LOWEST, highest_free if highest_free - _LOWEST >= 1000 else 65535


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
