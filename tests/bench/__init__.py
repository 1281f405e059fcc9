"""Measurements of the real operator process on real servers: `make bench` and `make soak` (docs/benchmarks.md)."""
