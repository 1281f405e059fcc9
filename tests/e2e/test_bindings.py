"""Credentials in running pods: from each kind of source, in each way, until nothing of them is left anywhere."""

import base64
import json
import secrets
import time
from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from e2e.support import operator, samples
from e2e.support.cluster import Cluster, Pod, Ref, binding_ref, runtime_ref
from e2e.support.database import IMAGE, Database
from e2e.support.house import (
    ACCOUNT,
    ACCOUNT_FILE,
    CERTIFICATE_FILE,
    LOGIN,
    TO_THE_DATABASE,
    TO_THE_PEER,
    House,
    granted,
    variable,
)
from e2e.support.https import Answer
from e2e.support.kubectl import Json
from e2e.support.peer import CLIENT, WELCOME, Peer, image
from e2e.support.tenants import Tenants
from e2e.support.traces import contains, etcd_keys_with
from e2e.support.user import User
from e2e.support.waiting import Unmet, stays, until, until_true

WITHDRAWN_SECONDS = 5
ROOM = {"resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}}}
"""For a workload that calls a server all the time."""


@pytest.fixture(scope="module")
def house(cluster: Cluster, database: Database, tenants: Tenants) -> House:
    """Where everything happens."""
    return House.open(cluster, database, tenants, "house")


@pytest.fixture(scope="module")
def pod(house: House) -> Pod:
    """Of the runtime `agent`, to which credentials come and go: it must never be restarted."""
    return house.start("agent")


@pytest.fixture(autouse=True)
def undisturbed(request: pytest.FixtureRequest) -> Iterator[None]:
    """The pod runs on as it was, whatever became of its credentials."""
    yield
    if "pod" in request.fixturenames:
        house, pod = request.getfixturevalue("house"), request.getfixturevalue("pod")
        assert house.cluster.pod(house.tenant).identity == pod.identity


def taken(what: str, since: float) -> None:
    """For the report."""
    print(f"{what}: {time.monotonic() - since:.1f} s")


# -- files, from each kind of source


def test_a_secret_of_the_organization_comes_changes_and_goes(house: House, pod: Pod, tenants: Tenants) -> None:
    first, second = tenants.value(), tenants.value()
    house.cluster.write_secret(house.tenant, "app/key", key=first)
    ref = house.bind("app", samples.kv("app/key", "key"), samples.file("app.json"))
    assert json.loads(house.read("app.json") or "{}") == {"key": first}
    house.cluster.write_secret(house.tenant, "app/key", key=second)
    house.cluster.wait_delivered(pod, "app.json", second)

    house.edit(ref, revoked=True)
    house.cluster.wait_condition(ref, "Ready", "True", "Revoked")
    assert house.read("app.json") is None
    house.edit(ref, revoked=False)
    house.cluster.wait_condition(ref, "Ready", "True", "Ready")
    assert second in (house.read("app.json") or "")
    house.delete(ref)
    assert house.read("app.json") is None


def test_an_account_of_a_database_is_used_rotated_revoked_and_deleted(house: House, pod: Pod) -> None:
    rotation = {"overlap": "15s"}
    ref = house.bind("orders", ACCOUNT, ACCOUNT_FILE, egress=TO_THE_DATABASE, ttl="2m", rotation=rotation)
    first = house.account()
    until("the workload reads the orders", lambda: _is("7", house.query("SELECT number FROM orders")), timeout=20)
    assert "permission denied" in house.query("SELECT amount FROM salaries")
    assert house.database.accounts(house.tenant) == {first[0]}

    house.rotate(ref)
    second = house.account()
    assert second[0] != first[0]
    assert house.database.lets_in(*first), "the old account ends before the new one is taken over"
    assert house.query("SELECT number FROM orders") == "7"
    since = time.monotonic()
    until_true("the old account is gone", lambda: not house.database.knows(first[0]), timeout=60)
    taken("after a rotation with an overlap of 15 s the old account is gone", since)
    assert not house.database.lets_in(*first)
    assert house.database.accounts(house.tenant) == {second[0]}
    until_true("one generation", lambda: len(house.issues("orders")) == len(house.leases("orders")) == 1)

    since = time.monotonic()
    house.edit(ref, revoked=True)
    until_true("the account is refused", lambda: not house.database.lets_in(*second), timeout=30, every=0.1)
    taken("after a revocation the account is refused", since)
    house.cluster.wait_condition(ref, "Ready", "True", "Revoked")
    assert house.read("orders.env") is None
    assert (house.issues("orders"), house.leases("orders"), house.database.accounts(house.tenant)) == ([], [], set())

    house.edit(ref, revoked=False)
    house.cluster.wait_condition(ref, "Ready", "True", "Ready")
    third = house.account()
    assert third[0] not in {first[0], second[0]}
    since = time.monotonic()
    house.delete(ref)
    taken("the binding is gone after", since)
    assert house.read("orders.env") is None
    assert not house.database.lets_in(*third)
    assert (house.issues("orders"), house.leases("orders"), house.database.accounts(house.tenant)) == ([], [], set())


def test_a_certificate_is_for_the_runtime_alone_and_ends_on_the_list_of_revoked_ones(house: House, pod: Pod) -> None:
    ref = house.bind("tls", {"pki": {}}, CERTIFICATE_FILE, ttl="2m", rotation={"overlap": "5s"})
    first = certificate_in(house)
    house.rotate(ref)
    second = certificate_in(house)
    assert second.serial_number != first.serial_number
    until_true("the old certificate is on the list", lambda: house.is_revoked(first), timeout=60)
    assert not house.is_revoked(second)
    until_true("one generation", lambda: len(house.issues("tls")) == len(house.leases("tls")) == 1)

    since = time.monotonic()
    house.edit(ref, revoked=True)
    house.cluster.wait_condition(ref, "Ready", "True", "Revoked")
    taken("the certificate is taken back after", since)
    assert house.read("tls.pem") is None
    assert house.is_revoked(second)
    house.edit(ref, revoked=False)
    house.cluster.wait_condition(ref, "Ready", "True", "Ready")
    third = certificate_in(house)
    house.delete(ref)
    assert house.read("tls.pem") is None
    assert house.is_revoked(third)
    assert (house.issues("tls"), house.leases("tls")) == ([], [])


def certificate_in(house: House) -> x509.Certificate:
    """What the workload reads, verified as a peer would."""
    text = (house.read("tls.pem") or "").encode()
    certificate, authority = x509.load_pem_x509_certificates(text)
    key = serialization.load_pem_private_key(text, password=None)
    assert key.public_key() == certificate.public_key()
    assert authority == house.authority()
    certificate.verify_directly_issued_by(authority)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    (name,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    assert len(list(names)) == 1
    assert name.startswith("spiffe://")
    assert name.endswith(f"/tenant/{house.tenant}/runtime/agent")
    return certificate


def test_a_generated_value_is_replaced_and_destroyed(house: House, pod: Pod) -> None:
    delivery = {"file": {"path": "pepper", "format": "raw"}}
    source = {"generated": {"length": 40, "charset": "Printable"}}
    ref = house.bind("pepper", source, delivery, rotation={"overlap": "5s"})
    first = house.read("pepper")
    assert first
    assert len(first) == 40
    house.rotate(ref)
    second = house.read("pepper")
    assert second != first
    until_true("one generation", lambda: len(house.issues("pepper")) == 1, timeout=60)
    house.edit(ref, revoked=True)
    house.cluster.wait_condition(ref, "Ready", "True", "Revoked")
    assert (house.read("pepper"), house.issues("pepper")) == (None, [])
    house.edit(ref, revoked=False)
    house.cluster.wait_condition(ref, "Ready", "True", "Ready")
    assert house.read("pepper") not in {None, first, second}
    house.delete(ref)
    assert (house.read("pepper"), house.issues("pepper")) == (None, [])


# -- consent


@pytest.fixture(scope="module")
def alice(house: House) -> User:
    """A user of the tenant, with a password and a browser."""
    return User.new(house.cluster, house.tenant, "alice")


def test_what_a_user_grants_comes_and_what_they_take_back_is_refused_at_once_and_gone_in_seconds(
    house: House, pod: Pod, tenants: Tenants, alice: User
) -> None:
    ref, value = binding_ref(house.tenant, "github"), tenants.value()
    body = {"source": granted(alice), "delivery": samples.file("github.json")}
    house.cluster.kubectl.apply(samples.binding(house.tenant, "github", **body))
    told = house.cluster.wait_condition(ref, "Ready", "False", "ConsentMissing")
    assert "kubectl axon secret allow github/token agent" in told["message"]
    until_true(
        "the runtime is in the directory",
        lambda: bool(house.cluster.openbao.names(house.vault, "kv/metadata/runtimes")),
    )

    since = time.monotonic()
    grant = alice.grants("agent", "github/token", {"token": value})
    house.cluster.wait_delivered(pod, "github.json", value)
    taken("a grant is in the pod after", since)
    house.cluster.wait_ready(ref)
    token = house.cluster.vault_token(house.tenant)

    def opens() -> bool:
        return house.cluster.openbao.call("GET", f"kv/data/grants/{grant.path}", namespace=house.vault, token=token).ok

    assert opens()
    since = time.monotonic()
    grant.withdraw()
    assert not opens()
    taken("a withdrawn grant is refused after", since)
    until_true("the file is gone", lambda: house.read("github.json") is None, timeout=30, every=0.1)
    taken("a withdrawn grant is gone from the pod after", since)
    assert time.monotonic() - since <= WITHDRAWN_SECONDS
    house.cluster.wait_condition(ref, "Ready", "False", "ConsentMissing")
    house.delete(ref)


def test_a_grant_to_one_revision_never_reaches_another_image(house: House, tenants: Tenants, alice: User) -> None:
    watch = "if [ -e /var/run/axon/secrets/github.json ]; then echo seen >/tmp/seen; fi; sleep 0.1"
    args = [f"trap 'exit 0' TERM; while :; do {watch} & wait $!; done"]
    image = str(samples.runtime(house.tenant)["spec"]["image"])
    before = house.start("assistant", image=image, args=args)
    ref = binding_ref(house.tenant, "consented")
    body = {"runtimeRef": {"name": "assistant"}, "source": granted(alice), "delivery": samples.file("github.json")}
    house.cluster.kubectl.apply(samples.binding(house.tenant, "consented", **body))
    house.cluster.wait_condition(ref, "Ready", "False", "ConsentMissing")
    grant = alice.grants("assistant", "github/token", {"token": tenants.value()}, tied=True)
    house.cluster.wait_ready(ref)
    assert house.read("github.json", "assistant")

    house.edit(runtime_ref(house.tenant, "assistant"), image=IMAGE)
    house.cluster.wait_ready(runtime_ref(house.tenant, "assistant"))
    after = house.cluster.pod(house.tenant, "assistant")
    assert after.uid != before.uid
    house.cluster.wait_condition(ref, "Ready", "False", "ConsentMissing")
    stays("no file", lambda: house.read("github.json", "assistant") is None, seconds=5)
    assert not house.cluster.workload(after, "cat", "/tmp/seen").ok, "the new image has seen what was not for it"
    token = house.cluster.vault_token(house.tenant, "assistant")
    path = f"kv/data/grants/{grant.path}"
    assert house.cluster.openbao.call("GET", path, namespace=house.vault, token=token).status == 403
    house.delete(ref)
    house.delete(runtime_ref(house.tenant, "assistant"))


# -- variables


def test_a_variable_is_in_the_workload_and_in_no_object_and_a_new_value_replaces_the_pod(
    house: House, tenants: Tenants
) -> None:
    house.cluster.write_secret(house.tenant, "app/env", key=tenants.value())
    value = tenants.value()
    house.cluster.write_secret(house.tenant, "app/env", key=value)
    house.declare("variables", replicas=0)
    ref = binding_ref(house.tenant, "env")
    body = {"source": samples.kv("app/env"), "delivery": variable("API_KEY", "key")}
    house.cluster.kubectl.apply(samples.binding(house.tenant, "env", runtimeRef={"name": "variables"}, **body))
    generated = {"source": {"generated": {}}, "delivery": variable("PEPPER", "value")}
    pepper = binding_ref(house.tenant, "env-pepper")
    house.cluster.kubectl.apply(
        samples.binding(house.tenant, "env-pepper", runtimeRef={"name": "variables"}, **generated)
    )
    house.edit(runtime_ref(house.tenant, "variables"), replicas=1)
    house.cluster.wait_ready(runtime_ref(house.tenant, "variables"), ref, pepper)
    first = house.variables("variables")
    assert first["API_KEY"] == value
    assert len(first["PEPPER"]) == 32

    pod = house.cluster.pod(house.tenant, "variables")
    described = house.cluster.kubectl("-n", pod.namespace, "get", "pods,configmaps,deployments", "-o", "yaml")
    described += house.cluster.kubectl("-n", pod.namespace, "describe", "pods")
    assert "API_KEY" in described
    for secret in (value, first["PEPPER"]):
        assert not contains(described.encode(), secret)
        assert etcd_keys_with(house.cluster, secret) == []
    # neither the agent's files nor its token, nor the kubelet's source of the variables
    assert house.cluster.workload(pod, "ls", "/var/run/axon").stdout.split() == ["identity", "secrets"]
    found = house.cluster.workload(pod, "find", "/", "-xdev", "-name", "held").stdout
    assert found == ""

    house.rotate(pepper)
    until("another pod with the next value", lambda: _is_other(first["PEPPER"], house.variables("variables")["PEPPER"]))
    assert house.cluster.pod(house.tenant, "variables").uid != pod.uid
    changed = tenants.value()
    house.cluster.write_secret(house.tenant, "app/env", key=changed)
    until(
        "another pod with the changed value", lambda: _is(changed, house.variables("variables")["API_KEY"]), timeout=90
    )
    house.delete(ref)
    house.delete(pepper)
    until_true("no variable is left", lambda: not {"API_KEY", "PEPPER"} & house.variables("variables").keys())


def test_with_on_change_none_the_pod_keeps_what_it_started_with(house: House) -> None:
    house.declare("steady", replicas=0)
    ref = binding_ref(house.tenant, "steady")
    body = {"source": {"generated": {}}, "delivery": variable("PEPPER", "value", onChange="None")}
    house.cluster.kubectl.apply(samples.binding(house.tenant, "steady", runtimeRef={"name": "steady"}, **body))
    house.edit(runtime_ref(house.tenant, "steady"), replicas=1)
    house.cluster.wait_ready(runtime_ref(house.tenant, "steady"), ref)
    pod, value = house.cluster.pod(house.tenant, "steady"), house.variables("steady")["PEPPER"]
    house.rotate(ref)
    stays("the pod", lambda: house.cluster.pod(house.tenant, "steady").identity == pod.identity, seconds=5)
    assert house.variables("steady")["PEPPER"] == value
    house.delete(runtime_ref(house.tenant, "steady"))
    house.delete(ref)


def test_variables_that_are_due_together_replace_the_pods_once(house: House) -> None:
    house.declare("together", replicas=0)
    names = ("one", "two")
    rotation = {"interval": "1m", "overlap": "1s"}
    for name in names:
        body = {"source": {"generated": {}}, "delivery": variable(name.upper(), "value"), "rotation": rotation}
        house.cluster.kubectl.apply(samples.binding(house.tenant, name, runtimeRef={"name": "together"}, **body))
    house.edit(runtime_ref(house.tenant, "together"), replicas=1)
    refs = [binding_ref(house.tenant, name) for name in names]
    house.cluster.wait_ready(runtime_ref(house.tenant, "together"), *refs)
    before = house.variables("together")
    count = rollouts(house, "together")

    def both_changed() -> None:
        now = house.variables("together")
        if any(now[name.upper()] == before[name.upper()] for name in names):
            raise Unmet("not both are new")

    until("both are new", both_changed, timeout=240, every=1)
    assert rollouts(house, "together") == count + 1
    house.delete(runtime_ref(house.tenant, "together"))
    for ref in refs:
        house.delete(ref)


def rollouts(house: House, runtime: str) -> int:
    """How often the pod template has changed."""
    principal = house.cluster.principal(house.tenant, runtime)
    found = house.cluster.kubectl.need("-n", f"axon-{house.tenant}", "deployment", principal)
    return int(found["metadata"]["annotations"]["deployment.kubernetes.io/revision"])


def test_a_value_that_no_variable_can_hold_is_not_delivered(house: House, tenants: Tenants) -> None:
    house.cluster.write_secret(house.tenant, "app/odd", key=f"it's {tenants.value()}")
    house.declare("odd", replicas=0)
    ref = binding_ref(house.tenant, "odd")
    body = {"source": samples.kv("app/odd"), "delivery": variable("ODD", "key")}
    house.cluster.kubectl.apply(samples.binding(house.tenant, "odd", runtimeRef={"name": "odd"}, **body))
    house.edit(runtime_ref(house.tenant, "odd"), replicas=1)
    until_true("its pod is there", lambda: len(house.cluster.pods(house.tenant, "odd")) == 1)
    (waiting,) = house.cluster.pods(house.tenant, "odd")
    name = waiting["metadata"]["name"]

    def said() -> None:
        logs = house.cluster.kubectl.run("-n", f"axon-{house.tenant}", "logs", name, "-c", "credentials").output
        if "values that do not fit: env/odd" not in logs:
            raise Unmet(logs[-500:])
        told = house.cluster.condition(ref, "Ready")
        if (told["status"], told["reason"]) != ("False", "ValueUnusable"):
            raise Unmet(f"{told['reason']}: {told['message']}")
        assert "1 of 1 pods have a value of key key that no environment variable can hold" in told["message"]

    until("sidecar and binding say what is wrong", said)
    stays("no workload", lambda: not _workload_runs(house, "odd"), seconds=5)
    house.cluster.write_secret(house.tenant, "app/odd", key="plain")
    house.cluster.wait_ready(ref)
    assert house.variables("odd")["ODD"] == "plain"
    house.delete(runtime_ref(house.tenant, "odd"))
    house.delete(ref)


def _workload_runs(house: House, runtime: str) -> bool:
    pods = house.cluster.pods(house.tenant, runtime)
    statuses = [s for p in pods for s in p["status"].get("containerStatuses", [])]
    return any("running" in s["state"] for s in statuses)


# -- the end of a pod


def test_the_account_of_a_pod_ends_with_it_and_its_token_opens_nothing_for_longer_than_it_lives(house: House) -> None:
    house.start("mortal")
    ref = house.bind("mortal", ACCOUNT, ACCOUNT_FILE, runtime="mortal", ttl="1m")
    pod, account = house.cluster.pod(house.tenant, "mortal"), house.account("mortal")
    token, principal = house.cluster.vault_jwt(house.tenant, "mortal"), house.cluster.principal(house.tenant, "mortal")
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["exp"] - claims["iat"] <= 600
    assert house.database.lets_in(*account)

    since = time.monotonic()
    house.cluster.glass("-n", pod.namespace, "delete", "pod", pod.name, "--wait=false")
    # by its sidecar, in a moment; where that got no answer from OpenBao in the pod's last seconds, by its ttl
    until_true("the account is gone", lambda: not house.database.knows(account[0]), timeout=90, every=0.1)
    taken("after the deletion of a pod its account is gone", since)
    until_true("the pod is gone", lambda: house.cluster.kubectl.get("-n", pod.namespace, "pod", pod.name) is None)
    taken("and the pod", since)
    house.cluster.wait_ready(runtime_ref(house.tenant, "mortal"), ref)

    # OpenBao looks at a token's signature and end only: whoever has stolen it is the runtime, for as long as that is there
    answer = house.cluster.openbao.login(principal, token, namespace=house.vault)
    print(f"the token of the pod that is gone: {answer.status}, {claims['exp'] - time.time():.0f} s before its end")
    held = answer.body["auth"]["client_token"] if answer.ok else ""
    (role,) = house.leases("mortal")

    def steal() -> Answer:
        return house.cluster.openbao.call("GET", f"database/creds/{role}", namespace=house.vault, token=held)

    stolen = steal()
    print(f"an account for whoever has it: {stolen.status}; its login lasts {answer.body['auth']['lease_duration']} s")
    house.delete(runtime_ref(house.tenant, "mortal"))
    assert not house.cluster.openbao.login(principal, token, namespace=house.vault).ok
    assert not steal().ok
    assert (house.issues(), house.leases(), house.database.accounts(house.tenant)) == ([], [], set())
    house.delete(ref)


# -- accidents


@pytest.fixture(scope="module")
def busy(house: House) -> Iterator[list[Ref]]:
    """Bindings of the runtime `busy`, of each kind that is made for a binding."""
    house.start("busy", **ROOM)
    rotation = {"overlap": "5s"}
    made: dict[str, tuple[Json, Json]] = {
        "busy-db": (ACCOUNT, ACCOUNT_FILE),
        "busy-tls": ({"pki": {}}, CERTIFICATE_FILE),
        "busy-key": ({"generated": {}}, samples.file("key.json")),
    }
    refs = [
        house.bind(name, source, delivery, runtime="busy", egress=TO_THE_DATABASE, ttl="5m", rotation=rotation)
        for name, (source, delivery) in made.items()
    ]
    yield refs
    house.delete(runtime_ref(house.tenant, "busy"))
    for ref in refs:
        house.delete(ref)
    assert (house.issues(), house.leases(), house.database.accounts(house.tenant)) == ([], [], set())


def start_rotation(house: House, refs: list[Ref]) -> None:
    """Of all of them."""
    for ref in refs:
        house.edit(ref, rotationTrigger=secrets.token_hex(4))


def assert_settled(house: House, refs: list[Ref], before: str) -> None:
    """One generation of each, another than before, and one account: the one that the pod holds."""
    house.cluster.wait_ready(*refs)

    def probe() -> None:
        left = [house.issues(ref.name) for ref in refs], [house.leases(ref.name) for ref in refs[:2]]
        if any(len(names) != 1 for part in left for names in part):
            raise Unmet(str(left))
        held, accounts = house.account("busy"), house.database.accounts(house.tenant)
        if accounts != {held[0]}:
            raise Unmet(f"{held[0]} is held, and there are {accounts}")
        if held[0] == before or not house.database.lets_in(*held):
            raise Unmet("not a new account that works")

    until("one generation of each, and it works", probe, timeout=120)


def test_a_killed_sidecar_takes_over_what_it_had(house: House, busy: list[Ref]) -> None:
    before, started = house.account("busy")[0], house.cluster.pod(house.tenant, "busy").started
    start_rotation(house, busy)
    house.cluster.node.signal(house.sidecar_process("busy"), "KILL")
    assert_settled(house, busy, before)
    assert house.cluster.pod(house.tenant, "busy").started == started


def test_a_killed_agent_is_followed_by_another(house: House, busy: list[Ref]) -> None:
    # not before the kubelet tells of the sidecar that followed the one killed before
    agent = until("an agent runs", lambda: house.agent_process("busy"))
    before, pod = house.account("busy")[0], house.cluster.pod(house.tenant, "busy")
    house.cluster.node.signal(agent, "KILL")
    time.sleep(15)  # the sidecar gives an agent that ended ten seconds
    start_rotation(house, busy)
    assert_settled(house, busy, before)
    assert house.cluster.pod(house.tenant, "busy").identity == pod.identity


@pytest.mark.parametrize("moment", [0.1, 1.0, 2.5])
def test_a_rotation_goes_on_when_the_operator_is_killed(house: House, busy: list[Ref], moment: float) -> None:
    before, pod = house.account("busy")[0], house.cluster.pod(house.tenant, "busy")
    start_rotation(house, busy)
    operator.kill(house.cluster, moment)
    assert_settled(house, busy, before)
    assert house.cluster.pod(house.tenant, "busy").identity == pod.identity


def test_a_rotation_goes_on_when_openbao_is_back(house: House, busy: list[Ref]) -> None:
    before, pod = house.account("busy")[0], house.cluster.pod(house.tenant, "busy")
    with house.cluster.openbao_away():
        start_rotation(house, busy)
        time.sleep(15)
        assert house.query("SELECT number FROM orders", "busy") == "7", "what the pod holds must not suffer"
    assert_settled(house, busy, before)
    assert house.cluster.pod(house.tenant, "busy").identity == pod.identity


# -- traffic


TRAFFIC_SECONDS = 30
TRAFFIC_RATE = 22
"""That a client tries to reach, each second. How many it were is printed: a busy machine does fewer."""
TRAFFIC = f"""
log_in_all_the_time() {{
  n=0 bad=0
  while [ $SECONDS -lt {TRAFFIC_SECONDS} ]; do
    ({LOGIN} -c 'SELECT 1') >/dev/null 2>>/tmp/errors || bad=$((bad + 1))
    n=$((n + 1))
    sleep 0.02
  done
  echo $n $bad
}}
log_in_all_the_time & log_in_all_the_time & wait
cat /tmp/errors
"""


def test_a_workload_that_logs_in_all_the_time_does_not_notice_a_rotation(house: House, busy: list[Ref]) -> None:
    pod, before = house.cluster.pod(house.tenant, "busy"), house.account("busy")[0]
    with house.cluster.glass.start(pod.namespace, pod.name, "workload", "bash", "-c", TRAFFIC) as traffic:
        time.sleep(3)
        start_rotation(house, busy)
        assert_settled(house, busy, before)
        said, _ = traffic.communicate(timeout=60)
    counts = [tuple(map(int, line.split())) for line in said.splitlines()[:2]]
    logins, failures = (sum(column) for column in zip(*counts, strict=True))
    print(f"{logins} logins in {TRAFFIC_SECONDS} s, {failures} failures")
    assert (failures, logins > TRAFFIC_SECONDS) == (0, True), said


@pytest.fixture
def peer(house: House) -> Iterator[Peer]:
    """To which the runtime `peer-caller` proves itself by its certificate."""
    made = Peer(house.cluster, house.vault, f"spiffe://cluster.local/tenant/{house.tenant}/runtime/peer-caller")
    yield made
    made.remove()


def test_a_client_that_proves_itself_all_the_time_does_not_notice_a_rotation_of_its_certificate(
    house: House, peer: Peer
) -> None:
    runtime, held, former = "peer-caller", "/var/run/axon/secrets/tls.pem", "/tmp/former.pem"
    pod = house.start(runtime, image=image(house.cluster), env=peer.environment(), **ROOM)
    rotation = {"overlap": "5s"}
    ref = house.bind(
        runtime, {"pki": {}}, CERTIFICATE_FILE, runtime=runtime, egress=TO_THE_PEER, ttl="5m", rotation=rotation
    )
    first = x509.load_pem_x509_certificate((house.read("tls.pem", runtime) or "").encode())
    assert house.cluster.workload(pod, "cp", held, former).ok

    def heard(file: str) -> str:
        return house.cluster.workload(pod, *greet(file, 0, 1)).output.strip()

    until("the peer is reached", lambda: _is(f"1 {WELCOME}", heard(held)), timeout=20)
    traffic_command = greet(held, TRAFFIC_SECONDS, TRAFFIC_RATE)
    with house.cluster.glass.start(pod.namespace, pod.name, "workload", *traffic_command) as traffic:
        time.sleep(3)
        house.rotate(ref)
        until_true("the old certificate is on the list", lambda: house.is_revoked(first), timeout=60)
        said, _ = traffic.communicate(timeout=60)
    counts = {answer: int(count) for count, answer in (line.split(" ", 1) for line in said.splitlines())}
    print(f"handshakes in {TRAFFIC_SECONDS} s: {counts}")
    assert counts.keys() == {WELCOME}, said
    assert counts[WELCOME] > TRAFFIC_SECONDS
    # the same client at the same server, which has read the list by now
    assert "certificate revoked" in heard(former)
    assert heard(held) == f"1 {WELCOME}"
    house.delete(runtime_ref(house.tenant, runtime))
    house.delete(ref)


def greet(file: str, seconds: int, rate: int) -> tuple[str, ...]:
    """A command in the workload."""
    return ("python3", "-c", CLIENT, file, str(seconds), str(rate))


def _is(wanted: str, seen: str) -> None:
    if seen != wanted:
        raise Unmet("another value" if len(seen) < 100 else seen)


def _is_other(unwanted: str, seen: str) -> None:
    if seen == unwanted:
        raise Unmet("still the old one")


# -- a workload that ends, and one that never holds its credential


def test_what_a_run_was_given_ends_with_it(house: House) -> None:
    until_told = "while [ ! -e /tmp/end ]; do sleep 0.2; done"
    house.declare("job", run={"deadline": "10m"}, args=[until_told])
    job = runtime_ref(house.tenant, "job")
    ref = house.bind("job", ACCOUNT, ACCOUNT_FILE, runtime="job", egress=TO_THE_DATABASE)
    account = house.account("job")
    assert house.database.lets_in(*account)
    assert house.query("SELECT 1", "job") == "1"

    house.cluster.workload(house.cluster.pod(house.tenant, "job"), "touch", "/tmp/end")
    since = time.monotonic()
    until_true("the account is gone", lambda: not house.database.knows(account[0]), timeout=60, every=0.1)
    taken("after the end of a run its account is gone", since)
    house.cluster.wait_condition(job, "Ready", "True", "RunSucceeded")
    house.cluster.wait_condition(ref, "Ready", "True", "NoConsumers")
    assert (house.issues("job"), house.leases("job")) == ([], [])

    house.edit(job, run={"trigger": "again"})
    house.cluster.wait_condition(job, "Ready", "True", "Ready")
    house.cluster.wait_ready(ref, timeout=60)
    another, _ = house.account("job")
    assert another != account[0]
    house.delete(job)
    assert (house.issues("job"), house.leases("job")) == ([], [])
    assert not house.database.knows(another)
    house.delete(ref)


ASK = (
    "exec 3<>/dev/tcp/127.0.0.1/8085 &&"
    r" printf 'GET / HTTP/1.1\r\nHost: 127.0.0.1:8085\r\nConnection: close\r\n\r\n' >&3 && head -1 <&3"
)


def test_a_proxy_stands_between_the_workload_and_its_credential(house: House, tenants: Tenants) -> None:
    value = tenants.value()
    house.cluster.write_secret(house.tenant, "app/api", token=value)
    house.start("caller")
    to_the_host = [{"cidr": "203.0.113.0/24", "ports": [443]}]
    delivery = {"proxy": {"host": "api.example", "localPort": 8085, "key": "token", "prefix": "Bearer "}}
    ref = house.bind("caller", samples.kv("app/api", "token"), delivery, runtime="caller", egress=to_the_host)
    house.cluster.wait_ready(runtime_ref(house.tenant, "caller"), ref)
    pod = house.cluster.pod(house.tenant, "caller")

    def asked() -> str:
        return house.cluster.workload(pod, "bash", "-c", ASK).output.strip()

    # there is no such host: the proxy answers, and sends the credential nowhere
    until_true("the proxy answers", lambda: asked().startswith("HTTP/1.1 503"))
    seen = house.cluster.workload(
        pod, "bash", "-c", "cat /proc/*/environ; grep -r . /var/run/axon /tmp; ls /var/run/axon"
    )
    assert value not in seen.output
    assert "proxy" not in seen.output.splitlines()[-3:]

    # another one beside it comes into the running pod, and goes
    second = {"proxy": {**delivery["proxy"], "localPort": 8086}}
    other = house.bind("caller-2", samples.kv("app/api", "token"), second, runtime="caller", egress=to_the_host)
    assert house.cluster.pod(house.tenant, "caller").identity == pod.identity
    house.delete(other)
    since = time.monotonic()
    assert "HTTP" not in house.cluster.workload(pod, "bash", "-c", ASK.replace("8085", "8086")).output
    taken("after the deletion of a binding its port is closed", since)
    assert asked().startswith("HTTP/1.1 503")
    house.delete(runtime_ref(house.tenant, "caller"))
    house.delete(ref)
