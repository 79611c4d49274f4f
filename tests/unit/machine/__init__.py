"""The machine through its door: invariants of the architecture, judged by the oracle."""
