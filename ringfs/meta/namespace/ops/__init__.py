"""The operations, one file each: `apply(work, operation) -> answer`, raising Refused. The table of all: machine.py."""
