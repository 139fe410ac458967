"""How the demo moves bytes: ingest as growing files, a reader that chases them, hashes of what is there."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

#: What an ingest appends at once, and what readers ask for.
PIECE_BYTES = 1 << 20
#: An ingest makes its file durable after so much, as one that must not lose minutes of a recording does.
SYNC_BYTES = 64 << 20
#: How long a reader that has caught up waits before it looks again.
CHASE_PAUSE_S = 0.005

Advance = Callable[[int], None]


def pieces(path: Path) -> Iterator[bytes]:
    """The file in pieces, to the end that it has when the reader gets there."""
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def hash_file(path: Path, advance: Advance) -> str:
    """BLAKE3 of the whole file, in hex."""
    hasher = blake3()
    for piece in pieces(path):
        hasher.update(piece)
        advance(len(piece))
    return hasher.hexdigest()


def hash_text(text: str) -> str:
    """BLAKE3 of a text, in hex."""
    return blake3(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Transfer:
    """Files that become one clip of the archive, in the order in which they are recorded."""

    sources: list[Path]
    targets: list[Path]
    #: Its presence says that the clip is still growing.
    marker: Path


def ingest(transfer: Transfer, advance: Advance) -> list[str]:
    """Appends each source to its target piece by piece; all are durable at the end. BLAKE3 of what was read from each source."""
    hashes = []
    unsynced_bytes = 0
    for source, target in zip(transfer.sources, transfer.targets, strict=True):
        hasher = blake3()
        with open(target, "ab", buffering=0) as file:
            for piece in pieces(source):
                hasher.update(piece)
                view = memoryview(piece)
                while view:
                    view = view[file.write(view) :]
                unsynced_bytes += len(piece)
                if unsynced_bytes >= SYNC_BYTES:
                    os.fsync(file.fileno())
                    unsynced_bytes = 0
                advance(len(piece))
        hashes.append(hasher.hexdigest())
    for target in transfer.targets:
        with open(target, "rb") as file:
            os.fsync(file.fileno())
    return hashes


def chase(transfer: Transfer) -> list[str]:
    """Reads each target from its start, as far as it is, again and again until it is complete; BLAKE3 of what it saw of each.

    A file is complete when the next one is there, or the marker has gone.
    """
    hashes = []
    for target, following in zip(transfer.targets, [*transfer.targets[1:], None], strict=True):
        while transfer.marker.exists() and not target.exists():
            time.sleep(CHASE_PAUSE_S)
        hasher = blake3()
        with open(target, "rb", buffering=0) as file:
            while True:
                # Asked before reading, so that everything that came before the answer is read below.
                is_complete = (following is not None and following.exists()) or not transfer.marker.exists()
                while piece := file.read(PIECE_BYTES):
                    hasher.update(piece)
                if is_complete:
                    break
                time.sleep(CHASE_PAUSE_S)
        hashes.append(hasher.hexdigest())
    return hashes


def ingest_chased(transfer: Transfer, advance: Advance) -> tuple[list[str], list[str]]:
    """Ingests while a reader chases: BLAKE3 of each source, and of what the reader saw of each target."""
    transfer.marker.touch()
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(chase, transfer)
        try:
            hashes = ingest(transfer, advance)
        finally:
            transfer.marker.unlink()  # ends the reader, also of an ingest that failed
        return hashes, reader.result()
