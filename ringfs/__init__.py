"""ringfs: a scale-out POSIX file system. See ARCHITECTURE.md for the floors; imports go down only."""
