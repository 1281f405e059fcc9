"""Attacks by who may write a SecretBinding, and by who holds what a user granted to somebody else."""

import base64
import copy
import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from axon_operator.api.tenant import TenantSpec
from axon_operator.api.vault import Database
from axon_operator.api.workflowruntime import WorkflowRuntimeSpec
from axon_operator.domain import binding as bindings
from axon_operator.domain import issue, proxy
from axon_operator.domain import runtime as desired
from axon_operator.domain.agent import WORK_DIR
from axon_operator.domain.names import RuntimeNames
from axon_operator.domain.resources import BINDING, POD, RUNTIME, TENANT, Manifest, runtimes_named
from axon_operator.domain.runtime.vault import before_grants, vault_policy
from axon_operator.reconcile.views import TenantView, as_binding, delivered, surroundings
from bench.bed import Bed
from integration.tenant.conftest import NewTenant
from integration.tenant.house import ALICE, IMAGE, SOURCES, House
from integration.tenant.people import Realm
from integration.tenant.test_realm_providers import refuses
from servers.postgres import Postgres

UID: Final = "0a0b0c0d-0000-4000-8000-000000000001"
NOW: Final = "2026-01-01T00:00:00Z"
_FILE: Final = {"file": {"path": "credential.json", "format": "json", "mode": "0440"}}
_ENV: Final = {"env": {"variables": [{"name": "TOKEN", "key": "key"}], "onChange": "Restart"}}
_PROXY: Final = {
    "proxy": {"host": "api.example", "localPort": 8080, "header": "authorization", "prefix": "Bearer ", "key": "key"}
}
_KV: Final = {"kv": {"path": "billing/stripe", "keys": ["key"]}}
_GRANT: Final = {"grant": {"user": ALICE, "path": "github/token", "keys": ["key"]}}
_GENERATED: Final = {"generated": {"length": 32, "charset": "Printable"}}


def _spec(source: Mapping[str, Any], delivery: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "runtimeRef": {"name": "agent"},
        "source": source,
        "delivery": delivery,
        "egress": [{"cidr": "203.0.113.0/24", "ports": [443]}],
        "ttl": "15m",
        "rotationTrigger": "one",
        **more,
    }


_ROTATION: Final = {"rotation": {"interval": "5m", "overlap": "30s"}}
SPECS: Final[Mapping[str, dict[str, Any]]] = {
    "kv in a file": _spec(_KV, _FILE),
    "kv in a dotenv file": _spec(_KV, {"file": {**_FILE["file"], "format": "dotenv"}}),
    "kv in variables": _spec(_KV, _ENV),
    "kv behind the proxy": _spec(_KV, _PROXY),
    "grant in a file": _spec(_GRANT, _FILE),
    "grant in variables": _spec(_GRANT, _ENV),
    "database in a file": _spec(SOURCES["database"], _FILE, **_ROTATION),
    "certificate in a file": _spec({"pki": {}}, _FILE, **_ROTATION),
    "generated in a raw file": _spec(_GENERATED, {"file": {**_FILE["file"], "format": "raw"}}, **_ROTATION),
}


def _leaves(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where strings stand."""
    if isinstance(value, str):
        yield place
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        yield from _leaves(part, (*place, name))


FIELDS: Final = [(what, ("name",)) for what in SPECS] + [
    (what, ("spec", *place)) for what, spec in SPECS.items() for place in _leaves(spec)
]
_HOSTILE: Final = (
    '"', "'", "`", "{{", "}}", "{", "}", "\\", "\n", "\r", "\t", "\0", " ", "/", "//", "..", "../", "./", "*", "+", "?",
    "$", "$(id)", ";", "#", "%s", "|", "&", "<", ">", "=", ":", ",", "@", "\u2028", "\u202e", "\uff41", "é", "\x1b[2J",
    '" }\npath "*" { capabilities = ["sudo"] }\n', '"}}{{ with secret "kv/data/org/other" }}{{ .Data }}{{ end }}',
    '{{ env "BAO_TOKEN" }}', "../../users/alice/x", "x/../../../etc/passwd", "%2e%2e%2f", '"; DROP ROLE postgres; --',
    "{{identity.entity.id}}", "data/x?version=1", "x\n../y",
)  # fmt: skip
_PIECES: Final = st.one_of(
    st.sampled_from(_HOSTILE),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=3),
    st.text("abzAZ09_.-/", max_size=8),
)
TEXTS: Final = st.lists(_PIECES, min_size=1, max_size=4).map("".join)


def _with(what: str, place: tuple[str | int, ...], text: str, namespace: str) -> Manifest:
    """A binding with this text in this place."""
    made: dict[str, Any] = {"name": "binding", "spec": copy.deepcopy(SPECS[what])}
    target: Any = made
    for step in place[:-1]:
        target = target[step]
    target[place[-1]] = text
    metadata = {"name": made["name"], "namespace": namespace}
    return {"apiVersion": BINDING.api_version, "kind": BINDING.kind, "metadata": metadata, "spec": made["spec"]}


@pytest.fixture(scope="module")
def house(servers: Bed, postgres: Postgres, new_tenant: NewTenant) -> House:
    """Two runtimes; the range of the bindings' egress is allowed."""
    made = House(servers, postgres, new_tenant({"network": {"egress": [{"cidr": "203.0.113.0/24", "ports": [443]}]}}))
    made.open()
    made.runtime("agent")
    made.runtime("other")
    made.settle()
    return made


@pytest.mark.parametrize(("what", "place"), FIELDS, ids=[f"{w}: {'.'.join(map(str, p))}" for w, p in FIELDS])
def test_nothing_that_a_binding_says_gets_out_of_its_place(
    house: House, what: str, place: tuple[str | int, ...]
) -> None:
    """What the API server lets pass, the operator turns into the same policy and templates as a harmless name."""
    namespace, kube = house.tenant.names.namespace, house.tenant.kube
    assert kube.accepts(_with(what, ("spec", "rotationTrigger"), "harmless", namespace))
    other = _with(what, place, "another", namespace)
    harmless = [None, _made_of(house, SPECS[what], "binding")]
    if kube.accepts(other):
        harmless.append(_made_of(house, other["spec"], other["metadata"]["name"]))

    @settings(
        max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
    )
    @example("a")
    @example("a.b_-/C.d")
    @given(TEXTS)
    def attack(text: str) -> None:
        manifest = _with(what, place, text, namespace)
        if not kube.accepts(manifest):
            return
        assert _made_of(house, manifest["spec"], manifest["metadata"]["name"]) in harmless

    attack()


_RULE: Final = re.compile(r'path "([A-Za-z0-9_./-]+(?:/\+)?)" \{ capabilities = \["[a-z]+"(?:, "[a-z]+")?\] \}')
_OPENED: Final = re.compile(
    r"(kv/data/(org|generated|grants)/[^+]+|database/creds/[^/+]+|pki/issue/[^/+]+|transit/decrypt/rt-[^/+]+"
    r"|sys/leases/renew|runtime-status/rt-[^/+]+/\+|auth/token/(renew|revoke)-self)"
)
_ACTION: Final = re.compile(r"\{\{.*?\}\}", re.DOTALL)
# the backslashes are our own: of what a variable can hold
_STRING: Final = re.compile(r'"(?:[^"\\]|\\\\x00)*"')


def _made_of(house: House, spec: Mapping[str, Any], name: str) -> Any:
    """The shape of all that the operator makes of it; None if nothing. Checks that every name stays in its place."""
    tenant = house.tenant
    metadata = {"name": name, "namespace": tenant.names.namespace, "uid": UID, "creationTimestamp": NOW}
    binding = as_binding({"metadata": metadata, "spec": spec})
    view = TenantView(tenant.names, _tenant_spec(house, binding), None, ready=True, deleting=False)
    runtime = WorkflowRuntimeSpec.model_validate({"image": IMAGE})
    names = RuntimeNames(tenant.names.namespace, binding.spec.runtime_ref.name, UID)
    platform = tenant.settings.platform()
    around = surroundings(names, runtime, view, [binding], platform)
    found = bindings.assumed([binding], around, {})
    bound = delivered([binding], found, around, before={}, highest={}, now=tenant.clock())
    if not bound:
        return None
    made = desired.Runtime(names, tenant.names, runtime, bound, (), False, False, consent=around.consent)
    config = desired.config_map(made, platform)["data"]
    resources = [*issue.resources(bound), *before_grants(made)]
    for resource in resources:
        assert re.fullmatch(r"[A-Za-z0-9_./-]+", resource.at.path)
        assert ".." not in resource.at.path.split("/")
    return {
        "policy": _shape_of_policy(vault_policy(made).body["policy"]),
        "templates": [_shape_of_template(t) for t in json.loads(config["agent.json"])["template"]],
        "files": [_shape_of_file(line) for line in config["files"].splitlines()],
        "clusters": _shape_of_json(config.get(proxy.CLUSTERS, "null")),
        "listeners": [_shape_of_listener(line) for line in config.get(proxy.LISTENERS, "").splitlines()],
        "resources": [(r.at.path.split("/")[:2], sorted(r.body)) for r in resources],
        "sql": [r.body["creation_statements"] for r in resources if "creation_statements" in r.body],
    }


def _tenant_spec(house: House, binding: bindings.Binding) -> TenantSpec:
    """With a database and a role of the names that the binding asks for."""
    wanted = binding.spec.source.database
    declared = house.hand.database(roles=[{"name": "reader", "memberOf": ["readers"]}])
    if wanted:
        declared = {**declared, "name": wanted.connection, "roles": [{"name": wanted.role, "memberOf": ["readers"]}]}
    network = {"egress": [{"cidr": "0.0.0.0/0", "ports": [443]}]}
    database = Database.model_validate(declared)
    return TenantSpec.model_validate({"network": network, "vault": {"databases": [database.model_dump(by_alias=True)]}})


def _shape_of_policy(policy: str) -> list[str]:
    found = [_RULE.fullmatch(line) for line in policy.splitlines()]
    paths = [rule[1] for rule in found if rule]
    assert len(paths) == len(found), policy
    for path in paths:
        assert _OPENED.fullmatch(path), path
        assert not {"", ".", ".."} & set(path.split("/")), path
    return [re.sub("rt-.*", "rt-", "/".join(path.split("/")[:2])) for path in paths]


def _shape_of_template(template: Mapping[str, Any]) -> Any:
    destination = template["destination"]
    assert posixpath.normpath(destination) == destination
    folder, _, name = destination.rpartition("/")
    assert re.fullmatch(rf"{WORK_DIR}/[0-9a-f]+-1/(secrets|env|proxy)", folder), destination
    assert re.fullmatch(r"\.?[A-Za-z0-9_][A-Za-z0-9_.-]*", name), destination
    text = template["contents"]
    actions = [_STRING.sub('""', action) for action in _ACTION.findall(text)]
    assert not any("\n" in action for action in actions)
    between = _ACTION.sub("", text)
    # what is left is the form of the file: names of keys, and signs that are ours
    assert re.fullmatch(r"""[A-Za-z0-9_.:,"'={}\[\]@/ \n-]*""", between), between
    assert re.fullmatch(r"0[04]{3}", template["perms"])
    return folder.rpartition("/")[2], actions, re.sub(r"[A-Za-z0-9_.-]+", "x", between)


def _shape_of_file(line: str) -> str:
    found = re.fullmatch(r"(secrets|env|proxy)/[A-Za-z0-9_][A-Za-z0-9_.-]*", line)
    assert found, line
    return found[1]


def _shape_of_listener(line: str) -> Any:
    file, _, listener = line.partition(" ")
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*\.json", file)
    return _shape_of_json(listener)


def _shape_of_json(text: str) -> Any:
    """Without the texts in it."""

    def shape(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: shape(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [shape(inner) for inner in value if not isinstance(inner, str)]
        return "" if isinstance(value, str) else value

    return shape(json.loads(text))


@pytest.mark.parametrize(
    "name", ['readers"; DROP ROLE postgres; --', "readers'", "{{name}}", "a b", "a\nb", "\uff41", '"', "", "a" * 64]
)
def test_no_sql_comes_from_a_tenant(house: House, name: str) -> None:
    database = house.hand.database(roles=[{"name": "reader", "memberOf": [name]}])
    spec = {"vault": {"databases": [database]}}
    metadata = {"name": "another"}
    tenant = {"apiVersion": TENANT.api_version, "kind": TENANT.kind, "metadata": metadata, "spec": spec}
    assert not house.tenant.kube.accepts(tenant)
    database["roles"] = [{"name": "reader", "account": name}]
    assert not house.tenant.kube.accepts(tenant)
    database["roles"] = [{"name": "reader", "memberOf": ["pg_read_all_data"]}, {"name": "app", "account": "app"}]
    assert house.tenant.kube.accepts(tenant)


def test_odd_names_that_are_allowed_reach_their_secret_and_nothing_else(house: House) -> None:
    house.admin("POST", "kv/data/org/A.b_-/_C.d-", {"data": {"k.-_": "odd", "other": "not this"}})
    house.admin("POST", "kv/data/org/A.b_-/_C.d-x", {"data": {"k.-_": "a neighbour"}})
    name = "a" + "-" * 37 + "b"
    delivery = {"file": {"path": f"{name}.json"}}
    house.bind(name, {"kv": {"path": "A.b_-/_C.d-", "keys": ["k.-_"]}}, delivery=delivery)
    house.settle()
    pod = house.pod()
    (request,) = house.requests(name)
    assert pod.values((request,))["k.-_"] == "odd"
    for path in (f"{request.path}x", f"{request.path}/x", request.path.rpartition("/")[0], f"{request.path}/../_C.d-x"):
        assert pod.session.call("GET", path)[0] in {400, 403}, path
    house.tenant.delete(BINDING, name)
    house.settle()


# -- consent


def test_a_tenants_admin_gets_no_secret_of_a_user_who_has_not_consented(house: House) -> None:
    """By a binding, by a path of the organization's secrets, and by a grant in the user's name."""
    house.admin("POST", f"kv/data/users/{ALICE}/github/token", {"data": {"token": "of alice"}})
    house.bind("stolen", SOURCES["grant"])
    refuses(house.tenant, "ConsentMissing")
    assert "users/" not in house.policy()
    assert "grants/" not in house.policy()
    for path in (f"../users/{ALICE}/github/token", f"x/../../users/{ALICE}/github/token", f"/users/{ALICE}/github"):
        manifest = _with("kv in a file", ("spec", "source", "kv", "path"), path, house.tenant.names.namespace)
        assert not house.tenant.kube.accepts(manifest), path
    house.bind("by-path", {"kv": {"path": f"users/{ALICE}/github/token"}})
    refuses(house.tenant, "SourceMissing")
    pod = house.pod()
    assert pod.session.call("GET", f"kv/data/users/{ALICE}/github/token")[0] == 403
    house.tenant.edit(TENANT, house.tenant.names.tenant, {"vault": {"admins": ["/keepers"]}})
    refuses(house.tenant, "ConsentMissing")
    keeper = Realm(house.tenant).user("keeper", "/keepers")
    for session in (keeper.log_in("org-admin"), keeper.log_in("user")):
        for path in (f"kv/data/users/{ALICE}/github/token", f"kv/data/grants/{house.names().uid}/{ALICE}/github/token"):
            assert session.call("GET", path)[0] == 403
            assert session.call("POST", path, {"data": {"ciphertext": "vault:v1:mine"}})[0] == 403
        assert (
            session.call("PUT", f"transit/decrypt/{house.names().principal}", {"ciphertext": "vault:v1:mine"})[0] == 403
        )
    for binding in ("stolen", "by-path"):
        house.tenant.delete(BINDING, binding)
    house.settle()


def test_a_grant_to_one_runtime_is_worth_nothing_to_another(house: House) -> None:
    """Not by asking for it, and not in another place, to which somebody has brought what is encrypted."""
    for runtime in ("agent", "other"):
        house.bind(f"{runtime}-grant", "grant", runtime)
    refuses(house.tenant, "ConsentMissing")
    given = house.grant("agent")
    refuses(house.tenant, "ConsentMissing")
    assert house.requests("other-grant", "other") == ()
    mine = house.requests("agent-grant")
    assert house.pod().fetch(mine)[0] == 200
    thief = house.pod("other")
    for request in mine:
        assert thief.session.call("PUT" if request.fields else "GET", request.path, request.fields)[0] == 403
    stored = house.admin("GET", f"kv/data/{given}")["data"]
    copied = given.replace(house.names().uid, house.names("other").uid)
    house.admin("POST", f"kv/data/{copied}", {"data": stored})
    house.settle()
    read, decrypt = house.requests("other-grant", "other")
    assert thief.fetch((read,))[0] == 200
    status, answer = thief.fetch((read, decrypt))
    assert status == 400, answer
    # nor with the right key, as what it is not
    context = base64.b64encode(b"another").decode()
    fields = {"ciphertext": stored["ciphertext"], "associated_data": context}
    assert house.pod().session.call("PUT", mine[1].path, fields)[0] == 400
    house.withdraw(copied)
    house.withdraw(given)
    for runtime in ("agent", "other"):
        house.tenant.delete(BINDING, f"{runtime}-grant")
    house.settle()


def test_a_grant_to_a_runtime_is_worth_nothing_to_its_namesake_that_comes_later(house: House) -> None:
    house.runtime("reborn")
    house.bind("reborn-grant", "grant", "reborn")
    refuses(house.tenant, "ConsentMissing")
    given = house.grant("reborn")
    house.settle()
    before, pod, requests = house.names("reborn"), house.pod("reborn"), house.requests("reborn-grant", "reborn")
    stored = house.admin("GET", f"kv/data/{given}")["data"]
    assert pod.fetch(requests)[0] == 200
    house.tenant.delete(RUNTIME, "reborn")
    refuses(house.tenant, "RuntimeNotFound")
    assert house.remains(before) == []
    assert pod.fetch(requests)[0] == 403
    house.runtime("reborn")
    refuses(house.tenant, "ConsentMissing")
    assert house.names("reborn").principal != before.principal
    assert house.bao.look("GET", house.home, f"kv/data/{given}")
    assert "grants/" not in house.policy("reborn")
    heir = house.pod("reborn")
    for request in requests:
        assert heir.session.call("PUT" if request.fields else "GET", request.path, request.fields)[0] == 403
    # what was encrypted for the first is nothing that the second's key opens
    house.admin("POST", f"kv/data/{given.replace(before.uid, house.names('reborn').uid)}", {"data": stored})
    house.settle()
    status, answer = heir.fetch(house.requests("reborn-grant", "reborn"))
    assert status == 400, answer
    house.tenant.delete(RUNTIME, "reborn")
    house.tenant.delete(BINDING, "reborn-grant")
    house.settle()


def images(house: House, runtime: str) -> set[str]:
    """What the pods of a runtime run."""
    pods = house.tenant.kube.list(POD, namespace=house.tenant.names.namespace)
    return {p["spec"]["containers"][0]["image"] for p in pods if runtime in runtimes_named(p)}


def test_a_grant_for_one_image_is_not_read_by_pods_of_another_that_still_run(house: House) -> None:
    """The image is set back to one that has a grant, while pods of the other one run and do not go."""
    house.runtime("back")
    house.bind("back-grant", "grant", "back")
    refuses(house.tenant, "ConsentMissing")
    house.grant("back", revision=house.revision("back"))
    house.settle()
    requests = house.requests("back-grant", "back")
    house.tenant.edit(RUNTIME, "back", {"image": "registry.example/evil:1"})
    refuses(house.tenant, "ConsentMissing")
    while "registry.example/evil:1" not in images(house, "back"):
        house.tenant.cluster.step()
    evil = house.pod("back")
    assert evil.fetch(requests)[0] == 403
    step = house.tenant.cluster.step
    house.tenant.cluster.step = lambda: False  # type: ignore[method-assign]
    try:
        house.tenant.edit(RUNTIME, "back", {"image": IMAGE})
        refuses(house.tenant, "PodsNotReady")
        assert evil.fetch(requests)[0] == 403
    finally:
        house.tenant.cluster.step = step  # type: ignore[method-assign]
    house.settle()
    assert house.pod("back").fetch(house.requests("back-grant", "back"))[0] == 200
    house.tenant.delete(RUNTIME, "back")
    house.tenant.delete(BINDING, "back-grant")
    house.settle()
