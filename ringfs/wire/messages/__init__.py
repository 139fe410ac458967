"""Every message of the cluster, one module per conversation. Importing this package registers all tags."""

from ringfs.wire.messages import cluster, common, content, data, files, heal, namespace, queries, quota, session

__all__ = ["cluster", "common", "content", "data", "files", "heal", "namespace", "queries", "quota", "session"]
