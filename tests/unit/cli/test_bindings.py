"""What `rotate`, `revoke` and `trace` decide and show, without a cluster."""

import datetime
import json
from typing import Any

import pytest

from axon_operator.api.secretbinding import GrantSource, SecretBindingSpec
from axon_operator.api.workflowruntime import WorkflowRuntimeSpec
from axon_operator.cli.bindings import a_binding, has_rotated, is_delivered, is_revoked, obstacle
from axon_operator.cli.cluster import CommandError, ForbiddenError
from axon_operator.cli.edits import rotated, withdrawn
from axon_operator.cli.lineage import Seen, look, shown, trace
from axon_operator.cli.main import main
from axon_operator.domain.consent import Consent, revision
from axon_operator.domain.issue import Told, ToldBinding
from axon_operator.domain.names import RuntimeNames
from axon_operator.domain.resources import BINDING, CONFIG_MAP, POD, RUNTIME, TENANT, Manifest, Ref, Resource
from axon_operator.domain.rotation import Generation
from axon_operator.domain.runtime import BINDINGS_KEY

USER = "11111111-2222-3333-4444-555555555555"
NAMES = RuntimeNames("axon-acme", "agent", "uid-runtime")
AT = Ref(BINDING, "axon-acme", "db")
DATABASE = {"database": {"connection": "orders", "role": "reader"}}
GRANT = {"grant": {"user": USER, "path": "github/token"}}
MADE = "2026-01-31T10:00:00Z"


def told(reason: str, status: str = "True", *, kind: str = "Ready", generation: int = 2) -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": f"It is {reason}.",
        "observedGeneration": generation,
    }


def binding(source: dict[str, Any], *conditions: dict[str, Any], **more: Any) -> Manifest:
    spec = {"runtimeRef": {"name": "agent"}, "source": source, "delivery": {"file": {"path": "db.json"}}}
    status = more.pop("status", {})
    return {
        "apiVersion": BINDING.api_version,
        "kind": BINDING.kind,
        "metadata": {
            "name": "db",
            "namespace": "axon-acme",
            "uid": "uid-binding",
            "generation": 2,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {**spec, **more},
        "status": {"conditions": list(conditions), **status},
    }


# -- names


@pytest.mark.parametrize("text", ["acme/db", "axon-acme/db"])
def test_a_binding_is_named_by_its_tenant_or_its_namespace(text: str) -> None:
    assert a_binding(text) == AT


def test_a_tenant_whose_name_looks_like_a_namespace_is_named_by_its_namespace() -> None:
    assert a_binding("axon-axon-acme/db").namespace == "axon-axon-acme"
    assert a_binding("axon-acme/db").namespace == "axon-acme"


@pytest.mark.parametrize("text", ["db", "acme/", "/db", "acme/db/x", "acme/../db", "Acme/db", "acme/db?x", ""])
@pytest.mark.parametrize("command", ["rotate", "revoke", "trace"])
def test_what_is_no_name_is_refused_before_anything_is_sent(command: str, text: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, text])
    assert ended.value.code == 2


# -- rotate and revoke


@pytest.mark.parametrize("source", [DATABASE, {"pki": {}}, {"generated": {}}], ids=str)
def test_what_is_made_here_is_rotated_by_another_trigger(source: dict[str, Any]) -> None:
    assert rotated("now")(binding(source)) == {"rotationTrigger": "now"}


@pytest.mark.parametrize(
    ("live", "says"),
    [
        (binding({"kv": {"path": "billing/stripe"}}), "kv/org/billing/stripe is kept by the organization"),
        (binding(GRANT), f"github/token is the secret of user {USER}"),
        (binding(DATABASE, revoked=True), "is revoked"),
    ],
)
def test_what_is_not_to_be_rotated_here_says_who_changes_it(live: Manifest, says: str) -> None:
    with pytest.raises(CommandError, match=says):
        rotated("now")(live)


def test_what_is_revoked_already_is_not_written() -> None:
    assert withdrawn(revoked=True)(binding(DATABASE)) == {"revoked": True}
    assert withdrawn(revoked=True)(binding(DATABASE, revoked=True)) is None
    assert withdrawn(revoked=False)(binding(DATABASE, revoked=True)) == {"revoked": False}
    assert withdrawn(revoked=False)(binding(DATABASE)) is None


def rotating(at: str, ready: int, total: int, condition: dict[str, Any]) -> Manifest:
    return binding(DATABASE, condition, status={"rotatedAt": at, "consumers": {"ready": ready, "total": total}})


def test_a_rotation_has_ended_when_a_newer_credential_is_everywhere() -> None:
    later = "2026-01-31T10:05:00Z"
    assert has_rotated(rotating(later, 2, 2, told("Ready")), MADE)
    assert has_rotated(rotating(later, 0, 0, told("NoConsumers")), MADE)
    for unfinished in (
        rotating(MADE, 2, 2, told("Ready")),
        rotating(later, 1, 2, told("Ready")),
        rotating(later, 2, 2, told("Progressing", "False")),
        rotating(later, 2, 2, told("Ready", generation=1)),
        binding(DATABASE, told("Ready")),
    ):
        assert not has_rotated(unfinished, MADE)


def test_a_revocation_has_ended_when_the_operator_says_so_of_this_very_spec() -> None:
    assert is_revoked(binding(DATABASE, told("Revoked"), revoked=True))
    assert is_revoked(binding(DATABASE, told("Suspended"), revoked=True))
    assert not is_revoked(binding(DATABASE, told("Ready"), revoked=True))
    assert not is_revoked(binding(DATABASE, told("Revoked", generation=1), revoked=True))
    assert is_delivered(binding(DATABASE, told("Ready")))
    assert not is_delivered(binding(DATABASE, told("Revoked")))


def test_waiting_ends_where_it_is_of_no_use() -> None:
    assert obstacle(binding(DATABASE, told("Suspended"))) == "It is Suspended."
    assert obstacle(binding(DATABASE, told("Conflict", kind="Stalled"))) == "It is Conflict."
    assert obstacle(binding(DATABASE, told("Conflict", kind="Stalled", generation=1))) is None
    assert obstacle(binding(DATABASE, told("Progressing", "False"))) is None


# -- trace

RUNTIME_LIVE: Manifest = {
    "kind": RUNTIME.kind,
    "metadata": {"name": "agent", "namespace": "axon-acme", "uid": "uid-runtime"},
    "spec": {"image": "registry.example/agent:1"},
    "status": {"serviceAccount": NAMES.principal, "serviceAccountUID": "uid-account"},
}
TENANT_LIVE: Manifest = {
    "kind": TENANT.kind,
    "metadata": {"name": "acme", "uid": "uid-tenant"},
    "spec": {
        "vault": {
            "databases": [
                {
                    "name": "orders",
                    "host": "db.example",
                    "database": "orders",
                    "username": "openbao",
                    "credentialSecretRef": {"name": "x"},
                    "roles": [{"name": "reader", "memberOf": ["app_read"]}],
                }
            ]
        }
    },
    "status": {"vaultNamespace": "t-0123456789abcdef"},
}


def pod(name: str, runtime: str = "agent") -> Manifest:
    images = [("credentials", "bao"), ("workload", "agent")]
    statuses = [{"name": n, "image": f"{i}:1", "imageID": f"registry.example/{i}@sha256:{i}"} for n, i in images]
    return {
        "kind": POD.kind,
        "metadata": {
            "name": name,
            "namespace": "axon-acme",
            "uid": f"uid-{name}",
            "labels": {"axonos.ai/runtime": runtime},
            "annotations": {"axonos.ai/credentials-revision": "abc-3"},
        },
        "spec": {"initContainers": [{"name": "credentials", "env": [{"name": "BAO_NAMESPACE", "value": "axon/t-0"}]}]},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "initContainerStatuses": statuses[:1],
            "containerStatuses": statuses[1:],
        },
    }


def config(number: int = 3, kv: str = "") -> Manifest:
    """The runtime's, with which the operator tells what is delivered."""
    made = datetime.datetime.fromisoformat(MADE) if number else None
    told = Told({"db": ToldBinding(Generation("uid-binding", number, made, ""), kv, 1)})
    return {"kind": CONFIG_MAP.kind, "data": {BINDINGS_KEY: told.to_json()}}


DELIVERED = {"consumers": {"ready": 1, "total": 1}, "revision": "abc", "rotatedAt": MADE}


def test_a_database_account_is_traced_from_its_role_to_the_images() -> None:
    live = binding(DATABASE, told("Ready"), status=DELIVERED)
    found = trace(Seen(live, TENANT_LIVE, RUNTIME_LIVE, (live,), config(), (pod("one"),)))
    issue = f"orders.{NAMES.issue('db', 'uid-binding', 3)}"
    assert found.paths == (f"database/creds/{issue}",)
    assert found.made == (f"database/roles/{issue}",)
    assert (found.generation, found.member_of, found.vault_namespace) == (3, ("app_read",), "axon/t-0")
    assert found.role == f"auth/k8s/role/{NAMES.principal}"
    assert [image.digest for image in found.pods[0].images] == [
        "registry.example/bao@sha256:bao",
        "registry.example/agent@sha256:agent",
    ]
    assert json.loads(json.dumps(found.to_json()))["pods"][0]["name"] == "one"


def test_the_tree_leads_from_the_path_to_the_digest() -> None:
    live = binding(DATABASE, told("Ready"), status=DELIVERED)
    lines = shown(trace(Seen(live, TENANT_LIVE, RUNTIME_LIVE, (live,), config(), (pod("one"),))))
    assert lines[0] == "SecretBinding axon-acme/db: Ready. It is Ready."
    assert [line.lstrip("│├└─ ").split()[0] for line in lines[1:]] == [
        "source", "credential", "delivery", "consumers",
        "path", "policy", "login", "WorkflowRuntime", "service", "pod", "credentials:", "workload:",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("folder", "says"),
    [(0, "for revision"), (1, "for any revision")],
)
def test_a_users_consent_is_told_with_what_it_is_for(folder: int, says: str) -> None:
    live = binding(GRANT, told("Ready"))
    now = revision(
        WorkflowRuntimeSpec.model_validate(RUNTIME_LIVE["spec"]), {"db": SecretBindingSpec.model_validate(live["spec"])}
    )
    place = Consent("acme", "uid-runtime", now).paths(GrantSource.model_validate(GRANT["grant"]))[folder]
    found = trace(Seen(live, None, RUNTIME_LIVE, (live,), config(number=0, kv=place), ()))
    assert found.paths == (f"kv/data/{place}",)
    assert any(f'"transit/decrypt/{NAMES.principal}"' in rule for rule in found.rules)
    assert found.generation is None
    (line,) = (line for line in shown(found) if "consent" in line)
    assert f"given by user {USER} {says}" in line


def test_a_consent_that_is_missing_is_told_and_leaves_no_path() -> None:
    live = binding(GRANT, told("ConsentMissing", "False"))
    empty: Manifest = {"data": {BINDINGS_KEY: Told().to_json()}}
    found = trace(Seen(live, None, RUNTIME_LIVE, (live,), empty, ()))
    assert (found.paths, found.rules) == ((), ())
    lines = "\n".join(shown(found))
    assert f"user {USER} has given none" in lines
    assert "it is not in the policy now" in lines


def test_the_generation_of_a_former_binding_of_that_name_is_not_this_ones() -> None:
    live = binding(DATABASE, told("Progressing", "False"))
    live["metadata"]["uid"] = "uid-another"
    assert trace(Seen(live, None, RUNTIME_LIVE, (live,), config(), ())).paths == ()


class Cluster:
    """A cluster in which the user may read some kinds only."""

    def __init__(self, *allowed: Resource) -> None:
        self._allowed = allowed
        self._live = binding(DATABASE, told("Ready"), status=DELIVERED)

    def get(self, at: Ref) -> Manifest | None:
        self._check(at.resource)
        there = {BINDING: self._live, TENANT: TENANT_LIVE, RUNTIME: RUNTIME_LIVE, CONFIG_MAP: config()}
        return there.get(at.resource)

    def list(self, resource: Resource, namespace: str = "") -> list[Manifest]:
        assert namespace == "axon-acme"
        self._check(resource)
        return [self._live] if resource is BINDING else [pod("one"), pod("other", "web")]

    def _check(self, resource: Resource) -> None:
        if resource not in self._allowed:
            raise ForbiddenError("no")


def test_an_organizations_administrator_is_told_what_they_may_not_read() -> None:
    seen = look(Cluster(BINDING, RUNTIME, POD), AT)  # type: ignore[arg-type]
    found = trace(seen)
    series = NAMES.series("db", "uid-binding")
    assert found.paths == (f"database/creds/orders.{series}<generation>",)
    assert [p.name for p in found.pods] == ["one"]
    assert [line for line in shown(found) if line.startswith("Not read: ")] == [
        "Not read: Tenant acme, which you may not read: what a database role may do.",
        f"Not read: ConfigMap axon-acme/{NAMES.principal}, which you may not read: the generation, and where a grant is.",
    ]


def test_who_may_read_the_binding_alone_sees_that_and_what_is_missing() -> None:
    found = trace(look(Cluster(BINDING), AT))  # type: ignore[arg-type]
    assert (found.policy, found.paths, found.pods) == (None, (), ())
    assert len(found.unread) == 3
    assert "WorkflowRuntime agent: not known" in "\n".join(shown(found))


def test_who_may_not_read_the_binding_is_refused() -> None:
    with pytest.raises(ForbiddenError):
        look(Cluster(), AT)  # type: ignore[arg-type]
