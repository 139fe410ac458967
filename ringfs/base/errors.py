"""The one table of refusals: name, wire number, errno, retry rule, text. Nothing else decides what an error is.

A refusal is data: it is expected, cheap, deterministic, and travels as its number. A bug is another exception and
stops the process. Numbers are never reused.
"""

import enum
import errno
from dataclasses import dataclass
from typing import TypeVar

_Error = TypeVar("_Error", bound=Exception)


class Retry(enum.Enum):
    """What a client does on its own before it shows a refusal to the application."""

    NEVER = "never"
    #: The same request again, with the same request number, at the same or the next leader.
    RESEND = "resend"
    #: The operation anew after its cause has been dealt with (new session, objects put again).
    REDO = "redo"


@dataclass(frozen=True, slots=True)
class Row:
    """One refusal. `number` is what travels; `text` completes the sentence "cannot …: ‹text›"."""

    number: int
    errno: int
    retry: Retry
    text: str


class Code(enum.Enum):
    """All refusals. 1xx namespace, 2xx sessions, 3xx data nodes, 4xx cluster."""

    NOT_FOUND = Row(101, errno.ENOENT, Retry.NEVER, "no such file or directory")
    EXISTS = Row(102, errno.EEXIST, Retry.NEVER, "it exists already")
    NOT_DIRECTORY = Row(103, errno.ENOTDIR, Retry.NEVER, "not a directory")
    IS_DIRECTORY = Row(104, errno.EISDIR, Retry.NEVER, "it is a directory")
    NOT_EMPTY = Row(105, errno.ENOTEMPTY, Retry.NEVER, "the directory is not empty")
    NAME_TOO_LONG = Row(106, errno.ENAMETOOLONG, Retry.NEVER, "the name is too long")
    INVALID = Row(107, errno.EINVAL, Retry.NEVER, "an argument is not valid here")
    FILE_TOO_BIG = Row(108, errno.EFBIG, Retry.NEVER, "past the largest file size")
    TOO_MANY_LINKS = Row(109, errno.EMLINK, Retry.NEVER, "too many links")
    NO_XATTR = Row(110, errno.ENODATA, Retry.NEVER, "no such extended attribute")
    XATTR_TOO_BIG = Row(111, errno.E2BIG, Retry.NEVER, "the extended attribute is too large")
    RANGE = Row(112, errno.ERANGE, Retry.NEVER, "the result does not fit")
    NOT_PERMITTED = Row(113, errno.EPERM, Retry.NEVER, "the operation is not permitted")
    ACCESS_DENIED = Row(114, errno.EACCES, Retry.NEVER, "permission denied")
    STALE = Row(115, errno.ESTALE, Retry.NEVER, "the inode no longer exists")
    NO_SPACE = Row(116, errno.ENOSPC, Retry.NEVER, "no space is left")
    QUOTA = Row(117, errno.EDQUOT, Retry.NEVER, "the quota is used up")
    NOT_SUPPORTED = Row(118, errno.EOPNOTSUPP, Retry.NEVER, "not supported here")
    #: A Commit's precondition (expected change number) does not hold any more.
    CHANGED = Row(119, errno.EAGAIN, Retry.REDO, "the file changed meanwhile")
    #: A Commit points to an object that is unknown or condemned: put it again.
    NO_OBJECT = Row(120, errno.EAGAIN, Retry.REDO, "the object must be put again")
    BUSY = Row(121, errno.EBUSY, Retry.NEVER, "it is in use")
    LOCKED = Row(122, errno.EAGAIN, Retry.NEVER, "another process has a lock in the way")
    DEADLOCK = Row(123, errno.EDEADLK, Retry.NEVER, "waiting for the lock would never end")
    NO_LOCKS = Row(124, errno.ENOLCK, Retry.NEVER, "too many locks")
    #: Nothing in the way of a handle whose session ended is known any more: what it was locked for may have been changed.
    LOCKS_LOST = Row(125, errno.EIO, Retry.NEVER, "its locks were lost with its session")
    #: An Append may bring no more inline bytes to a chunk: move them into an object first.
    INLINE_FULL = Row(126, errno.EAGAIN, Retry.REDO, "the chunk has as many inline bytes as it should")
    #: A copy would leave more in one chunk of the destination than a chunk holds: copy the bytes themselves.
    NOT_BY_REFERENCE = Row(130, errno.EOPNOTSUPP, Retry.REDO, "it cannot be copied by reference")
    #: SEEK_DATA, SEEK_HOLE.
    NO_DATA = Row(131, errno.ENXIO, Retry.NEVER, "there is nothing at or after this offset")
    #: A file would have names in and outside of a quota: programs copy it instead, as between file systems.
    CROSSES_QUOTA = Row(140, errno.EXDEV, Retry.NEVER, "a file has all its names in one quota")
    NO_IOCTL = Row(141, errno.ENOTTY, Retry.NEVER, "no such ioctl here")

    NO_SESSION = Row(201, errno.EIO, Retry.REDO, "the session has ended")
    #: Its detail is the address of the server that leads, as far as the one that refuses knows: a hint that may be old.
    NOT_LEADER = Row(202, errno.EIO, Retry.RESEND, "this server does not lead")
    OVERLOADED = Row(203, errno.EAGAIN, Retry.RESEND, "too many requests in flight")
    #: The request number is below the acknowledged window: its reply is gone.
    FORGOTTEN = Row(204, errno.EIO, Retry.NEVER, "the answer was acknowledged and forgotten")
    TOO_MANY_OPEN = Row(205, errno.ENFILE, Retry.NEVER, "too many open files in the cluster")
    TOO_MANY_SESSIONS = Row(206, errno.EAGAIN, Retry.NEVER, "too many sessions")
    #: The leader has not yet heard from everybody whom it depends on.
    TOO_EARLY = Row(207, errno.EAGAIN, Retry.RESEND, "it is too early to say")

    NOT_HELD = Row(301, errno.EIO, Retry.NEVER, "the node does not hold the object")
    CORRUPT = Row(302, errno.EIO, Retry.NEVER, "the bytes do not match their id")
    DISK_FULL = Row(303, errno.ENOSPC, Retry.NEVER, "the node's disk is full")
    DISK_FAILED = Row(304, errno.EIO, Retry.NEVER, "the node's disk failed")

    WRONG_CLUSTER = Row(401, errno.EPERM, Retry.NEVER, "it belongs to another cluster")
    BAD_REQUEST = Row(402, errno.EPROTO, Retry.NEVER, "the request is malformed or not known here")
    NODE_NAME_TAKEN = Row(403, errno.EEXIST, Retry.NEVER, "another node has that name")
    NODE_REMOVED = Row(404, errno.EPERM, Retry.NEVER, "its disk was removed from the cluster, or replaced")
    IO = Row(499, errno.EIO, Retry.NEVER, "input/output error")

    @property
    def number(self) -> int:
        """Wire number."""
        return self.value.number

    @property
    def errno(self) -> int:
        """The errno an application sees."""
        return self.value.errno

    @property
    def retry(self) -> Retry:
        """What a client does on its own."""
        return self.value.retry


BY_NUMBER: dict[int, Code] = {code.value.number: code for code in Code}
assert len(BY_NUMBER) == len(Code), "refusal numbers are unique"


class Refused(Exception):
    """An expected refusal. `detail` names what was refused, for people; it decides nothing, but for where to look for a leader."""

    def __init__(self, code: Code, detail: str = "") -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.detail}: {self.code.value.text}" if self.detail else self.code.value.text


class PeerBrokeProtocol(Exception):
    """The peer sent what no correct peer sends: it costs that connection, and nothing else."""


class ConnectionLost(Exception):
    """The connection ended while something was unanswered; whether it took effect is not known."""


class UserError(Exception):
    """A mistake a person can mend: one line that says what happened, to what, and what to do. Exit code 2."""


def kept(error: _Error) -> _Error:
    """An error that was caught, to be kept as data: without its traceback and its causes. Their frames would stay with it, and all
    that they had in hand, buffers too; if one of them has the error, until the collector of cycles comes by, which is seldom."""
    error.__cause__ = error.__context__ = error.__traceback__ = None
    return error


def again(error: _Error) -> _Error:
    """A copy of an error that is kept as data, to be raised: the traceback of what is raised holds the frame that raises it, which
    has the one that is kept."""
    # Not copy.copy, which calls the class with the arguments that it gave to Exception.
    copy = type(error).__new__(type(error), *error.args)
    copy.__dict__.update(error.__dict__)
    return copy
