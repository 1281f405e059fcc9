"""What a GovernanceProfile demands is demanded by the API server too, of every new spec and in the operator's own words,
and stands in the way of nothing else."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from axon_operator.api.governance import GovernanceProfileSpec
from axon_operator.api.secretbinding import SecretBindingSpec
from axon_operator.api.tenant import TenantSpec
from axon_operator.api.workflowruntime import WorkflowRuntimeSpec
from axon_operator.domain.governance import Governed, violations
from axon_operator.domain.names import FINALIZER, TenantNames
from axon_operator.domain.tenant import kubernetes as tenant_kubernetes
from e2e.support.kubectl import Json, Kubectl
from e2e.support.shell import Result
from e2e.support.waiting import until_true
from integration.api.conftest import OPERATOR, As

MODELS: dict[str, type[Governed]] = {
    "Tenant": TenantSpec,
    "WorkflowRuntime": WorkflowRuntimeSpec,
    "SecretBinding": SecretBindingSpec,
}
TAG = "registry.example/agent:1"
DIGEST = f"registry.example/agent@sha256:{'0' * 64}"

PROFILES: dict[str, Json] = {
    "gov-nothing": {},
    "gov-sessions": {"sessions": {"maxAccessTokenLifespan": "90s", "maxIdleTimeout": "30m", "maxLifespan": "8h"}},
    "gov-lifespan": {"sessions": {"maxLifespan": "9h59m59s"}},
    "gov-mfa": {"mfa": "Required"},
    "gov-digest": {"requireImageDigest": True},
    "gov-ttl": {"maxCredentialTTL": "15m"},
    "gov-hour": {"maxCredentialTTL": "1h"},
    "gov-egress": {"egress": {"shortestPrefix": 24, "deniedPorts": [23, 80]}},
}


def egress(cidr: str, *ports: int) -> Json:
    """One rule."""
    return {"egress": [{"cidr": cidr, "ports": [*ports]}]}


def accounts(*intervals: str | None) -> Json:
    """A Tenant with accounts whose passwords OpenBao keeps, for so long; None: as long as it does by itself."""
    spans = [{"rotationInterval": interval} if interval else {} for interval in intervals]
    roles = [{"name": f"r{n}", "account": f"a{n}", **span} for n, span in enumerate(spans)]
    reader = {"name": "reader", "memberOf": ["readers"]}
    database = {
        "name": "orders",
        "host": "db.example",
        "database": "orders",
        "username": "axon",
        "credentialSecretRef": {"name": "orders"},
        "roles": [reader, *roles],
    }
    return {"vault": {"databases": [database]}}


def sessions(access: str, idle: str, longest: str) -> Json:
    """A Tenant's."""
    return {"identity": {"sessions": {"accessTokenLifespan": access, "idleTimeout": idle, "maxLifespan": longest}}}


def binding(**spec: Any) -> Json:
    """A SecretBinding's spec."""
    whole = {"runtimeRef": {"name": "agent"}, "source": {"kv": {"path": "a"}}, "delivery": {"file": {"path": "a"}}}
    return {**whole, **spec}


WIDE, NARROW = egress("203.0.112.0/23", 443), egress("203.0.113.0/24", 443)
DENIED = egress("203.0.113.0/24", 80, 443, 23)
BROAD = egress("198.51.0.0/16", 80, 443)

CASES: list[tuple[str, str, Json]] = [
    *(
        ("Tenant", profile, spec)
        for profile in ("gov-nothing", "gov-sessions", "gov-lifespan", "gov-mfa", "gov-egress")
        for spec in (
            {"identity": {"mfa": "None"}},
            sessions("1m30s", "1800s", "8h0m"),
            sessions("91s", "30m", "8h"),
            sessions("90s", "30m1s", "8h"),
            {"identity": {"sessions": {"idleTimeout": "10m", "maxLifespan": "1h", "offlineIdleTimeout": "31m"}}},
            {"identity": {"sessions": {"idleTimeout": "10m", "maxLifespan": "1h", "offlineMaxLifespan": "720h"}}},
            {"network": WIDE},
            {"network": NARROW},
            {"network": DENIED},
        )
    ),
    *(
        ("WorkflowRuntime", profile, spec)
        for profile in ("gov-nothing", "gov-digest", "gov-egress")
        for spec in ({"image": TAG}, {"image": DIGEST}, {"image": DIGEST, **WIDE}, {"image": DIGEST, **DENIED})
    ),
    *(
        ("Tenant", profile, accounts(*intervals))
        for profile in ("gov-nothing", "gov-ttl")
        for intervals in ((), ("1h",), (None,))
    ),
    # no interval is as short as the ceiling of that one
    ("Tenant", "gov-hour", accounts("1h")),
    ("Tenant", "gov-hour", accounts("1h", "61m")),
    *(
        ("SecretBinding", profile, spec)
        for profile in ("gov-nothing", "gov-ttl", "gov-egress")
        for spec in (binding(), binding(ttl="15m1s"), binding(**WIDE), binding(**DENIED))
    ),
]


@pytest.fixture(scope="module")
def server(installed: Kubectl) -> Iterator[Kubectl]:
    """With every profile in force, and for each a tenant's namespace as the operator makes it."""
    operator = As(installed, OPERATOR)
    installed.apply(*(_profile(name, spec) for name, spec in PROFILES.items()))
    for name in PROFILES:
        _make_home(operator, name)
    for kind, name, spec in CASES:
        if _demands(kind, name, spec):
            until_true(f"{name} is in force", lambda n=name, k=kind, s=spec: not _try(installed, k, n, s).ok)  # type: ignore[misc]
    yield installed
    installed("delete", "axt", "gov-mover", "--wait=false", "--ignore-not-found")
    installed("delete", "axg", *PROFILES, "--wait=false")
    operator("delete", "namespace", *(_home(name) for name in PROFILES), "--wait=false")


def _make_home(operator: As, name: str) -> None:
    """Nobody else may."""
    done = operator("apply", "--server-side", "-f", "-", stdin=json.dumps(_namespace(name)))
    assert done.ok, done.output


def _profile(name: str, spec: Json) -> Json:
    return {
        "apiVersion": "axonos.ai/v1alpha1",
        "kind": "GovernanceProfile",
        "metadata": {"name": name},
        "spec": spec,
    }


def _home(name: str) -> str:
    """The namespace of a tenant that is called as its profile."""
    return TenantNames(name, "0000").namespace


def _namespace(name: str) -> Json:
    spec = TenantSpec.model_validate({"governance": {"profile": name}})
    return tenant_kubernetes.namespace(TenantNames(name, "0000"), spec)


def _governed(kind: str, profile: str, spec: Json, name: str = "probe") -> Json:
    metadata = {"name": name}
    if kind == "Tenant":
        spec = {**spec, "governance": {"profile": profile}}
    else:
        metadata["namespace"] = _home(profile)
    return {"apiVersion": "axonos.ai/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


def _try(kubectl: Kubectl, kind: str, profile: str, spec: Json) -> Result:
    """Whether it would be created. Without kubectl's own check: `mfa` may be a field that this version does not have."""
    document = json.dumps(_governed(kind, profile, spec))
    return kubectl.run("create", "--dry-run=server", "--validate=false", "-f", "-", stdin=document)


def _demands(kind: str, profile: str, spec: Json) -> list[str]:
    """What the operator would say."""
    demanded = GovernanceProfileSpec.model_validate(PROFILES[profile])
    return violations(profile, demanded, MODELS[kind].model_validate(spec))


@pytest.mark.parametrize(("kind", "profile", "spec"), CASES)
def test_the_api_server_and_the_operator_judge_alike(server: Kubectl, kind: str, profile: str, spec: Json) -> None:
    demands, done = _demands(kind, profile, spec), _try(server, kind, profile, spec)
    assert done.ok is not bool(demands), done.output
    if demands:
        # of several the API server tells the first
        assert demands[0] in done.output


def test_who_names_no_profile_or_one_that_is_not_there_is_not_judged_here(server: Kubectl) -> None:
    """The second is told by the operator: a policy sees the profiles that exist, one at a time."""
    for governance in ({}, {"profile": "gov-missing"}):
        spec = {**sessions("2m", "24h", "168h"), "governance": governance, "network": DENIED}
        done = server.try_apply({**_governed("Tenant", "", {}), "spec": spec}, dry_run=True)
        assert done.ok, done.output


@pytest.fixture
def tightened(server: Kubectl) -> Iterator[dict[str, Json]]:
    """One object of each kind that a profile came too late for, by kind."""
    # namespaces do not end here, so none is used twice
    name = f"gov-late-{uuid.uuid4().hex[:8]}"
    strict = {
        "maxCredentialTTL": "5m",
        "requireImageDigest": True,
        "sessions": {"maxLifespan": "1h"},
        "egress": {"shortestPrefix": 24, "deniedPorts": [80]},
    }
    server.apply(_profile(name, {}))
    _make_home(As(server, OPERATOR), name)
    old = {
        "Tenant": _governed("Tenant", name, {"displayName": "Old", "network": BROAD}, name),
        "WorkflowRuntime": _governed("WorkflowRuntime", name, {"image": TAG, "args": ["a"], **BROAD}, "agent"),
        "SecretBinding": _governed("SecretBinding", name, binding(**BROAD), "billing"),
    }
    server.apply(*old.values())
    server.apply(_profile(name, strict))
    for kind, manifest in old.items():
        probe = {**manifest, "metadata": {**manifest["metadata"], "name": "probe"}}
        until_true(f"{kind}s are judged", lambda m=probe: not server.try_apply(m, dry_run=True).ok)  # type: ignore[misc]
    yield old
    for manifest in old.values():
        server("delete", *_at(manifest), "--wait=false", "--ignore-not-found")
    server("delete", "axg", name)
    As(server, OPERATOR)("delete", "namespace", _home(name), "--wait=false")


def _at(manifest: Json) -> list[str]:
    where = manifest["metadata"].get("namespace")
    return [manifest["kind"], manifest["metadata"]["name"], *(["-n", where] if where else [])]


def _patch(kubectl: Kubectl | As, manifest: Json, change: Json, *options: str) -> Result:
    run = kubectl if isinstance(kubectl, As) else kubectl.run
    return run("patch", *_at(manifest), "--type=merge", "-p", json.dumps(change), *options)


@dataclass(frozen=True)
class Edits:
    """Of a spec that violates a profile that came later."""

    unrelated: Json
    """Has nothing to do with what the profile demands."""
    still: tuple[Json, ...]
    """Change what it is about, and violate it as before or anew."""
    demanded: Json


OTHERWISE: dict[str, Edits] = {
    "Tenant": Edits(
        {"displayName": "New", "identity": {"logout": [{"user": "alice", "trigger": "1"}]}},
        (
            sessions("1m", "30m", "2h"),
            {"network": DENIED},
            {"network": {"egress": [*BROAD["egress"], *WIDE["egress"]]}},
        ),
        {**sessions("1m", "30m", "1h"), "network": NARROW},
    ),
    "WorkflowRuntime": Edits(
        {"args": None},
        ({"image": f"{TAG}.1"}, DENIED, {"egress": [*BROAD["egress"], *WIDE["egress"]]}),
        {"image": DIGEST, **NARROW},
    ),
    "SecretBinding": Edits(
        {"delivery": {"file": {"path": "b"}}},
        ({"ttl": "6m"}, DENIED, {"egress": [*BROAD["egress"], *WIDE["egress"]]}),
        {"ttl": "5m", **NARROW},
    ),
}


@pytest.mark.parametrize("kind", MODELS)
def test_what_was_there_before_stays_until_it_is_changed_itself_and_holds_no_other_edit_up(
    server: Kubectl, tightened: dict[str, Json], kind: str
) -> None:
    old, operator, edits = tightened[kind], As(server, OPERATOR), OTHERWISE[kind]
    # labels, finalizers and the status are free, for people and for the operator
    assert _patch(server, old, {"metadata": {"labels": {"seen": "yes"}}}).ok
    assert _patch(operator, old, {"metadata": {"finalizers": [FINALIZER]}}).ok
    done = _patch(server, old, {"status": {"observedGeneration": 1}}, "--subresource=status")
    assert done.ok, done.output
    # applying the same once more is no change
    assert server.try_apply(old).ok
    done = _patch(server, old, {"spec": edits.unrelated})
    assert done.ok, done.output
    for change in edits.still:
        refused = _patch(server, old, {"spec": change})
        assert not refused.ok
        assert "GovernanceProfile gov-late-" in refused.output
    # a rule that is in order may be added to those that are not
    beside = {"egress": [*BROAD["egress"], *NARROW["egress"]]}
    for change in ({"network": beside} if kind == "Tenant" else beside, edits.demanded):
        done = _patch(server, old, {"spec": change}, "--dry-run=server")
        assert done.ok, done.output
    # what was set right stays so
    assert _patch(server, old, {"spec": edits.demanded}).ok
    refused = server.try_apply(old)
    assert "GovernanceProfile gov-late-" in refused.output
    # deletion waits for the finalizer, and taking it off ends it
    server("delete", *_at(old), "--wait=false")
    assert server.need(*_at(old))["metadata"]["deletionTimestamp"]
    done = _patch(operator, old, {"metadata": {"finalizers": None}})
    assert done.ok, done.output
    assert server.get(*_at(old)) is None


@pytest.mark.parametrize("kind", ["Tenant", "WorkflowRuntime"])
def test_a_switch_works_whatever_is_violated(server: Kubectl, tightened: dict[str, Json], kind: str) -> None:
    old = tightened[kind]
    for suspended in (True, False, None):
        done = _patch(server, old, {"spec": {"suspended": suspended}})
        assert done.ok, done.output
    # and takes nothing along that it may not
    for change in OTHERWISE[kind].still:
        assert not _patch(server, old, {"spec": {"suspended": True, **change}}).ok


def test_a_runtime_can_be_scaled_whatever_it_violates(server: Kubectl, tightened: dict[str, Json]) -> None:
    """Down is always right; what is added, the operator does not start."""
    old = tightened["WorkflowRuntime"]
    for replicas in (0, 3):
        assert server.run("scale", *_at(old), f"--replicas={replicas}").ok
        assert _patch(server, old, {"spec": {"replicas": replicas + 1}}).ok


def test_naming_a_stricter_profile_is_judged_by_that_one(server: Kubectl) -> None:
    old = _governed("Tenant", "gov-nothing", {}, "gov-mover")
    server.apply(old)
    refused = _patch(server, old, {"spec": {"governance": {"profile": "gov-sessions"}}})
    assert not refused.ok
    assert "GovernanceProfile gov-sessions demands" in refused.output
    done = _patch(server, old, {"spec": {**sessions("1m", "1m", "1h"), "governance": {"profile": "gov-sessions"}}})
    assert done.ok, done.output


def test_the_shipped_profiles_are_in_force(server: Kubectl) -> None:
    assert {p["metadata"]["name"] for p in server.items("axg")} >= {"baseline", "soc2"}
    spec = {"governance": {"profile": "baseline"}}
    tenant = {**_governed("Tenant", "", {}), "spec": spec}
    assert server.try_apply(tenant, dry_run=True).ok
    refused = server.try_apply({**tenant, "spec": {"governance": {"profile": "soc2"}}}, dry_run=True)
    assert "GovernanceProfile soc2 demands spec.identity.sessions.idleTimeout of at most 15m" in refused.output


BAD: dict[str, tuple[Json, str]] = {
    "a ceiling that no session keeps to": ({"sessions": {"maxAccessTokenLifespan": "5s"}}, "between 10s and 2m"),
    "a ceiling above what a binding can have": ({"maxCredentialTTL": "48h"}, "between 1m and 24h"),
    "a ceiling that is no duration": ({"maxCredentialTTL": "1 day"}, "spec.maxCredentialTTL"),
    "a prefix that every range has": ({"egress": {"shortestPrefix": 7}}, "shortestPrefix"),
    "a port that there is not": ({"egress": {"deniedPorts": [0]}}, "deniedPorts"),
    "a word for mfa": ({"mfa": "Sometimes"}, "spec.mfa"),
}


@pytest.mark.parametrize(("spec", "words"), BAD.values(), ids=BAD.keys())
def test_a_profile_that_makes_no_sense_is_refused(server: Kubectl, spec: Json, words: str) -> None:
    refused = server.try_apply(_profile("probe", spec), dry_run=True)
    assert not refused.ok
    assert words in refused.output


def test_profiles_are_written_by_those_who_write_tenants_only(server: Kubectl) -> None:
    home = _home("gov-nothing")
    server("create", "rolebinding", "admins", "-n", home, "--clusterrole=axon-tenant-admin", "--group=gov-admins")
    server("create", "rolebinding", "editors", "-n", home, "--clusterrole=edit", "--group=gov-admins")
    for who in (As(server, "alice", "gov-admins"), As(server, OPERATOR)):
        for verb in ("create", "update", "patch", "delete"):
            assert not who.may(verb, "governanceprofiles.axonos.ai", home), verb
