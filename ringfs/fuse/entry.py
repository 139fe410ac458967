"""What the kernel is told of an inode."""

from dataclasses import dataclass

from ringfs.wire.messages.common import Attributes


@dataclass(slots=True)
class KernelEntry:
    """An inode as the kernel is told of it, and how many seconds it may believe the name and the attributes."""

    attributes: Attributes
    entry_timeout_s: float
    attr_timeout_s: float
