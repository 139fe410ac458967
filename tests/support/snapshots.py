"""Snapshots of the metadata's state on a small scale, for virtual time."""

from functools import partial

import pytest

from ringfs.meta import restoring, snapshot_keeping, snapshot_loading
from ringfs.meta.snapshot_stream import StreamWriter
from tests.support.directory_store import DirectoryStore


def shrink_snapshots(patch: pytest.MonkeyPatch, *, journal_bytes: int = 2500, object_bytes: int = 2000) -> None:
    """They are made whenever the journal holds so much, of objects of that size, and loaded without threads."""
    patch.setattr(snapshot_loading, "Store", DirectoryStore)
    patch.setattr(restoring, "Store", DirectoryStore)
    patch.setattr(snapshot_keeping, "JOURNAL_BYTES", journal_bytes)
    patch.setattr(snapshot_keeping, "StreamWriter", partial(StreamWriter, object_bytes))
