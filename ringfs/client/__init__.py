"""The file system as a library: sessions, caches, reader, writer, file_system.py."""
