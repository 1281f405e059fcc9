"""People of an organization: how they get in, how they are thrown out, and what their tenant must keep to."""

import secrets
import time

import pytest

from axon_operator.domain.names import ADOPT_ANNOTATION
from e2e.support import samples
from e2e.support.cluster import Cluster, tenant_ref
from e2e.support.tenants import Tenants
from e2e.support.user import User
from e2e.support.waiting import until_true

COMPLIANT = "Compliant"


@pytest.fixture(scope="module")
def tenant(tenants: Tenants) -> str:
    """One whose people need no second factor: what a factor is worth is another test's subject."""
    return tenants.empty("people", identity={"mfa": "None"})


def test_users_reach_their_own_secrets_until_they_are_thrown_out(cluster: Cluster, tenant: str) -> None:
    alice, bob = (User.new(cluster, tenant, name) for name in ("alice", "bob"))
    jwt, others = alice.access_token(), bob.vault_token(bob.access_token())
    token = alice.vault_token(jwt)
    assert alice.writes(token, alice.sub)
    assert not alice.writes(token, bob.sub)
    assert cluster.keycloak.userinfo(f"axon-{tenant}", jwt).ok

    logout = {"identity": {"mfa": "None", "logout": [{"user": "alice", "trigger": secrets.token_hex(4)}]}}
    started = time.monotonic()
    cluster.kubectl.apply(samples.tenant(tenant, **logout))
    cluster.wait_condition(tenant_ref(tenant), "SessionsEnded", "True")
    print(f"logged out after {time.monotonic() - started:.1f} s, as the condition says it")
    assert not alice.writes(token, alice.sub)
    assert not alice.vault_token(jwt)
    assert not cluster.keycloak.userinfo(f"axon-{tenant}", jwt).ok
    assert bob.writes(others, bob.sub)


def test_a_profile_is_enforced_at_the_door(cluster: Cluster, tenants: Tenants) -> None:
    name = tenants.name("strict")
    keeps = {"governance": {"profile": "soc2"}, "network": {}}
    sessions = {"idleTimeout": "10m", "maxLifespan": "4h"}
    refused = cluster.kubectl.try_apply(samples.tenant(name, **keeps, identity={"sessions": sessions, "mfa": "None"}))
    assert not refused.ok
    assert "soc2" in refused.output
    assert "mfa" in refused.output

    cluster.kubectl.apply(samples.tenant(name, **keeps, identity={"sessions": sessions}))
    cluster.wait_ready(tenant_ref(name))
    cluster.wait_condition(tenant_ref(name), COMPLIANT, "True")


def test_what_is_retained_is_closed_and_goes_to_whoever_names_it(cluster: Cluster, tenants: Tenants) -> None:
    name = tenants.empty("kept", deletionPolicy="Retain")
    home, uid = cluster.vault_namespace(name), cluster.kubectl.need(*tenant_ref(name).args)["metadata"]["uid"]
    cluster.write_secret(name, "app/key", value=tenants.value())
    cluster.kubectl("delete", *tenant_ref(name).args, "--timeout=120s", timeout=150)
    assert (cluster.openbao.namespace(home) or {})["locked"]
    assert (cluster.keycloak.realm(f"axon-{name}") or {})["enabled"] is False

    heir = samples.tenant(name)
    heir["metadata"]["annotations"] = {ADOPT_ANNOTATION: uid}
    cluster.kubectl.apply(heir)
    cluster.wait_ready(tenant_ref(name))
    assert cluster.vault_namespace(name) == home
    until_true(
        "the secret can be read", lambda: bool(cluster.openbao.admin("GET", "kv/data/org/app/key", namespace=home))
    )
