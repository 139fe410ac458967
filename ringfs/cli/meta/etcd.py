"""etcd as a verb asks it, once: what is wrong is one line."""

from collections.abc import Iterator
from contextlib import contextmanager

from ringfs.base.config import ClusterConfig
from ringfs.base.errors import UserError
from ringfs.cli.exits import NotReachable
from ringfs.meta.etcd.interface import Etcd, EtcdFull, EtcdUnavailable


@contextmanager
def open_etcd(config: ClusterConfig) -> Iterator[tuple[Etcd, bytes]]:
    """A connection, and the cluster's prefix. Raises UserError, NotReachable."""
    from ringfs.meta.etcd.client import EtcdClient
    from ringfs.meta.etcd.connect import access_of

    if config.etcd is None:
        raise UserError(f"{config.path} has no [etcd]: this is about a journal there")
    etcd = EtcdClient(access_of(config.etcd))
    try:
        yield etcd, config.etcd.prefix.encode()
    except EtcdUnavailable as error:
        raise NotReachable(f"etcd does not answer: {error}") from error
    except EtcdFull as error:
        raise UserError(f"etcd's database is full: {error}") from error
    finally:
        etcd.close()
