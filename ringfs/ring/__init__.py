"""Placement: hash ring, cluster map, classes of service. Pure."""
