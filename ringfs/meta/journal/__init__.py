"""The ordered log of metadata transactions: one interface, one contract suite, one module per engine."""
