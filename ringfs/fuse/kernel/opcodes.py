"""The table of opcodes: every request that Linux 6.1 to 6.18 sends, and who answers it. Nothing else decides that.

A row without an answer is refused with ENOSYS: the kernel then does by itself what it can, and does not ask again. That is right
for ACCESS (default_permissions decides), BMAP and POLL. To answer one more, write its method in answers.py (or beside it) and
name it here.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ringfs.fuse.kernel.answers import Answers, Reply
from ringfs.fuse.kernel.requests import Request

FORGET, WRITE, INIT, INTERRUPT, DESTROY, BATCH_FORGET = 2, 16, 26, 36, 38, 42

Answer = Callable[[Answers, Request], Awaitable[Reply]]
AnswerNow = Callable[[Answers, Request], bytes | None]


@dataclass(frozen=True, slots=True)
class Row:
    """One opcode.

    waits: it may wait for somebody else for as long as they like, and INTERRUPT ends that. keeps: what it gives (a handle, a
    lock) must be given back by whoever asked. now: the same answer, or None, with nothing done, if it takes waiting.
    """

    number: int
    name: str
    answer: Answer | None = None
    waits: bool = False
    keeps: bool = False
    now: AnswerNow | None = None


ROWS = (
    Row(1, "LOOKUP", Answers.lookup, now=Answers.lookup_now),
    Row(FORGET, "FORGET"),
    Row(3, "GETATTR", Answers.getattr, now=Answers.getattr_now),
    Row(4, "SETATTR", Answers.setattr),
    Row(5, "READLINK", Answers.readlink),
    Row(6, "SYMLINK", Answers.symlink),
    Row(8, "MKNOD", Answers.mknod),
    Row(9, "MKDIR", Answers.mkdir, now=Answers.mkdir_now),
    Row(10, "UNLINK", Answers.unlink, now=Answers.unlink_now),
    Row(11, "RMDIR", Answers.rmdir, now=Answers.rmdir_now),
    Row(12, "RENAME", Answers.rename),
    Row(13, "LINK", Answers.link),
    Row(14, "OPEN", Answers.open, keeps=True),
    Row(15, "READ", Answers.read),
    Row(WRITE, "WRITE", Answers.write),
    Row(17, "STATFS", Answers.statfs),
    Row(18, "RELEASE", Answers.release, now=Answers.release_now),
    Row(20, "FSYNC", Answers.fsync),
    Row(21, "SETXATTR", Answers.setxattr),
    Row(22, "GETXATTR", Answers.getxattr),
    Row(23, "LISTXATTR", Answers.listxattr),
    Row(24, "REMOVEXATTR", Answers.removexattr),
    Row(25, "FLUSH", Answers.flush, now=Answers.flush_now),
    Row(INIT, "INIT"),
    Row(27, "OPENDIR", Answers.opendir, keeps=True),
    Row(28, "READDIR", Answers.readdir),
    Row(29, "RELEASEDIR", Answers.releasedir),
    Row(30, "FSYNCDIR", Answers.fsyncdir),
    Row(31, "GETLK", Answers.getlk),
    Row(32, "SETLK", Answers.setlk, keeps=True),
    Row(33, "SETLKW", Answers.setlkw, waits=True),
    Row(34, "ACCESS"),
    Row(35, "CREATE", Answers.create, keeps=True, now=Answers.create_now),
    Row(INTERRUPT, "INTERRUPT"),
    Row(37, "BMAP"),
    Row(DESTROY, "DESTROY"),
    Row(39, "IOCTL", Answers.ioctl),
    Row(40, "POLL"),
    Row(41, "NOTIFY_REPLY"),
    Row(BATCH_FORGET, "BATCH_FORGET"),
    Row(43, "FALLOCATE", Answers.fallocate),
    Row(44, "READDIRPLUS", Answers.readdirplus),
    Row(45, "RENAME2", Answers.rename2),
    Row(46, "LSEEK", Answers.lseek),
    Row(47, "COPY_FILE_RANGE", Answers.copy_file_range),
    Row(48, "SETUPMAPPING"),
    Row(49, "REMOVEMAPPING"),
    Row(50, "SYNCFS", Answers.syncfs),
    Row(51, "TMPFILE", Answers.tmpfile, keeps=True),
    Row(52, "STATX", Answers.statx),
    Row(53, "COPY_FILE_RANGE_64", Answers.copy_file_range_64),
)
BY_NUMBER = {row.number: row for row in ROWS}
