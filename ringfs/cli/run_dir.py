"""What `ringfs dev` and the daemons that it starts agree on: DIR/NAME/, and the line that says ready."""

#: The option that names the directory.
RUN_DIR_OPTION = "--run-dir"
#: The file in it that a daemon leaves at its end: exit code, and last words if that is not 0.
EXIT_NAME = "exit"
#: How the line on standard output begins.
READY = "ready"
