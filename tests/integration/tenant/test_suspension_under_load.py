"""The kill switch while a tenant is at its rate quota in OpenBao and its clients go on asking for leases.

The quota counts by address, and here everybody has the same one: so the operator meets it too, as behind a load balancer.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import requests

from axon_operator.domain.resources import NETWORK_POLICY, POD, TENANT, RealmPath
from bench.life import Life, keycloak_of
from integration.tenant.conftest import NewTenant
from integration.tenant.people import Person, Realm, Session, log_in
from servers.bao import patiently

RATE: Final = 20
"""Requests in a second that the quota lets through; the clients send many times that."""
CLIENTS: Final = 2
"""Threads for each thing that they do."""
PAUSE: Final = 0.02
"""Seconds between two requests of one: together at most 300 a second, on a fast machine too, which leaves the operator
a share of what the quota lets through."""
HUNGRY: Final = {
    "policy": 'path "auth/token/create" { capabilities = ["update"] }\npath "auth/token/lookup-self" { capabilities = ["read"] }'
}
TOO_MANY: Final = 429
NOTHING_THERE: Final = 404
"""Said to who may look."""


class Load:
    """Clients that log in, read and make tokens without an end."""

    def __init__(self, tenant: Life, person: Person) -> None:
        self.tenant, self.person = tenant, person
        self._bao = tenant.bed.bao
        self.home = f"axon/{tenant.names.vault_namespace}"
        self._jwt = person.tokens()["access_token"]
        self._answers: Counter[tuple[str, int]] = Counter()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self.held: deque[str] = deque(maxlen=20)
        """The newest of the tokens that it was given."""
        # of an administrator: what it makes are tokens with leases, and its descendants
        made = self._bao.as_admin("POST", self.home, "auth/token/create", {"policies": ["hungry"], "no_parent": True})
        self.token = made[1]["auth"]["client_token"]
        self.session = person.log_in()

    @contextmanager
    def running(self) -> Iterator["Load"]:
        threads = [
            threading.Thread(target=self._client, args=(what, request))
            for what, request in self._requests().items()
            for _ in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def answers(self, seconds: float) -> Counter[tuple[str, int]]:
        """What it gets from now on."""
        with self._lock:
            self._answers.clear()
        time.sleep(seconds)
        with self._lock:
            return self._answers.copy()

    def _requests(self) -> dict[str, tuple[str, str, str, Any]]:
        secrets = f"kv/metadata/users/{self.person.sub}"
        return {
            "log in": ("POST", "auth/keycloak/login", "", {"role": "user", "jwt": self._jwt}),
            "read": ("LIST", secrets, self.session.token, None),
            "make a token": ("POST", "auth/token/create", self.token, {"policies": ["hungry"]}),
        }

    def _client(self, what: str, request: tuple[str, str, str, Any]) -> None:
        method, path, token, body = request
        url, headers = f"{self._bao.address}/v1/{path}", {"X-Vault-Namespace": self.home, "X-Vault-Token": token}
        with requests.Session() as http:
            http.trust_env, http.verify = False, str(self._bao.ca_file)
            while not self._over.is_set():
                answer = http.request(method, url, headers=headers, json=body, timeout=10)
                if answer.status_code == 200 and "auth" in answer.json():
                    self.held.append(answer.json()["auth"]["client_token"])
                with self._lock:
                    self._answers[what, answer.status_code] += 1
                time.sleep(PAUSE)


def test_under_load_everything_is_revoked_and_stays_so(new_tenant: NewTenant) -> None:
    tenant = new_tenant({})
    tenant.settle()
    tenant.secret("app/a")
    tenant.runtime("agent", {"image": "registry.example/agent:1"})
    tenant.binding("one", "agent", "app/a")
    tenant.settle()
    load = hungry_clients(tenant)
    with quota(load, rate=RATE), load.running():
        before = load.answers(3)
        assert {what for what, _ in reached(before)} == {"log in", "read", "make a token"}, before
        assert sum(n for (_, status), n in before.items() if status == TOO_MANY) > RATE, before
        timed("suspended", lambda: suspend(tenant, True))
        closed(load)
        timed("resumed", lambda: suspend(tenant, False))
        answers = load.answers(3)
        assert {what for what, _ in reached(answers)} <= {"log in"}, answers
        only_new_logins_work(load)
        timed("suspended again", lambda: suspend(tenant, True))
        closed(load)
        tenant.delete(TENANT, tenant.names.tenant)
        timed("deleted", tenant.settle)
        assert tenant.state() == {}
        assert {status for _, status in load.answers(1)} <= {403, NOTHING_THERE, TOO_MANY}


def test_where_the_quota_leaves_the_operator_no_room_at_all_it_locks_from_above(new_tenant: NewTenant) -> None:
    tenant = new_tenant({})
    tenant.settle()
    load = hungry_clients(tenant)
    with load.running():
        with quota(load, rate=RATE, block_interval=600):
            load.answers(1)
            assert {status for _, status in load.answers(1)} == {TOO_MANY}
            timed("locked", lambda: suspend(tenant, True))
            assert tenant.bed.bao.admin("GET", "axon", f"sys/namespaces/{tenant.names.vault_namespace}")["locked"]
        # where the quota lets a request through at all, the lock answers
        assert {status for _, status in load.answers(1)} <= {503, TOO_MANY}
    suspend(tenant, False)
    only_new_logins_work(load)


def hungry_clients(tenant: Life) -> Load:
    tenant.bed.bao.admin("POST", f"axon/{tenant.names.vault_namespace}", "sys/policies/acl/hungry", HUNGRY)
    return Load(tenant, Realm(tenant).user("alice"))


@contextmanager
def quota(load: Load, **limits: int) -> Iterator[None]:
    """Only in the root namespace, where the operator has no right, can one be made."""
    bao, path = load.tenant.bed.bao, f"sys/quotas/rate-limit/{load.tenant.names.vault_namespace}"
    limits_there = {"path": f"{load.home}/", **limits}
    assert bao.as_admin("POST", load.home, path, limits_there)[0] >= 400
    bao.admin("POST", "", path, limits_there)
    try:
        yield
    finally:
        bao.admin("DELETE", "", path)


def suspend(tenant: Life, suspended: bool) -> None:
    tenant.edit(TENANT, tenant.names.tenant, {"suspended": suspended})
    tenant.settle()


def timed(what: str, act: Callable[[], Any]) -> None:
    started = time.monotonic()
    act()
    print(f"under load, {what} after {time.monotonic() - started:.1f} s")


def closed(load: Load) -> None:
    """In all three systems, with nobody left behind the lock."""
    tenant = load.tenant
    assert reached(load.answers(2)) == Counter()
    assert patient(tenant, "GET", "axon", f"sys/namespaces/{tenant.names.vault_namespace}")["locked"]
    realm = keycloak_of(tenant.settings).read(RealmPath(tenant.names.realm)) or {}
    assert (realm["enabled"], bool(realm["notBefore"])) == (False, True)
    policies = tenant.kube.list(NETWORK_POLICY, namespace=tenant.names.namespace)
    assert policies
    assert not [p for p in policies if p["spec"].get("ingress") or p["spec"].get("egress")]
    assert not tenant.kube.list(POD, namespace=tenant.names.namespace)
    lock = f"sys/namespaces/api-lock/{{}}/{tenant.names.vault_namespace}"
    patient(tenant, "POST", "axon", lock.format("unlock"))
    assert patient(tenant, "LIST", load.home, "sys/leases/lookup") is None
    ask = partial(tenant.bed.bao.as_admin, "POST", load.home)
    held = [patiently(partial(ask, "auth/token/lookup", {"token": token})) for token in load.held]
    assert held
    # a token that was made while its parent was revoked can leave its accessor behind, and is as dead
    accessors = (patient(tenant, "LIST", load.home, "auth/token/accessors") or {}).get("keys") or ()
    left = [patiently(partial(ask, "auth/token/lookup-accessor", {"accessor": accessor})) for accessor in accessors]
    assert {status for status, _ in (*held, *left)} <= {403, NOTHING_THERE}
    patient(tenant, "POST", "axon", lock.format("lock"))


def only_new_logins_work(load: Load) -> None:
    tenant, secrets = load.tenant, f"kv/metadata/users/{load.person.sub}"
    status, answer = patiently(partial(log_in, tenant, load.person.tokens()["access_token"]))
    assert status == 200, answer
    fresh = Session(tenant, answer["auth"]["client_token"])
    statuses = [patiently(partial(who.call, "LIST", secrets))[0] for who in (load.session, fresh)]
    assert statuses == [403, NOTHING_THERE]
    hungry = Session(tenant, load.token)
    assert patiently(partial(hungry.call, "GET", "auth/token/lookup-self"))[0] == 403


def reached(answers: Counter[tuple[str, int]]) -> Counter[tuple[str, int]]:
    """What was neither refused nor unheard."""
    return Counter(
        {(what, status): n for (what, status), n in answers.items() if status < 400 or status == NOTHING_THERE}
    )


def patient(tenant: Life, method: str, namespace: str, path: str) -> Any:
    """As an administrator, who meets the quota too; the `data`, or None if nothing is there."""
    status, answer = patiently(lambda: tenant.bed.bao.as_admin(method, namespace, path))
    assert status < 400 or status == NOTHING_THERE, answer
    return answer["data"] if status == 200 else None
