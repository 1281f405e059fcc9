"""All that one tenant has in the three systems, made comparable between tenants and between runs."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from axon_operator.backends.keycloak.port import Keycloak
from axon_operator.domain.manifests import PLAN_ANNOTATION
from axon_operator.domain.names import RUNTIME_AUTH_MOUNT, STATUS_MOUNT, USER_AUTH_MOUNT, RuntimeNames, TenantNames
from axon_operator.domain.resources import NAMESPACE, TENANT, Manifest, RealmPath, Ref, ref_of
from axon_operator.domain.runtime import keycloak_client_path
from bench.cluster import IN_NAMESPACES
from servers.bao import Bao
from servers.kube import Kube

State = dict[str, Any]
"""Place to content: one entry per object of any of the three systems."""

_KEPT: Final = ("name", "namespace", "labels", "annotations", "finalizers", "ownerReferences", "deletionTimestamp")
_SERVERS_OWN: Final = frozenset({"clusterIP", "clusterIPs", "lastTransitionTime"})
_BAO_OWN: Final = frozenset({"accessor", "uuid", "certificate", "ca_chain"})
_ACCESSOR: Final = re.compile(r"auth_jwt_[0-9a-f]+")
_LOGIN_MOUNTS: Final = (RUNTIME_AUTH_MOUNT, USER_AUTH_MOUNT)
_BAO_SINGLE: Final = (
    "transit/config/keys",
    "pki/config/crl",
    "pki/config/issuers",
    "pki/issuer/authority",
    "pki/config/auto-tidy",
    *(f"auth/{mount}/config" for mount in _LOGIN_MOUNTS),
)
_BAO_FOLDERS: Final = (
    "sys/policies/acl",
    *(f"auth/{mount}/role" for mount in _LOGIN_MOUNTS),
    STATUS_MOUNT,
)
_KEYCLOAK_OWN: Final = frozenset({"client.secret.creation.time"})
_REALM_PARTS: Final = (("clients",), ("identity-provider", "instances"), ("roles",), ("client-scopes",))
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")


class Reader:
    """Reads it: of Kubernetes and OpenBao as their administrator, of the realm as its owner, the operator."""

    def __init__(self, kube: Kube, bao: Bao, keycloak: Keycloak) -> None:
        self._kube = kube
        self._bao = bao
        self._keycloak = keycloak

    def read(self, tenant: TenantNames, runtimes: Mapping[str, RuntimeNames]) -> State:
        """`runtimes`: all that the tenant ever had, also those that are gone: their names would be different ones."""
        manifests = self._manifests(tenant)
        state = {
            **{str(ref_of(m)): _comparable(m) for m in manifests},
            **self._bao_namespace(tenant),
            **self._realm(tenant),
        }
        uids = {m["metadata"]["uid"]: f"<uid of {ref_of(m)}>" for m in manifests}
        comparable: State = normalised(state, {**uids, **words(tenant, runtimes)})
        return comparable

    def _manifests(self, tenant: TenantNames) -> list[Manifest]:
        single = (Ref(TENANT, "", tenant.tenant), Ref(NAMESPACE, "", tenant.namespace))
        found = [m for m in map(self._kube.find, single) if m is not None]
        return [*found, *(m for r in IN_NAMESPACES for m in self._kube.list(r, namespace=tenant.namespace))]

    def _bao_namespace(self, tenant: TenantNames) -> State:
        name = tenant.vault_namespace
        found = self._bao.look("GET", "axon", f"sys/namespaces/{name}")
        if found is None:
            return {}
        state: State = {"OpenBao namespace": {k: found.get(k) for k in ("custom_metadata", "locked", "tainted")}}
        if found.get("tainted"):
            return state
        if found.get("locked"):
            # what is behind the lock counts too
            self._bao.admin("POST", "axon", f"sys/namespaces/api-lock/unlock/{name}")
        try:
            return {**state, **{f"OpenBao {path}": content for path, content in self._bao_contents(f"axon/{name}")}}
        finally:
            if found.get("locked"):
                self._bao.admin("POST", "axon", f"sys/namespaces/api-lock/lock/{name}")

    def _bao_contents(self, home: str) -> Iterator[tuple[str, Any]]:
        for folder in ("sys/mounts", "sys/auth"):
            for mount, content in (self._bao.look("GET", home, folder) or {}).items():
                yield f"{folder}/{mount}", _without(content, _BAO_OWN)
        for path in _BAO_SINGLE:
            yield path, _without(self._bao.look("GET", home, path) or {}, _BAO_OWN)
        for folder in _BAO_FOLDERS:
            for path in self._bao_paths(home, folder):
                yield path, self._bao.look("GET", home, path)
        for folder in ("pki/issuers", "pki/keys"):
            yield f"number of {folder}", len((self._bao.look("LIST", home, folder) or {}).get("keys") or ())
        for path in self._bao_paths(home, "kv/metadata"):
            yield path, (self._bao.look("GET", home, path) or {}).get("current_version")
        leases = self._bao.look("LIST", home, "sys/leases/lookup")
        # their number depends on how often a pod had to log in
        yield "leases", (leases or {}).get("keys")

    def _bao_paths(self, home: str, folder: str) -> Iterator[str]:
        """All that is below a folder."""
        for key in (self._bao.look("LIST", home, folder) or {}).get("keys") or ():
            if key.endswith("/"):
                yield from self._bao_paths(home, f"{folder}/{key[:-1]}")
            else:
                yield f"{folder}/{key}"

    def _realm(self, tenant: TenantNames) -> State:
        realm = self._keycloak.read(RealmPath(tenant.realm))
        if realm is None:
            return {}
        # since when tokens count again: a time; whether sessions were ever ended is what counts
        state: State = {"Keycloak realm": {**_sorted(realm), "notBefore": bool(realm.get("notBefore"))}}
        for part in _REALM_PARTS:
            for item in self._keycloak.list(RealmPath(tenant.realm, part)):
                name = item.get("clientId") or item.get("alias") or item.get("name")
                state[f"Keycloak {'/'.join(part)} {name}"] = _sorted(item)
        return state


def words(tenant: TenantNames, runtimes: Mapping[str, RuntimeNames]) -> dict[str, str]:
    """What names and uids of this tenant are called in every tenant's state."""
    found = {tenant.uid: "<uid of the tenant>", tenant.vault_namespace: "<t>", tenant.tenant: "<tenant>"}
    for name, names in runtimes.items():
        (_, client) = keycloak_client_path(names, tenant).segments
        found |= {names.uid: f"<uid of {name}>", names.principal: f"<rt-{name}>", client: f"<client of {name}>"}
    return found


def normalised(state: Any, replaced: Mapping[str, str]) -> Any:
    """With these words replaced; uids and times that are nobody's here become all the same."""
    text = json.dumps(state, sort_keys=True)
    for word in sorted(replaced, key=len, reverse=True):
        text = text.replace(word, replaced[word])
    return json.loads(_TIME.sub("<time>", _ACCESSOR.sub("<accessor>", _UUID.sub("<uuid>", text))))


def differences(clean: Any, other: Any, place: str = "") -> list[str]:
    """Where two states differ, and how."""
    if isinstance(clean, dict) and isinstance(other, dict):
        keys = sorted({*clean, *other})
        return [d for key in keys for d in differences(clean.get(key), other.get(key), f"{place} / {key}".lstrip(" /"))]
    if isinstance(clean, list) and isinstance(other, list) and len(clean) == len(other):
        pairs = enumerate(zip(clean, other, strict=True))
        return [d for n, (a, b) in pairs for d in differences(a, b, f"{place}[{n}]")]
    return [] if clean == other else [f"{place}: {_short(clean)} in a clean run, here {_short(other)}"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _comparable(manifest: Manifest) -> dict[str, Any]:
    """Without what the API server gives anew each time; generations as whether they have been observed."""
    generation = manifest["metadata"].get("generation")

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                k: v == generation if k == "observedGeneration" else clean(v)
                for k, v in value.items()
                if k not in _SERVERS_OWN
            }
        return [clean(v) for v in value] if isinstance(value, list) else value

    metadata = {k: v for k, v in manifest["metadata"].items() if k in _KEPT}
    if PLAN_ANNOTATION in metadata.get("annotations", {}):
        # a hash of names and uids; whether it is the right one, the operator's own passes have found out
        metadata["annotations"] = {**metadata["annotations"], PLAN_ANNOTATION: "<plan>"}
    return {"metadata": metadata, **{k: clean(v) for k, v in manifest.items() if k != "metadata"}}


def _without(content: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {k: v for k, v in content.items() if k not in names}


def _sorted(value: Any) -> Any:
    """Keycloak keeps no order in its lists."""
    if isinstance(value, Mapping):
        return {k: _sorted(v) for k, v in value.items() if k not in _KEYCLOAK_OWN}
    if isinstance(value, list):
        items = [_sorted(v) for v in value]
        return sorted(items, key=_name)
    return value


def _name(value: Any) -> str:
    return str(value.get("name")) if isinstance(value, dict) else str(value)
