"""Set-ups that are broken in one place, what the Tenant's status then says, and the table of them in the documentation."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import HttpUrl

from axon_operator.api.conditions import ConditionStatus
from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.domain.resources import NAMESPACE, PROFILE, TENANT, RealmPath, Ref
from bench.bed import Bed
from bench.life import Life, keycloak_of
from bench.proxy import Backend, Fault, Mode
from e2e.support.settings import OPERATOR, OPERATOR_NAMESPACE, OPERATOR_USER, VAULT_AUDIENCE, VAULT_PARENT
from integration.tenant.conftest import put_secret
from integration.tenant.test_realm_ldap import HOST, identity
from servers.processes import free_port
from servers.slapd import Slapd

_OPERATOR_ROLE: Final = "auth/k8s/role/axon-operator"
_OPERATOR_POLICY: Final = "sys/policies/acl/axon-operator"
_CLUSTER_ROLE: Final = f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{OPERATOR}"
_UID_CLAIM: Final = "/kubernetes.io/serviceaccount/uid"
_IMAGE: Final = "registry.example/agent:1"


@dataclass(frozen=True, slots=True)
class Site:
    """Where something is broken."""

    servers: Bed
    tenant: Life
    """New, and seen by nobody yet."""
    slapd: Slapd
    folder: Path

    def spec(self, **fields: Any) -> None:
        """Changes fields of the Tenant's spec."""
        self.tenant.edit(TENANT, self.tenant.names.tenant, fields)

    def settings(self, **changed: Any) -> None:
        """As an operator that was installed with other values."""
        self.tenant.settings = self.tenant.settings.model_copy(update=changed)


Breaks = Callable[[Site], AbstractContextManager[None]]
"""Broken inside the context, and repaired behind it."""


@dataclass(frozen=True, slots=True)
class Setup:
    """One thing that is wrong, and how the Tenant tells it."""

    wrong: str
    breaks: Breaks
    condition: ConditionType
    status: ConditionStatus
    reason: Reason
    says: str
    """The part of the message that tells what to do."""

    def row(self) -> str:
        """Of the table in docs/failure-modes.md."""
        return f"| {self.wrong} | `{self.condition}={self.status}` | `{self.reason}` | {self.says} |"


# -- the operator's own settings


def _installed_with(**changed: Any) -> Breaks:
    """With other values of the chart."""

    @contextmanager
    def broken(at: Site) -> Iterator[None]:
        before = at.tenant.settings
        at.settings(**changed)
        yield
        at.tenant.settings = before

    return broken


def _with_file(field: str, content: Callable[[Site], str]) -> Breaks:
    """With a file that holds something else."""

    @contextmanager
    def broken(at: Site) -> Iterator[None]:
        file = at.folder / field
        file.write_text(content(at))
        with _installed_with(**{field: file})(at):
            yield

    return broken


def _another_ca(at: Site) -> str:
    return at.servers.kube.ca_file.read_text()


@contextmanager
def _another_vault_ca(at: Site) -> Iterator[None]:
    """At OpenBao's own address: the proxy in front of it speaks no TLS."""
    direct = HttpUrl(at.servers.bao.address)
    with _installed_with(vault_address=direct)(at), _with_file("vault_ca_file", _another_ca)(at):
        yield


def _token_for(audience: str) -> Callable[[Site], str]:
    return lambda at: at.servers.kube.token(OPERATOR_NAMESPACE, OPERATOR, audience)


def _nobody_listens(scheme: str = "https") -> HttpUrl:
    return HttpUrl(f"{scheme}://127.0.0.1:{free_port()}")


# -- OpenBao


@contextmanager
def _sealed(at: Site) -> Iterator[None]:
    bao = at.servers.bao
    bao.admin("POST", "", "sys/seal")
    try:
        yield
    finally:
        bao.stop()
        bao.start()


@contextmanager
def _without_namespaces(at: Site) -> Iterator[None]:
    """The operator finds its mount, role and policy, as on a server that ignores in which namespace they are."""
    bao = at.servers.bao
    for path in (_OPERATOR_POLICY, _OPERATOR_ROLE):
        bao.admin("POST", "", path, _writable(bao.admin("GET", VAULT_PARENT, path)))
    try:
        with at.servers.proxy.fault(Backend.OPENBAO, Fault(Mode.NO_NAMESPACES)):
            yield
    finally:
        for path in (_OPERATOR_ROLE, _OPERATOR_POLICY):
            bao.admin("DELETE", "", path)


def _writable(found: Mapping[str, Any]) -> dict[str, Any]:
    """What was read, as it may be written."""
    return {name: value for name, value in found.items() if value is not None}


def _operators(path: str, change: Mapping[str, Any] | None) -> Breaks:
    """What the bootstrap has made in the parent namespace is changed, or removed."""

    @contextmanager
    def broken(at: Site) -> Iterator[None]:
        bao = at.servers.bao
        before = _writable(bao.admin("GET", VAULT_PARENT, path))
        if change is None:
            bao.admin("DELETE", VAULT_PARENT, path)
        else:
            bao.admin("POST", VAULT_PARENT, path, {**before, **change})
        try:
            yield
        finally:
            bao.admin("POST", VAULT_PARENT, path, before)

    return broken


@contextmanager
def _vault_namespace_taken(at: Site) -> Iterator[None]:
    taken = f"sys/namespaces/{at.tenant.names.vault_namespace}"
    at.servers.bao.admin("POST", VAULT_PARENT, taken, {})
    yield
    at.servers.bao.admin("DELETE", VAULT_PARENT, taken)


# -- Keycloak


@contextmanager
def _client_disabled(at: Site) -> Iterator[None]:
    client = _client(at)
    at.servers.keycloak.admin("PUT", f"master/clients/{client['id']}", {**client, "enabled": False})
    try:
        yield
    finally:
        at.servers.keycloak.admin("PUT", f"master/clients/{client['id']}", client)


@contextmanager
def _no_create_realm(at: Site) -> Iterator[None]:
    keycloak = at.servers.keycloak
    account = keycloak.admin("GET", f"master/clients/{_client(at)['id']}/service-account-user")
    roles = [keycloak.admin("GET", "master/roles/create-realm")]
    keycloak.admin("DELETE", f"master/users/{account['id']}/role-mappings/realm", roles)
    try:
        yield
    finally:
        keycloak.admin("POST", f"master/users/{account['id']}/role-mappings/realm", roles)


def _client(at: Site) -> dict[str, Any]:
    (client,) = at.servers.keycloak.admin("GET", f"master/clients?clientId={OPERATOR}")
    found: dict[str, Any] = client
    return found


@contextmanager
def _realm_taken(at: Site) -> Iterator[None]:
    at.servers.keycloak.admin("POST", "", {"realm": at.tenant.names.realm, "enabled": True})
    yield
    at.servers.keycloak.admin("DELETE", f"{at.tenant.names.realm}")


@contextmanager
def _cap_reached(at: Site) -> Iterator[None]:
    with _installed_with(realm_cap=0)(at):
        yield
        assert keycloak_of(at.tenant.settings).read(RealmPath(at.tenant.names.realm)) is None


# -- the realm's directory


def _directory(*, password: str | None = "", whose: str = "", **more: Any) -> Breaks:
    """`password`: None for no Secret at all, empty for the right one. `whose`: another tenant's name in its label."""

    @contextmanager
    def broken(at: Site) -> Iterator[None]:
        tenant, secret = at.tenant.names.tenant, f"broken-{at.tenant.names.tenant}"
        at.settings(allowed_hosts=(HOST,))
        at.spec(identity=identity(at.slapd, secret, **more))
        if password is not None:
            put_secret(at.servers, whose or tenant, secret, password or at.slapd.reader_password)
        yield
        put_secret(at.servers, tenant, secret, at.slapd.reader_password)
        at.spec(identity=identity(at.slapd, secret))

    return broken


@contextmanager
def _host_not_allowed(at: Site) -> Iterator[None]:
    with _directory()(at), _installed_with(allowed_hosts=())(at):
        yield


# -- Kubernetes


@contextmanager
def _namespace_taken(at: Site) -> Iterator[None]:
    name = at.tenant.names.namespace
    at.tenant.kube.as_controllers().create({"apiVersion": "v1", "kind": NAMESPACE.kind, "metadata": {"name": name}})
    yield
    at.tenant.kube.as_controllers().delete(Ref(NAMESPACE, "", name))


@contextmanager
def _lacks_rights(at: Site) -> Iterator[None]:
    """The operator may look at network policies, and no more."""
    kube = at.servers.kube
    role = kube.call("GET", _CLUSTER_ROLE)
    role["metadata"] = {name: role["metadata"][name] for name in ("name", "labels")}
    rules = [
        {**rule, "verbs": ["get", "list", "watch"]} if "networkpolicies" in rule["resources"] else rule
        for rule in role["rules"]
    ]
    kube.call("PUT", _CLUSTER_ROLE, {**role, "rules": rules})
    try:
        yield
    finally:
        kube.call("PUT", _CLUSTER_ROLE, role)


@contextmanager
def _quota_too_small(at: Site) -> Iterator[None]:
    at.tenant.settle()
    at.spec(quota={"pods": 1})
    at.tenant.settle()
    at.tenant.runtime("agent", {"image": _IMAGE, "replicas": 2})
    yield
    at.spec(quota={"pods": 3})


# -- the profile


@contextmanager
def _profile_missing(at: Site) -> Iterator[None]:
    at.spec(governance={"profile": _profile(at)})
    yield
    at.tenant.kube.create(_profile_of(at, {}))


@contextmanager
def _profile_violated(at: Site) -> Iterator[None]:
    at.tenant.kube.create(_profile_of(at, {}))
    at.spec(governance={"profile": _profile(at)}, identity={"mfa": "None"})
    at.tenant.kube.patch(Ref(PROFILE, "", _profile(at)), {"spec": {"mfa": "Required"}})
    yield
    at.spec(identity={"mfa": "Required"})


def _profile(at: Site) -> str:
    return f"house-of-{at.tenant.names.tenant}"


def _profile_of(at: Site, spec: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {"name": _profile(at)}
    return {"apiVersion": PROFILE.api_version, "kind": PROFILE.kind, "metadata": metadata, "spec": spec}


# -- logouts


@contextmanager
def _nobody_of_that_name(at: Site) -> Iterator[None]:
    at.spec(identity={"logout": [{"user": "nobody", "trigger": "1"}]})
    yield
    at.spec(identity={"logout": None})


SETUPS: Final = (
    Setup(
        "the CA of OpenBao's certificate is not the one that the operator has",
        _another_vault_ca,
        ConditionType.VAULT_READY, "Unknown", Reason.VAULT_UNAVAILABLE,
        "give the operator the CA that signed its certificate, in backends.caBundle of its chart",
    ),
    Setup(
        "nothing answers at OpenBao's address",
        _installed_with(vault_address=_nobody_listens()),
        ConditionType.VAULT_READY, "Unknown", Reason.VAULT_UNAVAILABLE,
        "check that it is running, vault.address of the operator's chart, the network policies on the way to it",
    ),
    Setup(
        "OpenBao is sealed",
        _sealed,
        ConditionType.VAULT_READY, "Unknown", Reason.VAULT_UNAVAILABLE,
        "is sealed; unseal it",
    ),
    Setup(
        "the server is one that knows no namespaces",
        _without_namespaces,
        ConditionType.VAULT_READY, "False", Reason.NAMESPACES_UNSUPPORTED,
        "use OpenBao or Vault Enterprise",
    ),
    Setup(
        "OpenBao has no namespace for the operator",
        _installed_with(vault_namespace="nowhere"),
        ConditionType.VAULT_READY, "False", Reason.VAULT_DENIED,
        "there is no such namespace; run manifests/bootstrap/openbao/bootstrap.sh, or correct vault.namespace of the chart",
    ),
    Setup(
        "OpenBao has no login mount for the operator",
        _installed_with(vault_auth_mount="nowhere"),
        ConditionType.VAULT_READY, "False", Reason.VAULT_DENIED,
        "run manifests/bootstrap/openbao/bootstrap.sh, which makes namespace, mount and role, or correct vault.authMount of the chart",
    ),
    Setup(
        "OpenBao has no role for the operator",
        _operators(_OPERATOR_ROLE, None),
        ConditionType.VAULT_READY, "False", Reason.VAULT_DENIED,
        "there is no such role; run manifests/bootstrap/openbao/bootstrap.sh, or correct vault.role of the chart",
    ),
    Setup(
        "OpenBao's role is another service account's",
        _operators(_OPERATOR_ROLE, {"bound_subject": f"{OPERATOR_USER}-of-before"}),
        ConditionType.VAULT_READY, "False", Reason.VAULT_DENIED,
        "the role is another service account's; run manifests/bootstrap/openbao/bootstrap.sh",
    ),
    Setup(
        "OpenBao's role is pinned to a former service account",
        _operators(_OPERATOR_ROLE, {"bound_claims": {_UID_CLAIM: ["of-before"]}}),
        ConditionType.VAULT_READY, "False", Reason.VAULT_DENIED,
        "run manifests/bootstrap/openbao/bootstrap.sh with OPERATOR_UID=",
    ),
    Setup(
        "the operator's token for OpenBao has another audience",
        _with_file("vault_token_file", _token_for(f"not-{VAULT_AUDIENCE}")),
        ConditionType.VAULT_READY, "False", Reason.VAULT_DENIED,
        "let the projected token in the operator's pod have the audience openbao",
    ),
    Setup(
        "the operator's pod has no token for OpenBao",
        _installed_with(vault_token_file=Path("/var/run/nowhere/token")),
        ConditionType.VAULT_READY, "False", Reason.VAULT_DENIED,
        "check the projected volume of its pod",
    ),
    Setup(
        "OpenBao's policy for the operator is missing or too old",
        _operators(_OPERATOR_POLICY, None),
        ConditionType.VAULT_READY, "False", Reason.VAULT_DENIED,
        "run manifests/bootstrap/openbao/bootstrap.sh of this version, which writes its policy",
    ),
    Setup(
        "the tenant's OpenBao namespace exists and is not the Tenant's",
        _vault_namespace_taken,
        ConditionType.VAULT_READY, "False", Reason.NAME_TAKEN,
        "Remove it if it is a leftover, or adopt it as docs/operations.md says",
    ),
    Setup(
        "the CA of Keycloak's certificate is not the one that the operator has",
        _with_file("keycloak_ca_file", _another_ca),
        ConditionType.IDENTITY_READY, "Unknown", Reason.KEYCLOAK_UNAVAILABLE,
        "give the operator the CA that signed its certificate, in backends.caBundle of its chart",
    ),
    Setup(
        "nothing answers at Keycloak's address",
        _installed_with(keycloak_url=_nobody_listens()),
        ConditionType.IDENTITY_READY, "Unknown", Reason.KEYCLOAK_UNAVAILABLE,
        "check that it is running, keycloak.url of the operator's chart, and the network policies on the way to it",
    ),
    Setup(
        "Keycloak's client of the operator is missing or disabled",
        _client_disabled,
        ConditionType.IDENTITY_READY, "False", Reason.KEYCLOAK_DENIED,
        "Run manifests/bootstrap/keycloak/bootstrap.py, which makes that client",
    ),
    Setup(
        "the operator's token for Keycloak has another audience",
        _with_file("keycloak_token_file", _token_for("not-keycloak")),
        ConditionType.IDENTITY_READY, "False", Reason.KEYCLOAK_DENIED,
        "check that the audience of the operator's token (keycloak.audience of its chart) is the issuer of realm master",
    ),
    Setup(
        "Keycloak's client of the operator lacks the role `create-realm`",
        _no_create_realm,
        ConditionType.IDENTITY_READY, "False", Reason.KEYCLOAK_DENIED,
        "give its client in realm master the realm role create-realm (manifests/bootstrap/keycloak/bootstrap.py does)",
    ),
    Setup(
        "a realm of the tenant's name exists and is not the Tenant's",
        _realm_taken,
        ConditionType.IDENTITY_READY, "False", Reason.NAME_TAKEN,
        "Rename the Tenant, remove the realm, or adopt it as docs/operations.md says",
    ),
    Setup(
        "there are as many realms as the installation allows",
        _cap_reached,
        ConditionType.IDENTITY_READY, "False", Reason.REALM_LIMIT,
        "Delete a Tenant, or raise realmCap of the operator's chart",
    ),
    Setup(
        "the directory's or an identity provider's host is not allowed",
        _host_not_allowed,
        ConditionType.IDENTITY_READY, "False", Reason.HOST_NOT_ALLOWED,
        "Add it to allowedHosts of the operator's chart, or name another host",
    ),
    Setup(
        "the Secret with the directory's or the provider's credential does not exist",
        _directory(password=None),
        ConditionType.IDENTITY_READY, "False", Reason.CREDENTIAL_UNUSABLE,
        f"in {OPERATOR_NAMESPACE}; make it, with the labels",
    ),
    Setup(
        "that Secret is for another tenant, host or purpose",
        _directory(whose="another"),
        ConditionType.IDENTITY_READY, "False", Reason.CREDENTIAL_UNUSABLE,
        "is not for this use; it must have the labels",
    ),
    Setup(
        "the directory cannot be reached",
        _directory(port=1),
        ConditionType.IDENTITY_READY, "Unknown", Reason.LDAP_UNREACHABLE,
        "check host, port, the network from Keycloak's pods, and that Keycloak trusts its certificate",
    ),
    Setup(
        "the directory refuses `bindDN` or its password",
        _directory(password="not-the-readers"),
        ConditionType.IDENTITY_READY, "False", Reason.LDAP_BIND_REFUSED,
        "set spec.identity.ldap.bindDN or Secret",
    ),
    Setup(
        "a Kubernetes namespace of the tenant's name exists and is not the Tenant's",
        _namespace_taken,
        ConditionType.NAMESPACE_READY, "False", Reason.NAME_TAKEN,
        "Rename one of the two, or delete the existing one",
    ),
    Setup(
        "the operator's ClusterRole or the admission policies are not the chart's",
        _lacks_rights,
        ConditionType.NAMESPACE_READY, "False", Reason.KUBERNETES_DENIED,
        "compare its ClusterRole and the admission policies with the chart's",
    ),
    Setup(
        "the quota is too small for a runtime",
        _quota_too_small,
        ConditionType.NAMESPACE_READY, "True", Reason.QUOTA_EXCEEDED,
        "raise spec.quota, or have spec.resources or spec.replicas lowered there",
    ),
    Setup(
        "the Tenant does not keep to its profile",
        _profile_violated,
        ConditionType.COMPLIANT, "False", Reason.GOVERNANCE_VIOLATION,
        "demands spec.identity.mfa: Required; set it",
    ),
    Setup(
        "the Tenant's profile does not exist",
        _profile_missing,
        ConditionType.COMPLIANT, "False", Reason.PROFILE_NOT_FOUND,
        "create it, or correct spec.governance.profile of the Tenant",
    ),
    Setup(
        "`spec.identity.logout` names nobody",
        _nobody_of_that_name,
        ConditionType.SESSIONS_ENDED, "False", Reason.USER_NOT_FOUND,
        "correct spec.identity.logout",
    ),
)  # fmt: skip
