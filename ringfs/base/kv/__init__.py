"""Ordered key-value views: the protocol, an in-memory one, an overlay, and the durable store over LMDB."""
