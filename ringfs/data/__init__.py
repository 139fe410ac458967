"""Data nodes: segments, index, store, server. Never imports ringfs.meta."""
