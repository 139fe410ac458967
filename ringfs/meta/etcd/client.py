"""The real etcd: its version 3 API over gRPC (grpcio, protobuf), from trio. Their only home.

grpcio has threads of its own: a call is begun on the event loop, and its end wakes the task that waits. Streams are read in a
thread each. One channel to each endpoint; calls go to one of them, the next one when it fails or does not answer.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import structlog
import trio
from grpc import experimental

from ringfs.base.limits import MIB
from ringfs.meta.etcd import codec
from ringfs.meta.etcd.codec import pb
from ringfs.meta.etcd.interface import (
    Action,
    Changes,
    Condition,
    EtcdCompacted,
    EtcdFull,
    EtcdMisused,
    EtcdUnavailable,
    LeaseEnded,
    Member,
    Transacted,
)
from ringfs.meta.etcd.watching import Told, read_changes

log = structlog.get_logger("ringfs.meta.etcd")

_CALL_S = 2.0
#: A defragmentation rewrites the database; a compaction that waits for its end reads it.
_LONG_CALL_S = 60.0
_OPTIONS = [
    ("grpc.max_send_message_length", 64 * MIB),
    ("grpc.max_receive_message_length", 64 * MIB),
    # An endpoint that comes back is found again soon.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    (experimental.ChannelOptions.SingleThreadedUnaryStream, 1),
]
_ALARMS = {1: "no space", 2: "corrupt"}


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach etcd. endpoints: "host:port" each. Files are PEM; with `authority` the connection is TLS. user "": no user."""

    endpoints: tuple[str, ...]
    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    user: str = ""
    password: str = ""


class EtcdClient:
    """An Etcd; see interface.py. Close it at the end."""

    def __init__(self, access: Access) -> None:
        self._access = access
        credentials = _credentials(access)
        self._channels = {endpoint: _channel(endpoint, credentials) for endpoint in access.endpoints}
        #: Index of the endpoint that calls go to, and whether it has answered since it is that.
        self._current = 0
        self._is_serving = True
        self._token = ""
        #: One asks for a token, the others wait for it: etcd takes a tenth of a second to check a password.
        self._authenticating = trio.Lock()

    def close(self) -> None:
        """End all connections; what is unanswered fails."""
        for channel in self._channels.values():
            channel.close()

    # --- keys -----------------------------------------------------------------------------------------------------------

    async def transact(
        self,
        conditions: Sequence[Condition],
        then: Sequence[Action],
        otherwise: Sequence[Action] = (),
        *,
        timeout_s: float = _CALL_S,
    ) -> Transacted:
        """See Etcd."""
        request = codec.transaction(conditions, then, otherwise)
        return codec.transacted(await self._call("KV/Txn", request, pb.TxnResponse, timeout_s))

    async def compact(self, revision: int) -> None:
        """See Etcd."""
        with contextlib.suppress(EtcdCompacted):
            await self._call(
                "KV/Compact", pb.CompactionRequest(revision=revision, physical=True), pb.CompactionResponse, _LONG_CALL_S
            )

    # --- leases ---------------------------------------------------------------------------------------------------------

    async def grant(self, ttl_s: int) -> tuple[int, int]:
        """See Etcd."""
        granted = await self._call("Lease/LeaseGrant", pb.LeaseGrantRequest(TTL=ttl_s), pb.LeaseGrantResponse, _CALL_S)
        return granted.ID, granted.TTL

    async def keep_alive(self, lease: int, *, timeout_s: float = _CALL_S) -> int:
        """See Etcd."""
        endpoint = self._endpoint()
        await self._authenticate(endpoint)
        method = self._stream(endpoint, "Lease/LeaseKeepAlive", pb.LeaseKeepAliveRequest, pb.LeaseKeepAliveResponse)
        request = pb.LeaseKeepAliveRequest(ID=lease)

        def ask() -> Any:
            stream = method(request, timeout=timeout_s, metadata=self._metadata())
            try:
                return next(stream)
            finally:
                stream.cancel()

        try:
            return int((await trio.to_thread.run_sync(ask)).TTL)
        except grpc.RpcError as error:
            raise self._failed(endpoint, error) from error
        except StopIteration as error:
            raise EtcdUnavailable(f"{endpoint} ended the stream") from error

    async def revoke(self, lease: int) -> None:
        """See Etcd."""
        with contextlib.suppress(LeaseEnded):
            await self._call("Lease/LeaseRevoke", pb.LeaseRevokeRequest(ID=lease), pb.LeaseRevokeResponse, _CALL_S)

    # --- watches --------------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def watch(self, key: bytes, end: bytes, *, from_revision: int) -> AsyncIterator[Changes]:
        """See Etcd."""
        endpoint = self._endpoint()
        await self._authenticate(endpoint)
        token = self._token
        wanted = pb.WatchCreateRequest(key=key, range_end=end, start_revision=from_revision, fragment=True)
        method = self._stream(endpoint, "Watch/Watch", pb.WatchRequest, pb.WatchResponse)
        stream = method(pb.WatchRequest(create_request=wanted), metadata=self._metadata())
        told = Told()

        async def read() -> None:
            try:
                await trio.to_thread.run_sync(read_changes, stream, told)
                told.fail(EtcdUnavailable("the watch ended"))
            except grpc.RpcError as error:
                told.fail(self._failed(endpoint, error))
            except (EtcdCompacted, EtcdUnavailable) as error:
                # "permission denied" is all that it says of a token that it does not know.
                self._forget_token(token)
                told.fail(error)

        body_error: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            try:
                yield told
            except Exception as error:
                # Raised again outside of the nursery, which would wrap it in a group.
                body_error = error
            finally:
                told.close()
                stream.cancel()
        if body_error is not None:
            raise body_error

    # --- care -----------------------------------------------------------------------------------------------------------

    async def members(self) -> list[Member]:
        """See Etcd."""
        found: dict[str, Member] = {}

        async def ask(endpoint: str) -> None:
            found[endpoint] = await self._member(endpoint)

        async with trio.open_nursery() as nursery:
            for endpoint in self._access.endpoints:
                nursery.start_soon(ask, endpoint)
        return [found[endpoint] for endpoint in self._access.endpoints]

    async def _member(self, endpoint: str) -> Member:
        try:
            status = await self._call_at(endpoint, "Maintenance/Status", pb.StatusRequest(), pb.StatusResponse, _CALL_S)
            alarms = await self._call_at(endpoint, "Maintenance/Alarm", pb.AlarmRequest(action=0), pb.AlarmResponse, _CALL_S)
        except (EtcdUnavailable, EtcdMisused) as error:
            return Member(endpoint, str(error), False, 0, 0)
        identity = status.header.member_id
        raised = tuple(_ALARMS.get(each.alarm, str(each.alarm)) for each in alarms.alarms if each.memberID == identity)
        # Alarms are told as errors too, by every member.
        errors = [error for error in status.errors if " alarm:" not in error]
        reason = "has no leader" if not status.leader else "; ".join(errors)
        return Member(endpoint, reason, status.leader == identity, status.dbSize, status.dbSizeInUse or status.dbSize, raised)

    async def defragment(self, endpoint: str) -> None:
        """See Etcd."""
        await self._call_at(endpoint, "Maintenance/Defragment", pb.DefragmentRequest(), pb.DefragmentResponse, _LONG_CALL_S)

    async def disarm(self) -> None:
        """See Etcd."""
        alarms = await self._call("Maintenance/Alarm", pb.AlarmRequest(action=0, alarm=1), pb.AlarmResponse, _CALL_S)
        for each in alarms.alarms:
            if each.alarm == 1:
                request = pb.AlarmRequest(action=2, memberID=each.memberID, alarm=1)
                await self._call("Maintenance/Alarm", request, pb.AlarmResponse, _CALL_S)

    # --- calls ----------------------------------------------------------------------------------------------------------

    def _endpoint(self) -> str:
        return self._access.endpoints[self._current]

    async def _call(self, name: str, request: Any, answer: Any, timeout_s: float) -> Any:
        """One call at the current endpoint."""
        return await self._call_at(self._endpoint(), name, request, answer, timeout_s)

    async def _call_at(self, endpoint: str, name: str, request: Any, answer: Any, timeout_s: float) -> Any:
        """One call, with a token that is valid if one is needed."""
        await self._authenticate(endpoint)
        token = self._token
        try:
            return await self._call_once(endpoint, name, request, answer, timeout_s, self._metadata())
        except _TokenEnded:
            # A member that was started knows none but those that are made from then on.
            self._forget_token(token)
            await self._authenticate(endpoint)
        return await self._call_once(endpoint, name, request, answer, timeout_s, self._metadata())

    async def _authenticate(self, endpoint: str) -> None:
        """Get a token if one is needed and there is none."""
        if not self._access.user or self._token:
            return
        async with self._authenticating:
            if not self._token:
                request = pb.AuthenticateRequest(name=self._access.user, password=self._access.password)
                found = await self._call_once(endpoint, "Auth/Authenticate", request, pb.AuthenticateResponse, _CALL_S, [])
                self._token = found.token

    def _forget_token(self, token: str) -> None:
        """It is not known to a member any more."""
        if self._token == token:
            self._token = ""

    async def _call_once(
        self, endpoint: str, name: str, request: Any, answer: Any, timeout_s: float, metadata: list[tuple[str, str]]
    ) -> Any:
        method = self._channels[endpoint].unary_unary(
            f"/etcdserverpb.{name}", request_serializer=type(request).SerializeToString, response_deserializer=answer.FromString
        )
        done = trio.Event()
        token = trio.lowlevel.current_trio_token()

        def ended(_future: Any) -> None:
            # In a thread of grpcio's. The run may be over by then.
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(done.set, idempotent=True)

        future = method.future(request, timeout=timeout_s, metadata=metadata)
        future.add_done_callback(ended)
        try:
            await done.wait()
        except BaseException:
            future.cancel()
            raise
        try:
            result = future.result()
        except grpc.RpcError as error:
            raise self._failed(endpoint, error) from error
        self._is_serving |= endpoint == self._endpoint()
        return result

    def _stream(self, endpoint: str, name: str, request: Any, answer: Any) -> Callable[..., Any]:
        # etcd goes on answering when all that is asked was sent; and a stream of one request needs no threads of grpcio's own.
        found: Callable[..., Any] = self._channels[endpoint].unary_stream(
            f"/etcdserverpb.{name}", request_serializer=request.SerializeToString, response_deserializer=answer.FromString
        )
        return found

    def _metadata(self) -> list[tuple[str, str]]:
        return [("token", self._token)] if self._token else []

    def _failed(self, endpoint: str, error: Any) -> Exception:
        """What an error of gRPC means; the next call goes to another endpoint if this one may be to blame."""
        code, details = error.code(), error.details() or ""
        failure = _meaning(code, details, endpoint)
        is_to_blame = isinstance(failure, EtcdUnavailable) and not isinstance(failure, _TokenEnded)
        if is_to_blame and code is not grpc.StatusCode.CANCELLED and endpoint == self._endpoint():
            self._current = (self._current + 1) % len(self._access.endpoints)
            if self._is_serving:
                log.warning("etcd endpoint does not serve; trying the others", endpoint=endpoint, reason=details or code.name)
            self._is_serving = False
        return failure


class _TokenEnded(EtcdUnavailable):
    """The token is not known any more: authenticate again."""


def _meaning(code: Any, details: str, endpoint: str) -> Exception:
    where = f"etcd at {endpoint}: {details or code.name}"
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "space exceeded" in details:
        return EtcdFull(where)
    if "lease not found" in details:
        return LeaseEnded(where)
    if "has been compacted" in details:
        return EtcdCompacted(where)
    if "invalid auth token" in details or "auth: revision" in details:
        return _TokenEnded(where)
    if code in _HOPELESS or "larger than max" in details or "permission denied" in details:
        return EtcdMisused(f"{where}: mend [etcd] in cluster.toml, or etcd's own settings")
    return EtcdUnavailable(where)


_HOPELESS = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE,
)


def _credentials(access: Access) -> Any:
    if access.authority is None:
        return None
    return grpc.ssl_channel_credentials(*(_read(path) for path in (access.authority, access.key, access.certificate)))


def _read(path: Path | None) -> bytes | None:
    try:
        return path.read_bytes() if path is not None else None
    except OSError as error:
        raise EtcdMisused(f"cannot read {path}: {error.strerror}") from error


def _channel(endpoint: str, credentials: Any) -> Any:
    if credentials is None:
        return grpc.insecure_channel(endpoint, options=_OPTIONS)
    return grpc.secure_channel(endpoint, credentials, options=_OPTIONS)
