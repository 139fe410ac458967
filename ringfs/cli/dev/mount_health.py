"""Whether a mount of a dev cluster answers."""

import os
from pathlib import Path

from ringfs.base import mountinfo
from ringfs.cli import mounts
from ringfs.cli.dev.layout import Server
from ringfs.cli.in_time import Unresponsive, statvfs_in_time


def mount_trouble(server: Server, timeout_s: float) -> str:
    """Empty if a mount answers statfs in that time, else what is wrong."""
    point = server.arguments[0]
    try:
        statvfs_in_time(point, timeout_s)
    except Unresponsive:
        return f"does not answer in {timeout_s:g} s"
    except OSError as error:
        return f"answers {os.strerror(error.errno or 0)}"
    return "" if mounts.is_ringfs(mountinfo.mount_at(Path(point))) else "is not mounted"
