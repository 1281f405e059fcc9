"""Metrics are an API: the reference lists exactly those that are registered, with their types and labels."""

import re

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from axon_operator.process import metrics
from axon_operator.process.expiry import CredentialExpiry
from axon_testbed.layout import REPOSITORY

PAGE = REPOSITORY / "docs" / "reference" / "metrics.md"
ROW = re.compile(r"^\| `(axon_operator_\w+)` \| (\w+) \|([^|]*)\| [^|]+\. \|$", re.MULTILINE)
TYPES = {Counter: "counter", Gauge: "gauge", Histogram: "histogram"}

Row = tuple[str, str, tuple[str, ...]]
"""Name, type, labels."""


def _documented() -> list[Row]:
    rows = ROW.findall(PAGE.read_text(encoding="utf-8"))
    return sorted((name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows)


def _registered() -> list[Row]:
    found = [m for m in vars(metrics).values() if isinstance(m, MetricWrapperBase)]
    rows = [(_exposed(m), TYPES[type(m)], tuple(m._labelnames)) for m in found]
    return sorted([*rows, (CredentialExpiry.name, "gauge", CredentialExpiry.labels)])


def _exposed(metric: MetricWrapperBase) -> str:
    """The name as it is scraped; the client library keeps a counter's without its ending."""
    return f"{metric._name}_total" if isinstance(metric, Counter) else metric._name


def test_the_reference_lists_exactly_the_metrics() -> None:
    assert _documented() == _registered()


def test_every_metric_is_exported() -> None:
    exported = {family.name for family in metrics.REGISTRY.collect()}
    assert exported == {name.removesuffix("_total") for name, *_ in _registered()}
