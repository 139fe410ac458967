"""The mount: one set of operations on client.file_system, and the drivers under it."""
