"""The etcd members of a dev cluster: where each is, how it is run, what it says at its end. Whether they serve: etcd_health.py.

DIR/etcd.members   a line for each: its name, its address for clients, its address for other members
"""

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ringfs.base.errors import UserError
from ringfs.base.limits import MIB

#: What a member is instead of a verb, and the name of its program.
ETCD = "etcd"
LIST_NAME = "etcd.members"
#: docs/operating.md has the same for real machines.
_OPTIONS = (
    # Batches of the journal have at most 1 MiB.
    f"--max-request-bytes={4 * MIB}",
    f"--quota-backend-bytes={2048 * MIB}",
    # As many requests are kept in memory, and twice that at times.
    "--snapshot-count=5000",
    # The metadata service compacts, behind its own snapshots.
    "--auto-compaction-retention=0",
    # A member that was away does not depose the leader when it comes back.
    "--pre-vote=true",
    "--logger=zap",
    "--log-outputs=stderr",
)


@dataclass(frozen=True, slots=True)
class Member:
    """A member. `client` and `peer` are "host:port"."""

    name: str
    client: str
    peer: str


def make_members(ports: Sequence[int]) -> list[Member]:
    """Members on loopback, with two of the ports each."""
    pairs = zip(ports[::2], ports[1::2], strict=True)
    return [Member(f"etcd{n}", f"127.0.0.1:{client}", f"127.0.0.1:{peer}") for n, (client, peer) in enumerate(pairs, 1)]


def pack_members(members: Iterable[Member]) -> bytes:
    """The content of the list."""
    return "".join(f"{member.name} {member.client} {member.peer}\n" for member in members).encode()


def read_members(root: Path) -> list[Member]:
    """Those of a cluster; none if it has no etcd of its own."""
    try:
        lines = (root / LIST_NAME).read_text().splitlines()
    except FileNotFoundError:
        return []
    return [Member(*line.split()) for line in lines]


def options_of(member: Member, members: Iterable[Member], token: str) -> tuple[str, ...]:
    """What a member is told, besides where its data is. With another token it belongs to another cluster, and finds no others."""
    client, peer = f"http://{member.client}", f"http://{member.peer}"
    return (
        f"--name={member.name}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster={','.join(f'{each.name}=http://{each.peer}' for each in members)}",
        f"--initial-cluster-token={token}",
        *_OPTIONS,
    )


def find_program() -> str:
    """The path of etcd. Raises UserError if it is not installed."""
    program = shutil.which(ETCD)
    if program is None:
        raise UserError("etcd is not installed: 'apt-get install etcd-server', or put etcd 3.4 or a newer one on the path")
    return program


def last_words(lines: Sequence[str]) -> str:
    """Why a member with such a log ended by itself; empty if its last words are not about that."""
    said = [line for line in lines if line.startswith("{")]
    try:
        event = json.loads(said[-1]) if said else {}
    except ValueError:
        return ""  # it was killed in the middle
    words = (str(event.get(key, "")) for key in ("msg", "error"))
    return ": ".join(filter(None, words)) if event.get("level") in ("fatal", "panic") else ""
