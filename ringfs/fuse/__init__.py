"""The mount: one set of operations on client.file_system, and the drivers under it."""

#: What `--driver` takes; the first is the default. They are made by drivers.py.
DRIVERS = ("kernel", "pyfuse3")
