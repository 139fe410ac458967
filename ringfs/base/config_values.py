"""Values of cluster.toml: what each must be; ValueError says what is wrong. Which keys there are is config.py's business."""

import re
import uuid
from typing import Any

from ringfs.base.address import split_address
from ringfs.base.errors import UserError
from ringfs.base.log import LEVELS
from ringfs.base.toml_tables import Convert

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_CLASS = re.compile(r"[a-z]+:[0-9+]+")
#: Disks that one process serves.
DISKS_MAX = 64


def as_text(value: Any) -> str:
    """Text that is not empty."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("must be text that is not empty")
    return value


def as_flag(value: Any) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def as_atime(value: Any) -> str:
    """What reading does to atime."""
    if value not in ("relatime", "strictatime", "noatime"):
        raise ValueError("must be relatime, strictatime or noatime")
    return str(value)


def as_name(value: Any) -> str:
    """A name of a server, node, domain or rack."""
    if not isinstance(value, str) or _NAME.fullmatch(value) is None:
        raise ValueError("must be a name: letters, digits, dots, dashes and underscores, at most 63")
    return value


def as_uuid(value: Any) -> str:
    """A uuid, in its usual form."""
    try:
        return str(uuid.UUID(as_text(value)))
    except ValueError:
        raise ValueError("must be a uuid, as uuidgen prints it") from None


def as_class(value: Any) -> str:
    """The text of a class of service."""
    if not isinstance(value, str) or _CLASS.fullmatch(value) is None:
        raise ValueError('must be a class of service, as "replica:2"')
    return value


def as_address(value: Any) -> str:
    """host:port with a port."""
    try:
        _, port = split_address(as_text(value))
    except UserError as error:
        raise ValueError(f"is wrong: {error}") from None
    if not port:
        raise ValueError("must have a port from 1 to 65535")
    return as_text(value)


def as_endpoints(value: Any) -> tuple[str, ...]:
    """Addresses, none twice."""
    if not isinstance(value, list) or not value:
        raise ValueError('must be a list of addresses: ["10.0.0.1:2379", …]')
    found = tuple(map(_endpoint, value))
    if len(set(found)) < len(found):
        raise ValueError("has an address twice")
    return found


def _endpoint(value: Any) -> str:
    try:
        return as_address(value)
    except ValueError as error:
        raise ValueError(f"has {value!r}, which {error}") from None


def as_paths(value: Any) -> tuple[str, ...]:
    """The directories of a process's disks."""
    if not isinstance(value, list) or not 0 < len(value) <= DISKS_MAX:
        raise ValueError(f'must be a list of 1 to {DISKS_MAX} directories: ["/disks/one", …]')
    return tuple(map(as_text, value))


def as_failure_domain(value: Any) -> str:
    """What copies of an object must not share."""
    if value not in ("host", "disk", "rack"):
        raise ValueError("must be host, disk or rack")
    return str(value)


def as_prefix(value: Any) -> str:
    """What begins all keys of a cluster in etcd."""
    text = as_text(value)
    if not text.endswith("/"):
        raise ValueError("must end with a slash: keys of other clusters could begin with it too")
    return text


def as_level(value: Any) -> str:
    """A level of the log."""
    if not isinstance(value, str) or value not in LEVELS:
        raise ValueError(f"must be one of {', '.join(LEVELS)}")
    return value


def between(low: int, high: int) -> Convert[int]:
    """A whole number from low to high."""

    def convert(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return convert


def seconds(low: float, high: float) -> Convert[float]:
    """A number of seconds from low to high."""

    def convert(value: Any) -> float:
        if type(value) not in (int, float) or not low <= value <= high:
            raise ValueError(f"must be a number of seconds from {low:g} to {high:g}")
        return float(value)

    return convert
