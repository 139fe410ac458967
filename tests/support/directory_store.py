"""A store without threads, for virtual time: what is durable of it is a file in its directory, which may be moved or removed."""

from collections.abc import Mapping
from pathlib import Path

from ringfs.wire.packing import pack, unpack
from tests.support.meta_doubles import MemoryStore


class DirectoryStore(MemoryStore):
    """A Store; see base/kv/store.py."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self._file = directory / "rows"
        rows, marks = unpack(self._file.read_bytes()) if self._file.exists() else ([], [])
        super().__init__(dict(rows), dict(marks))

    async def checkpoint(self, marks: Mapping[bytes, bytes]) -> None:
        """See Store."""
        kept = {**self._marks, **marks}
        await super().checkpoint(kept)
        self._file.write_bytes(pack((list(self._durable.items()), list(kept.items()))))

    def close(self) -> None:
        """See Store."""
