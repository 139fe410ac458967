"""Whether a process that waits for us has been killed."""

import signal
from pathlib import Path

_SIGKILL_BIT = 1 << signal.SIGKILL - 1


def is_dying(pid: int) -> bool:
    """Whether SIGKILL is pending for a thread: it, or the default action of another signal, has come, and will end the process as
    soon as it returns from the kernel."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False  # in another pid namespace, or gone: then it waits for nothing
    pending = (line.split()[1] for line in status.splitlines() if line.startswith(("SigPnd:", "ShdPnd:")))
    return any(int(mask, 16) & _SIGKILL_BIT for mask in pending)
