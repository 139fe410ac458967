"""The command line: one module per verb, loaded when it is run. The top floor; nothing imports it."""
