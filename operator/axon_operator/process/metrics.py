"""Metrics. They are API (docs/reference/metrics.md); labels have few values, but of one, and never name a secret."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from axon_operator.process.expiry import CredentialExpiry

REGISTRY = CollectorRegistry()

RECONCILES = Counter(
    "axon_operator_reconcile_total",
    "Passes over an object, by kind and outcome.",
    ["kind", "outcome"],
    registry=REGISTRY,
)
RECONCILE_SECONDS = Histogram(
    "axon_operator_reconcile_seconds", "Duration of a pass, by kind.", ["kind"], registry=REGISTRY
)
CHANGES = Counter(
    "axon_operator_changes_total",
    "Changes made in the three systems, by kind of object and verb.",
    ["kind", "verb"],
    registry=REGISTRY,
)
DRIFT_HEALED = Counter(
    "axon_operator_drift_healed_total",
    "Changes made to what was as planned before, by system and kind of object.",
    ["system", "kind"],
    registry=REGISTRY,
)
QUEUE_DEPTH = Gauge(
    "axon_operator_queue_depth", "Objects that wait for a worker, by priority.", ["priority"], registry=REGISTRY
)
QUEUE_WAIT = Histogram(
    "axon_operator_queue_wait_seconds",
    "Time that an object has waited for a worker, by priority.",
    ["priority"],
    registry=REGISTRY,
)
INFORMER_AGE = Gauge(
    "axon_operator_informer_age_seconds",
    "Time since the API server last said something about a watched kind.",
    ["kind"],
    registry=REGISTRY,
)
BREAKER_OPEN = Gauge(
    "axon_operator_breaker_open",
    "Circuit breakers that are open, one per tenant and one for the whole backend.",
    ["backend"],
    registry=REGISTRY,
)
ORPHANS = Gauge(
    "axon_operator_orphans",
    "Things with the operator's mark that belong to no living object, by system and kind.",
    ["system", "kind"],
    registry=REGISTRY,
)
ORPHANS_REMOVED = Counter(
    "axon_operator_orphans_removed_total",
    "Orphans that were removed after their grace period, by system and kind.",
    ["system", "kind"],
    registry=REGISTRY,
)
ORPHANS_HELD = Gauge(
    "axon_operator_orphans_held_tenants",
    "Tenants whose remains are due and kept, because not fewer tenants are dead than alive.",
    registry=REGISTRY,
)
AUDIT_READY = Gauge(
    "axon_operator_audit_ready",
    "1 for the status that the condition AuditReady has, 0 for the two others; nothing where it is not looked for.",
    ["status"],
    registry=REGISTRY,
)
ISOLATION = Gauge(
    "axon_operator_isolation_tenants",
    "Tenants into which the canary tries to cross, by what came of it.",
    ["verdict"],
    registry=REGISTRY,
)
BACKEND_CALLS = Counter(
    "axon_operator_backend_calls_total",
    "Calls of a backend, by verb and outcome.",
    ["backend", "verb", "outcome"],
    registry=REGISTRY,
)
BACKEND_SECONDS = Histogram(
    "axon_operator_backend_call_seconds",
    "Duration of a call, by backend and verb.",
    ["backend", "verb"],
    registry=REGISTRY,
)
LEADER = Gauge("axon_operator_leader", "1 in the process that leads, 0 in one that stands by.", registry=REGISTRY)

CREDENTIAL_EXPIRY = CredentialExpiry()
REGISTRY.register(CREDENTIAL_EXPIRY)


def observe_call(backend: str, verb: str, outcome: str, seconds: float) -> None:
    """The adapters' hook (`backends.observe.Observe`)."""
    BACKEND_CALLS.labels(backend, verb, outcome).inc()
    BACKEND_SECONDS.labels(backend, verb).observe(seconds)
