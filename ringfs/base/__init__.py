"""The ground floor: error table, limits, ids, checksums, seams, configuration. Imports nothing of ringfs above it."""
