"""From [etcd] of cluster.toml to an etcd that can be asked. What the tables mean is base/config.py's."""

from ringfs.base.config import EtcdConfig
from ringfs.meta.etcd.client import Access


def access_of(config: EtcdConfig) -> Access:
    """How to reach it, with the password read. Raises UserError."""
    return Access(
        endpoints=config.endpoints,
        authority=config.authority,
        certificate=config.certificate,
        key=config.key,
        user=config.user,
        password=config.load_password(),
    )
