"""How far the scrub of a disk is, kept over restarts in DISK/scrub. What cannot be read begins anew: nothing depends on it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import structlog
import trio

from ringfs.base.files import Files
from ringfs.base.limits import HASH_BYTES

log = structlog.get_logger("ringfs.data.steward")

NAME = "scrub"
_NEW_NAME = "scrub.new"


@dataclass(slots=True)
class Cursor:
    """after: the id and part that were verified last, hexadecimal, "" at the beginning; done_ns: when the last complete round ended
    (wall clock), 0 if none has."""

    after: str = ""
    done_ns: int = 0


class Keeper(Protocol):
    """Where a cursor is kept; simulations have one in memory."""

    async def load(self) -> Cursor:
        """The one that was kept last, or a new one."""
        ...

    async def save(self, cursor: Cursor) -> None:
        """Keep it. Raises OSError."""
        ...


class CursorFile:
    """See the module."""

    def __init__(self, files: Files, directory: Path) -> None:
        self._files = files
        self._directory = directory

    async def load(self) -> Cursor:
        """See Keeper."""
        try:
            return await trio.to_thread.run_sync(self._load)
        except OSError as error:
            log.warning("the scrub begins anew: its cursor cannot be read", reason=str(error))
            return Cursor()

    def _load(self) -> Cursor:
        if NAME not in self._files.list(self._directory):
            return Cursor()
        file = self._files.open(self._directory / NAME)
        try:
            return _parsed(file.pread(file.size_bytes(), 0))
        except ValueError as error:
            log.warning("the scrub begins anew: its cursor is damaged", reason=str(error))
            return Cursor()
        finally:
            file.close()

    async def save(self, cursor: Cursor) -> None:
        """See Keeper."""
        await trio.to_thread.run_sync(self._save, json.dumps(asdict(cursor)).encode())

    def _save(self, text: bytes) -> None:
        """Beside the old one, which it then replaces: a crash leaves one of them."""
        path = self._directory / _NEW_NAME
        if _NEW_NAME in self._files.list(self._directory):
            self._files.unlink(path)
        file = self._files.open(path, create=True)
        try:
            file.pwrite(text, 0)
            file.fdatasync()
        finally:
            file.close()
        self._files.rename(path, self._directory / NAME)
        self._files.sync_directory(self._directory)


def _parsed(text: bytes) -> Cursor:
    """Raises ValueError."""
    try:
        cursor = Cursor(**json.loads(text))
        after = bytes.fromhex(cursor.after)
        if len(after) in (0, HASH_BYTES + 3) and cursor.done_ns >= 0:
            return cursor
    except TypeError as error:
        raise ValueError(str(error)) from error
    raise ValueError(f"{text!r} is no cursor")
