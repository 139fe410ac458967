"""msgpack with strict options, wrapped once. The only importer of msgpack."""

from typing import Any

import msgpack

from ringfs.base.errors import PeerBrokeProtocol

_packer = msgpack.Packer(use_bin_type=True, strict_types=False, autoreset=True)


def pack(value: Any) -> bytes:
    """Bytes of ints, bytes, str, bools, None, and lists or tuples of them. An unencodable value is a bug (TypeError)."""
    packed: bytes = _packer.pack(value)
    return packed


def unpack(data: bytes | memoryview) -> Any:
    """The one value that data holds: lists for arrays, bytes for binaries. Raises PeerBrokeProtocol for anything else."""
    try:
        return msgpack.unpackb(data, use_list=True, raw=False, strict_map_key=True)
    except Exception as error:
        raise PeerBrokeProtocol(f"malformed msgpack: {error}") from error
