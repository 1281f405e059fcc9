"""Rows of what took how long."""

from collections.abc import Sequence

from bench.report import Row, percentile


def timed(scenario: str, what: str, seconds: Sequence[float], goal: float | None, tries: str) -> Row:
    """The 99th percentile, beside the median and the longest; `tries`: what there were so many of."""
    note = f"p50 {percentile(seconds, 0.5):.2f} s, max {max(seconds):.2f} s, {len(seconds)} {tries}"
    detail = tuple(f"{value:.3f}" for value in seconds)
    return Row(scenario, f"{what}, p99", percentile(seconds, 0.99), "s", goal, note, detail)
