"""Measures robin's goals side by side with its peers: `python -m benchmarks GOAL` (docs/performance.md)."""
