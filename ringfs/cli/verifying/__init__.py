"""`ringfs verify`: which files are meant, what their bytes are, what the disks say. The verb is cli/verify.py."""
