"""At length, on the real cluster, what tests show once: `make endure` (docs/benchmarks.md)."""
