"""A request as the loop hands it on, and what is taken out of its body. A body that is too short is refused, never misread."""

import struct
from typing import Any

from ringfs.base.errors import Code, Refused
from ringfs.client.file_system import Caller


class Request:
    """One request. body: what follows the header, of WRITE without the data, which is in payload."""

    __slots__ = ("body", "gid", "holds_buffer", "is_answered", "node", "opcode", "payload", "pid", "uid", "unique")

    def __init__(self, unique: int, opcode: int, node: int, uid: int, gid: int, pid: int, body: bytes, payload: memoryview) -> None:
        self.unique = unique
        self.opcode = opcode
        self.node = node
        self.uid = uid
        self.gid = gid
        self.pid = pid
        self.body = body
        #: Good until the request is answered; for ever if it is long (Operations.write).
        self.payload = payload
        self.is_answered = False
        #: The payload's buffer is used for nothing else until the request is answered.
        self.holds_buffer = False

    def fields(self, layout: struct.Struct) -> tuple[Any, ...]:
        """The structure at the beginning of the body."""
        if len(self.body) < layout.size:
            raise Refused(Code.BAD_REQUEST, "the request is too short")
        return layout.unpack_from(self.body)

    def name(self, start: int = 0) -> bytes:
        """The name that begins there, and ends before a NUL."""
        end = self.body.find(b"\0", start)
        if end < 0:
            raise Refused(Code.BAD_REQUEST, "a name has no end")
        return self.body[start:end]

    def names(self, start: int) -> tuple[bytes, bytes]:
        """Two names, one after the other."""
        first = self.name(start)
        return first, self.name(start + len(first) + 1)

    def caller(self, umask: int = 0) -> Caller:
        """On whose behalf it is."""
        return Caller(self.uid, self.gid, umask)
