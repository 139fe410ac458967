"""The steward of a data node: heals, rebalances, scrubs, sweeps and compacts its share of the ring. docs/parts/steward.md."""
