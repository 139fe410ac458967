"""Mutual proof of the cluster key, and the session keys that follow from it. docs/formats/wire.md is normative.

    client → server   prelude, nonce, name
    server → client   prelude, nonce, proof
    client → server   proof                     (its first frames may follow at once)

Both proofs and both frame keys are derived from the cluster key and everything said before, each in a context of its own.
"""

import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass

from ringfs.base.checksums import derived_key
from ringfs.base.errors import Code, PeerBrokeProtocol, Refused
from ringfs.wire.transport import Transport, receive_exactly, send_all

_MAGIC = b"RINGFS"
#: Of all messages together: who has others is told so before anything is said. 2: data nodes tell the sizes of their disks.
VERSION = 2
_PRELUDE = _MAGIC + VERSION.to_bytes(2, "big")
_NONCE_BYTES = 32
_PROOF_BYTES = 32
NAME_BYTES_MAX = 255
KEY_BYTES = 32

Entropy = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class FrameKeys:
    """Keys of the two directions of one connection."""

    to_server: bytes
    to_client: bytes


async def greet_server(transport: Transport, key: bytes, name: str, entropy: Entropy = os.urandom) -> FrameKeys:
    """The client's side. Raises ConnectionLost, PeerBrokeProtocol, and Refused WRONG_CLUSTER if the server has another key."""
    hello = _hello(entropy(_NONCE_BYTES), name)
    await send_all(transport, hello)
    _check_prelude(await receive_exactly(transport, len(_PRELUDE)))
    nonce = await receive_exactly(transport, _NONCE_BYTES)
    said = _Said(key, hello + _PRELUDE + nonce)
    if not hmac.compare_digest(await receive_exactly(transport, _PROOF_BYTES), said.server_proof()):
        raise Refused(Code.WRONG_CLUSTER, "the server has another cluster key")
    await send_all(transport, said.client_proof())
    return said.frame_keys()


async def greet_client(transport: Transport, key: bytes, entropy: Entropy = os.urandom) -> tuple[FrameKeys, str]:
    """The server's side: the keys and what the client calls itself. Raises ConnectionLost, PeerBrokeProtocol."""
    prelude = await receive_exactly(transport, len(_PRELUDE))
    if prelude[: len(_MAGIC)] == _MAGIC and prelude != _PRELUDE:
        # Our own prelude tells a client of another version why this ends.
        await send_all(transport, _PRELUDE)
    _check_prelude(prelude)
    fixed = await receive_exactly(transport, _NONCE_BYTES + 1)
    raw_name = await receive_exactly(transport, fixed[-1])
    answer = _PRELUDE + entropy(_NONCE_BYTES)
    said = _Said(key, prelude + fixed + raw_name + answer)
    await send_all(transport, answer + said.server_proof())
    if not hmac.compare_digest(await receive_exactly(transport, _PROOF_BYTES), said.client_proof()):
        raise PeerBrokeProtocol("it does not have the cluster key")
    return said.frame_keys(), raw_name.decode("utf-8", "backslashreplace")


def _hello(nonce: bytes, name: str) -> bytes:
    raw_name = name.encode("utf-8", "backslashreplace")[:NAME_BYTES_MAX]
    return _PRELUDE + nonce + bytes([len(raw_name)]) + raw_name


def _check_prelude(prelude: bytes) -> None:
    if prelude[: len(_MAGIC)] != _MAGIC:
        raise PeerBrokeProtocol("it does not speak ringfs")
    if prelude != _PRELUDE:
        raise PeerBrokeProtocol(f"it speaks version {int.from_bytes(prelude[len(_MAGIC) :], 'big')}, not {VERSION}")


class _Said:
    """What follows from the cluster key and the words of both sides up to the server's nonce."""

    __slots__ = ("_material",)

    def __init__(self, key: bytes, words: bytes) -> None:
        assert len(key) == KEY_BYTES, "a cluster key is 32 bytes"
        self._material = key + words

    def server_proof(self) -> bytes:
        return derived_key("ringfs 2026 wire v1: proof of the server", self._material)

    def client_proof(self) -> bytes:
        return derived_key("ringfs 2026 wire v1: proof of the client", self._material)

    def frame_keys(self) -> FrameKeys:
        return FrameKeys(
            derived_key("ringfs 2026 wire v1: frames to the server", self._material),
            derived_key("ringfs 2026 wire v1: frames to the client", self._material),
        )
