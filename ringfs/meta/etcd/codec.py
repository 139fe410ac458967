"""Between interface.py's types and etcd's protobuf messages. Pure."""

from collections.abc import Sequence
from typing import Any

from ringfs.meta.etcd import etcd_pb2
from ringfs.meta.etcd.interface import Absent, Action, AtVersion, Change, Condition, Get, KeyValue, Put, Transacted

#: Its types are made at run time.
pb: Any = etcd_pb2

_ASCENDING, _DESCENDING = 1, 2
_VERSION, _CREATED = 0, 1


def transaction(conditions: Sequence[Condition], then: Sequence[Action], otherwise: Sequence[Action]) -> Any:
    """The request."""
    return pb.TxnRequest(
        compare=[_compare(each) for each in conditions],
        success=[_operation(each) for each in then],
        failure=[_operation(each) for each in otherwise],
    )


def transacted(response: Any) -> Transacted:
    """The answer."""
    found = [each.response_range for each in response.responses if each.WhichOneof("response") == "response_range"]
    return Transacted(response.succeeded, response.header.revision, [[pair(kv) for kv in each.kvs] for each in found])


def pair(kv: Any) -> KeyValue:
    """A key and what belongs to it."""
    return KeyValue(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease)


def change(event: Any) -> Change:
    """An event of a watch."""
    return Change(pair(event.kv), event.type == pb.Event.DELETE)


def _compare(condition: Condition) -> Any:
    if isinstance(condition, Absent):
        return pb.Compare(target=_VERSION, key=condition.key, range_end=condition.end, version=0)
    if isinstance(condition, AtVersion):
        return pb.Compare(target=_VERSION, key=condition.key, version=condition.version)
    return pb.Compare(target=_CREATED, key=condition.key, create_revision=condition.revision)


def _operation(action: Action) -> Any:
    if isinstance(action, Put):
        return pb.RequestOp(request_put=pb.PutRequest(key=action.key, value=action.value, lease=action.lease))
    if isinstance(action, Get):
        return pb.RequestOp(request_range=_range(action))
    return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=action.key, range_end=action.end))


def _range(get: Get) -> Any:
    return pb.RangeRequest(
        key=get.key,
        range_end=get.end,
        limit=get.limit,
        sort_order=_DESCENDING if get.last_first else _ASCENDING,
        keys_only=get.keys_only,
    )
