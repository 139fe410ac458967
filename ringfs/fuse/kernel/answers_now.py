"""Requests that are answered without waiting, and so without a task: one method each, the part of Answers under it.

A method returns the reply, or None, with nothing done, if it takes waiting. It raises Refused.
"""

from ringfs.fuse.at_once import Caching
from ringfs.fuse.kernel import wire
from ringfs.fuse.kernel.requests import Request
from ringfs.fuse.operations import Operations

OPEN_FLAGS = {Caching.KEEP: wire.FOPEN_KEEP_CACHE, Caching.DROP: 0, Caching.PASS: wire.FOPEN_DIRECT_IO}


class AnswersNow:
    """See the module."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    def lookup_now(self, request: Request) -> bytes | None:
        """LOOKUP of what is known."""
        told, is_known = self._operations.lookup_now(request.node, request.name())
        if told is not None:
            return wire.pack_entry(request.unique, told)
        timeout_s = self._operations.name_timeout_s(request.node) if is_known else 0.0
        return wire.pack_absent(request.unique, timeout_s) if timeout_s else None

    def getattr_now(self, request: Request) -> bytes | None:
        """GETATTR of what is known."""
        told = self._operations.getattr_now(request.node)
        return None if told is None else wire.pack_attributes(request.unique, told)

    def mkdir_now(self, request: Request) -> bytes | None:
        """MKDIR of what is delegated."""
        mode, umask = request.fields(wire.MKDIR_IN)
        made = self._operations.mkdir_now(request.node, request.name(wire.MKDIR_IN.size), mode, request.caller(umask))
        return None if made is None else wire.pack_entry(request.unique, made)

    def unlink_now(self, request: Request) -> bytes | None:
        """UNLINK of what is delegated."""
        return wire.pack_error(request.unique, 0) if self._operations.unlink_now(request.node, request.name()) else None

    def rmdir_now(self, request: Request) -> bytes | None:
        """RMDIR of what is delegated."""
        return wire.pack_error(request.unique, 0) if self._operations.rmdir_now(request.node, request.name()) else None

    def create_now(self, request: Request) -> bytes | None:
        """CREATE in what is delegated."""
        flags, mode, umask, _ = request.fields(wire.CREATE_IN)
        name = request.name(wire.CREATE_IN.size)
        made = self._operations.create_now(request.node, name, mode, flags, request.caller(umask))
        return None if made is None else wire.pack_create(request.unique, made[1], made[0], OPEN_FLAGS[made[2]])

    def flush_now(self, request: Request) -> bytes | None:
        """FLUSH where nothing is dirty or locked."""
        handle, *_ = request.fields(wire.FLUSH_IN)
        return wire.pack_error(request.unique, 0) if self._operations.flush_now(handle) else None

    def release_now(self, request: Request) -> bytes | None:
        """RELEASE where nothing is locked."""
        handle, *_ = request.fields(wire.RELEASE_IN)
        return wire.pack_error(request.unique, 0) if self._operations.release_now(handle) else None
