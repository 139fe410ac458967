"""The metadata service: pure namespace, journal, store, sessions and leases, leader, server."""
