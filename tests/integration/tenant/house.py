"""An organization with secrets, a database and runtimes, and its pods as OpenBao sees them."""

import base64
import datetime
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509

from axon_operator.domain.names import RuntimeNames
from axon_operator.domain.resources import BINDING, CONFIG_MAP, DEPLOYMENT, RUNTIME, TENANT, Manifest, Ref
from axon_operator.domain.runtime import VAULT_AUDIENCE
from bench.bed import Bed
from bench.life import Life
from integration.tenant.people import Session
from integration.tenant.test_databases import Hand
from servers.bao import Answer
from servers.postgres import Postgres
from servers.processes import free_port

ALICE: Final = "a1b2c3d4-0000-4000-8000-00000000000a"
"""A user's `sub`."""
IMAGE: Final = "registry.example/agent:1"
STRIPE: Final = {"key": "sk-live-of-stripe", "other": "not for everybody"}
GITHUB: Final = {"token": "ghp-of-alice"}
SOURCES: Final[Mapping[str, Mapping[str, Any]]] = {
    "kv": {"kv": {"path": "billing/stripe", "keys": ["key"]}},
    "grant": {"grant": {"user": ALICE, "path": "github/token"}},
    "database": {"database": {"connection": "orders", "role": "reader"}},
    "pki": {"pki": {}},
    "generated": {"generated": {"length": 40}},
}
ISSUED: Final = ("database", "pki", "generated")
"""Sources that are made for a binding."""
_CALL: Final = re.compile(r'secret "([^"]+)"(.*?)\}\}')
_FIELD: Final = re.compile(r'"(\w+)=([^"]*)"')
_MOMENT: Final = 0.02
_PATIENCE: Final = 60
_FOLDERS: Final = (
    "database/roles",
    "pki/roles",
    "kv/metadata/generated",
    "sys/leases/lookup/database/creds",
    "sys/leases/lookup/pki/issue",
    "sys/policies/acl",
    "auth/k8s/role",
    "transit/keys",
    "runtime-status",
)


@dataclass(frozen=True, slots=True)
class Request:
    """One that a template of the agent makes."""

    path: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of a runtime with a login of its own: gets what the agent would, by the runtime's ConfigMap."""

    house: "House"
    session: Session

    def fetch(self, requests: tuple[Request, ...]) -> Answer:
        """The answer to the last of them, or the first refusal."""
        status, answer = 0, None
        for request in requests:
            stored: Mapping[str, str] = answer["data"].get("data", {}) if answer else {}
            fields = {name: stored[name] if value == "%s" else value for name, value in request.fields.items()}
            status, answer = self.session.call("PUT" if fields else "GET", request.path, fields or None)
            if status != 200:
                break
        return status, answer

    def values(self, requests: tuple[Request, ...]) -> dict[str, Any]:
        """What a credential is made of."""
        status, answer = self.fetch(requests)
        assert status == 200, answer
        data: dict[str, Any] = answer["data"]
        if "plaintext" in data:
            decrypted: dict[str, Any] = json.loads(base64.b64decode(data["plaintext"]))
            return decrypted
        kept: dict[str, Any] = data.get("data", data)
        return kept


class House:
    """One tenant, whose clock can be moved."""

    def __init__(self, servers: Bed, postgres: Postgres, tenant: Life) -> None:
        self.tenant, self.postgres, self.bao = tenant, postgres, servers.bao
        self.hand = Hand(servers, postgres, tenant)
        self.home = f"axon/{tenant.names.vault_namespace}"
        self.readers = f"readers-{tenant.names.tenant}"
        """The role of the database that accounts are members of."""
        self.schema = self.readers.replace("-", "_")
        """With a table that they may read and one that they may not."""
        self._skew = datetime.timedelta()
        tenant.clock = lambda: datetime.datetime.now(datetime.UTC) + self._skew

    # -- what people do

    def open(self) -> None:
        """With a database and a secret of the organization."""
        # not in `public`, where a table of somebody else stops the plugin's own way of ending an account
        own = self.schema
        self.postgres.sql(f"CREATE SCHEMA {own}; CREATE TABLE {own}.things (n int); CREATE TABLE {own}.others ()")
        self.postgres.sql(f'CREATE ROLE "{self.readers}"; GRANT USAGE ON SCHEMA {own} TO "{self.readers}"')
        self.postgres.sql(f'GRANT SELECT ON {own}.things TO "{self.readers}"')
        self.hand.keep()
        self.with_roles({"name": "reader", "memberOf": [self.readers]})
        self.tenant.settle()
        self.admin("POST", "kv/data/org/billing/stripe", {"data": STRIPE})

    def with_roles(self, *roles: Mapping[str, Any]) -> None:
        """The database's, as the Tenant declares them."""
        self.hand.declare(self.hand.database(roles=list(roles)))

    def runtime(self, name: str, **spec: Any) -> None:
        """Declares one."""
        self.tenant.runtime(name, {"image": IMAGE, **spec})

    def bind(self, name: str, source: str | Mapping[str, Any], runtime: str = "agent", **more: Any) -> None:
        """Declares a binding to one of `SOURCES`, or to another source."""
        found = SOURCES[source] if isinstance(source, str) else source
        self.tenant.bind(name, runtime, found, **more)

    def edit(self, binding: str, **spec: Any) -> None:
        """Changes a binding."""
        self.tenant.edit(BINDING, binding, spec)

    def grant(self, runtime: str = "agent", *, revision: str = "", values: Mapping[str, str] = GITHUB) -> str:
        """As Alice's command line does; where the grant is, below `kv/data`."""
        entry = self.admin("GET", f"kv/data/runtimes/{runtime}")["data"]
        context = f"{self.tenant.names.tenant}|{ALICE}|github/token|{entry['uid']}"
        encrypted = {
            "plaintext": base64.b64encode(json.dumps(values).encode()).decode(),
            "associated_data": base64.b64encode(context.encode()).decode(),
        }
        ciphertext = self.admin("PUT", f"transit/encrypt/{entry['principal']}", encrypted)["ciphertext"]
        folder = f"{entry['uid']}.{revision}" if revision else entry["uid"]
        path = f"grants/{folder}/{ALICE}/github/token"
        self.admin("POST", f"kv/data/{path}", {"data": {"ciphertext": ciphertext}})
        return path

    def withdraw(self, path: str) -> None:
        """As Alice's command line does."""
        self.admin("DELETE", f"kv/metadata/{path}")

    def later(self, seconds: float) -> None:
        """So much time goes by for the operator, and all is as declared."""
        self.wait(seconds)
        self.settle()

    @contextmanager
    def without_openbao(self) -> Iterator[None]:
        """The operator does not reach it; pods do."""
        settings = self.tenant.settings
        nowhere = type(settings.vault_address)(f"https://127.0.0.1:{free_port()}")
        self.tenant.settings = settings.model_copy(update={"vault_address": nowhere})
        try:
            yield
        finally:
            self.tenant.settings = settings

    def wait(self, seconds: float) -> None:
        """So much time goes by for the operator."""
        self._skew += datetime.timedelta(seconds=seconds)

    def settle(self) -> None:
        """All is as declared."""
        self.tenant.settle(again=True)

    # -- what can be seen

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        """As administrator of everything."""
        return self.bao.admin(method, self.home, path, body)

    def names(self, runtime: str = "agent") -> RuntimeNames:
        return self.tenant.runtimes[runtime]

    def pod(self, runtime: str = "agent") -> Pod:
        """One that has just logged in."""
        status, answer = self.login(runtime)
        assert status == 200, answer
        return Pod(self, Session(self.tenant, answer["auth"]["client_token"]))

    def login(self, runtime: str = "agent") -> Answer:
        principal = self.names(runtime).principal
        return self.bao.log_in(self.home, principal, self.token(runtime))

    def token(self, runtime: str = "agent") -> str:
        """Of the runtime's service account, as the kubelet projects it into pods; nobody else gets one."""
        names = self.names(runtime)
        return self.tenant.kube.as_controllers().token(names.namespace, names.principal, VAULT_AUDIENCE)

    def config(self, runtime: str = "agent") -> dict[str, str]:
        """What the sidecar follows."""
        names = self.names(runtime)
        data: dict[str, str] = self.tenant.kube.get(Ref(CONFIG_MAP, names.namespace, names.principal))["data"]
        return data

    def requests(self, binding: str, runtime: str = "agent") -> tuple[Request, ...]:
        """What the agent asks for it now; nothing if it is not delivered."""
        templates = json.loads(self.config(runtime)["agent.json"]).get("template") or ()
        found = [t["contents"] for t in templates if t["destination"].endswith(f"/secrets/{binding}.json")]
        calls = (call for contents in found for call in _CALL.findall(contents))
        return tuple(Request(path, dict(_FIELD.findall(fields))) for path, fields in calls)

    def policy(self, runtime: str = "agent") -> str:
        """Of the runtime's pods."""
        found: str = self.admin("GET", f"sys/policies/acl/{self.names(runtime).principal}")["policy"]
        return found

    def image(self, runtime: str = "agent") -> str:
        """That the Deployment starts."""
        names = self.names(runtime)
        pod = self.tenant.kube.get(Ref(DEPLOYMENT, names.namespace, names.principal))["spec"]["template"]["spec"]
        found: str = pod["containers"][0]["image"]
        return found

    def binding(self, name: str) -> dict[str, tuple[str, str, str]]:
        """Its conditions: status, reason, message."""
        return conditions(self.tenant.kube.get(Ref(BINDING, self.tenant.names.namespace, name)))

    def runtime_says(self, name: str = "agent") -> dict[str, tuple[str, str, str]]:
        """Its conditions."""
        return conditions(self.tenant.kube.get(Ref(RUNTIME, self.tenant.names.namespace, name)))

    def tenant_says(self) -> dict[str, tuple[str, str, str]]:
        """Its conditions."""
        return conditions(self.tenant.kube.get(Ref(TENANT, "", self.tenant.names.tenant)))

    def ref(self, binding: str) -> Ref:
        """Where a binding is in Kubernetes."""
        return Ref(BINDING, self.tenant.names.namespace, binding)

    def revision(self, runtime: str = "agent") -> str:
        """What the runtime is now, as Alice is told."""
        found: str = self.admin("GET", f"kv/data/runtimes/{runtime}")["data"]["revision"]
        return found

    def accounts(self) -> set[str]:
        """Those of the database that have the tenant's role."""
        members = f"""SELECT member::regrole FROM pg_auth_members WHERE roleid = '"{self.readers}"'::regrole"""
        return {line.strip('"') for line in self.postgres.sql(members).splitlines()}

    def revoked(self, certificate: str) -> bool:
        """Whether the tenant's list of revoked certificates has it."""
        listed = x509.load_pem_x509_crl(self.bao.look("GET", self.home, "pki/cert/crl")["certificate"].encode())
        serial = x509.load_pem_x509_certificate(certificate.encode()).serial_number
        return listed.get_revoked_certificate_by_serial_number(serial) is not None

    def dead(self, source: str, values: Mapping[str, Any], requests: tuple[Request, ...]) -> bool:
        """Whether nobody can use it any more, whoever has kept it."""
        if source == "database":
            return not self.postgres.logs_in(values["username"], values["password"])
        if source == "pki":
            return self.revoked(values["certificate"])
        return self.bao.look("GET", self.home, requests[0].path) is None

    def remains(self, names: RuntimeNames) -> list[str]:
        """All that OpenBao has of a runtime."""
        listed = (f"{folder}/{key}" for folder in _FOLDERS for key in self._keys(folder) if names.principal in key)
        entries = (f"kv/metadata/runtimes/{key}" for key in self._keys("kv/metadata/runtimes") if key == names.runtime)
        known = (self.bao.look("LIST", self.home, "identity/entity-alias/id") or {}).get("key_info") or {}
        aliases = (f"alias {alias['name']}" for alias in known.values() if names.principal in alias["name"])
        return [*listed, *entries, *aliases]

    def issues(self, binding: str, runtime: str = "agent") -> list[str]:
        """All that OpenBao has issued for a binding."""
        return [place for place in self.remains(self.names(runtime)) if f".{binding}-" in place]

    def _keys(self, folder: str) -> list[str]:
        return list((self.bao.look("LIST", self.home, folder) or {}).get("keys") or ())


def conditions(live: Manifest) -> dict[str, tuple[str, str, str]]:
    """Type to status, reason, message."""
    return {c["type"]: (c["status"], c["reason"], c["message"]) for c in (live.get("status") or {})["conditions"]}


def seconds_until(over: Callable[[], bool], work: Callable[[], None]) -> float:
    """How long it takes from the beginning of the work; the work is done to its end."""
    with ThreadPoolExecutor(1) as pool:
        started = time.monotonic()
        done = pool.submit(work)
        while not over():
            assert time.monotonic() - started < _PATIENCE, done
            if done.done():
                done.result()
            time.sleep(_MOMENT)
        took = time.monotonic() - started
        done.result()
    return took


def until(over: Callable[[], bool], work: Callable[[], None]) -> None:
    """Works until it is over."""
    deadline = time.monotonic() + _PATIENCE
    while not over():
        assert time.monotonic() < deadline
        work()


def furnished(servers: Bed, postgres: Postgres, tenant: Life, *runtimes: str) -> House:
    """With bindings to each source, named as these, for each runtime (`<runtime>-<source>` but for the first's)."""
    house = House(servers, postgres, tenant)
    house.open()
    for runtime in runtimes:
        house.runtime(runtime)
        for source in SOURCES:
            house.bind(binding_of(source, runtime), source, runtime)
    return house


def binding_of(source: str, runtime: str = "agent") -> str:
    """Name of the binding in a furnished house."""
    return source if runtime == "agent" else f"{runtime}-{source}"
