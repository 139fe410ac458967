"""Frames, strict msgpack, messages, authenticated connections and RPC. Knows what is said, never what it means."""
