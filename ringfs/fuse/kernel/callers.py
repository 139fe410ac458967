"""What a thread that waits for us has called, where the kernel's request does not say it."""

from pathlib import Path

import trio

#: fcntl(2)'s command, on every architecture.
F_OFD_SETLKW = 38
#: A thread that has just sent its request may be about to fall asleep: it is looked at so often, with so long between. Seconds in
#: all, for on a busy machine it may wait for a processor.
_LOOKS = 2500
_LOOK_AGAIN_S = 0.002


async def waits_for_file_lock(thread: int) -> bool:
    """Whether a thread waits for an OFD lock. SETLKW has an owner, which for fcntl's locks is the process, for OFD locks the open
    file, but nothing that tells one from the other (fs/fuse/file.c: fuse_lk_fill, up to Linux 6.18). False if it cannot be seen:
    the thread is in another pid namespace, or not ours to look at."""
    for _ in range(_LOOKS):
        call = _call_of(thread)
        if call != ["running"]:
            # Number of the call, then its arguments: descriptor, command.
            return len(call) > 2 and int(call[2], 16) == F_OFD_SETLKW
        await trio.sleep(_LOOK_AGAIN_S)
    return False


def _call_of(thread: int) -> list[str]:
    try:
        return Path(f"/proc/{thread}/syscall").read_text().split()
    except OSError:
        return []
