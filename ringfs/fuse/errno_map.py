"""The one place where errors become errnos for the kernel. A bug is logged with its trace and answered EIO."""

import errno

import structlog

from ringfs.base.errors import Refused

log = structlog.get_logger("ringfs.fuse")


def errno_of(error: Exception, operation: str) -> int:
    """The errno to answer with."""
    if isinstance(error, Refused):
        return error.code.errno
    log.error("bug in a mount operation", operation=operation, exc_info=error)
    return errno.EIO
