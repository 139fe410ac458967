"""Objects on the data nodes: put in their form, read from any holder, verified. Used by clients and by stewards."""
