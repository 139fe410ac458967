"""Every message of the cluster, one module per conversation. Importing this package registers all tags."""

from ringfs.wire.messages import cluster, common, data, namespace, session

__all__ = ["cluster", "common", "data", "namespace", "session"]
