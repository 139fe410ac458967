"""What a name in a directory may be, with the errno that Linux gives for each place it is used in."""

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import NAME_BYTES_MAX


def check_name(name: bytes, dot: Code, dotdot: Code) -> None:
    """Refuse what names no entry: NAME_TOO_LONG, NOT_FOUND (empty, as Linux), INVALID ("/" or NUL in it), and the given codes
    for "." and ".."."""
    if len(name) > NAME_BYTES_MAX:
        raise Refused(Code.NAME_TOO_LONG)
    if name == b".":
        raise Refused(dot)
    if name == b"..":
        raise Refused(dotdot)
    if not name:
        raise Refused(Code.NOT_FOUND, "the empty name")
    if b"/" in name or b"\0" in name:
        raise Refused(Code.INVALID, "a name with / or NUL")
