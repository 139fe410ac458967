"""Whose disk it is: the identity file that makes a directory a ringfs disk, and the rule that nothing else is ever written to.

DIRECTORY/ringfs-disk, text:
    ringfs disk 1
    cluster ‹uuid›
    disk ‹uuid›
    key ‹64 hex digits›         what record heads are keyed with, see segment_format.py
    node ‹number›               0 until the metadata service gave it one
    sum ‹64 hex digits›         BLAKE3 of the lines before
"""

import re
import secrets
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

from ringfs.base.checksums import plain_digest
from ringfs.base.errors import UserError
from ringfs.base.files import LOCK_NAME, Files
from ringfs.data.segment_format import RECORD_KEY_BYTES

FILE_NAME = "ringfs-disk"
_NEW_NAME = FILE_NAME + ".new"
#: What a directory may hold and still be empty: what mkfs makes, and what a first start leaves that was cut short.
_NOTHING = {"lost+found", LOCK_NAME, _NEW_NAME}
_FORMAT = re.compile(r"ringfs disk 1\ncluster (\S+)\ndisk ([0-9a-f-]{36})\nkey ([0-9a-f]{64})\nnode (\d{1,5})\n")
_SUM = re.compile(rb"(?s)(.*\n)sum ([0-9a-f]{64})\n")


@dataclass(frozen=True, slots=True)
class Identity:
    """`node` is 0 until it is known."""

    cluster: str
    disk: uuid.UUID
    record_key: bytes
    node: int = 0

    def pack(self) -> bytes:
        """The file."""
        lines = f"ringfs disk 1\ncluster {self.cluster}\ndisk {self.disk}\nkey {self.record_key.hex()}\nnode {self.node}\n".encode()
        return lines + b"sum " + plain_digest(lines).hex().encode() + b"\n"


def parse(data: bytes) -> Identity | None:
    """What a file says, or None if it is damaged."""
    summed = _SUM.fullmatch(data)
    if summed is None or plain_digest(summed[1]).hex().encode() != summed[2]:
        return None
    fields = _FORMAT.fullmatch(summed[1].decode("ascii", "replace"))
    if fields is None:
        return None
    return Identity(fields[1], uuid.UUID(fields[2]), bytes.fromhex(fields[3]), int(fields[4]))


def check_disk(files: Files, directory: Path, cluster: str) -> Identity | None:
    """The identity of our disk, or None for an empty directory that may become one. Writes nothing. Raises UserError."""
    try:
        names = set(files.list(directory))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"disk {directory}: {error.strerror}: create an empty directory there, or mount the disk") from error
    if FILE_NAME not in names:
        if names <= _NOTHING:
            return None
        raise UserError(f"disk {directory} is not empty and has no {FILE_NAME}: is the right disk mounted? Nothing was written")
    identity = parse(_read(files, directory / FILE_NAME))
    if identity is None:
        raise UserError(f"disk {directory}: {FILE_NAME} is damaged: restore it; any segment's header has what it says")
    if identity.cluster != cluster:
        raise UserError(f"disk {directory} belongs to another cluster ({identity.cluster}, not {cluster}): nothing was written")
    return identity


def make_identity(files: Files, directory: Path, cluster: str) -> Identity:
    """Make an empty directory (as check_disk found it, under its lock) a disk of the cluster, durably."""
    identity = Identity(cluster, uuid.uuid4(), secrets.token_bytes(RECORD_KEY_BYTES))
    _write(files, directory, identity)
    return identity


def remember_node(files: Files, directory: Path, identity: Identity, node: int) -> Identity:
    """Write the node's number into the identity, durably."""
    identity = replace(identity, node=node)
    _write(files, directory, identity)
    return identity


def is_there(files: Files, directory: Path, identity: Identity) -> bool:
    """Whether the directory still is that disk."""
    try:
        found = parse(_read(files, directory / FILE_NAME))
    except OSError:
        return False
    return found is not None and found.disk == identity.disk


def _read(files: Files, path: Path) -> bytes:
    file = files.open(path)
    try:
        return file.pread(4096, 0)
    finally:
        file.close()


def _write(files: Files, directory: Path, identity: Identity) -> None:
    new = directory / _NEW_NAME
    if _NEW_NAME in files.list(directory):
        files.unlink(new)
    file = files.open(new, create=True)
    try:
        file.pwrite(identity.pack(), 0)
        file.fdatasync()
    finally:
        file.close()
    files.rename(new, directory / FILE_NAME)
    files.sync_directory(directory)
