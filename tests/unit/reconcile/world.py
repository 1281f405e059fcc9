"""A world in memory, to show that plans settle from any state. Acceptance tests use the real servers."""

import copy
import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Denied, ReconcileError, Terminal, Transient, Waiting
from axon_operator.backends.keycloak.paths import resource_url
from axon_operator.domain.resources import (
    Manifest,
    RealmPath,
    Ref,
    Resource,
    VaultPath,
    ref_of,
    runtimes_named,
)
from axon_operator.reconcile.engine.plan import Backends, Change


class Crash(BaseException):
    """The process died right after a write."""


LEASES = "sys/leases/lookup"
MADE = "sys/leases/lookup/database/creds"
ISSUED = "sys/leases/lookup/pki/issue"
REVOKE = "sys/leases/revoke-prefix"
_CONNECTIONS = "database/config/"
_KEPT = "database/static-roles/"
_MOUNT_TABLES = ("sys/mounts", "sys/auth")
BROWSER_FLOW = ("authentication", "flows", "browser", "executions")
BROWSER_STEPS = {"Browser - Conditional 2FA": "CONDITIONAL", "OTP Form": "ALTERNATIVE"}


class World:
    """Three dictionaries. `fuse` counts down with every write; at zero the process dies."""

    def __init__(self) -> None:
        self.objects: dict[Ref, Manifest] = {}
        self.vault: dict[VaultPath, dict[str, Any]] = {}
        self.realms: dict[RealmPath, dict[str, Any]] = {}
        self.logins: dict[str, int] = {}
        """OpenBao namespace -> logins that are good."""
        self.credentials: set[str] = set()
        """OpenBao namespaces in which an administrator, who logged in elsewhere, had a credential made."""
        self.accounts: dict[str, str] = {}
        """In a tenant's database: name -> password."""
        self.passwords = 0
        """How often OpenBao has changed one of an account that it keeps."""
        self.made: set[str] = set()
        """Roles by which OpenBao has made accounts there that are good."""
        self.database_away: set[str] = set()
        """Connections whose database does not answer."""
        self.certificates: set[str] = set()
        """Roles by which OpenBao has issued certificates that are good."""
        self.unannounced: set[str] = set()
        """Roles whose certificates are revoked, and not yet on the list by which everybody knows."""
        self.sessions: dict[str, int] = {}
        """Realm, or id of a user -> sessions that are good."""
        self.users: dict[str, str] = {}
        """Username -> id."""
        self.entities: dict[str, dict[str, Any]] = {}
        """OpenBao's, by their ids."""
        self.refused: set[tuple[str, Ref]] = set()
        """Writes that the API server fails: verb and object."""
        self.applied: dict[Ref, Manifest] = {}
        """What server-side apply has last written under our field manager."""
        self.cluster = "cluster-1"
        self.vault_away = False
        self.keycloak_away = False
        self.vault_busy: set[str] = set()
        """OpenBao namespaces that are over their rate quota: what is asked inside them is refused."""
        self.vault_fails: dict[VaultPath, ReconcileError] = {}
        """Removals that OpenBao refuses."""
        self.fuse: int | None = None
        self.writes = 0
        self.status_writes = 0
        self.audited: list[tuple[Ref, Change, str]] = []

    @property
    def backends(self) -> Backends:
        return Backends(_Kube(self), _Vault(self), _Keycloak(self))

    def wrote(self) -> None:
        self.writes += 1
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse <= 0:
                self.fuse = None
                raise Crash

    def audit(self, live: Manifest, change: Change, outcome: str) -> None:
        self.audited.append((ref_of(live), change, outcome))

    def touch(self, ref: Ref) -> None:
        """A new version, as after every write."""
        metadata = self.objects[ref]["metadata"]
        metadata["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)

    def vault_namespace(self, name: str) -> dict[str, Any]:
        return self.vault[VaultPath("", f"sys/namespaces/{name}")]

    def add(self, manifest: Manifest) -> None:
        ref = ref_of(manifest)
        metadata = {
            "uid": f"uid-{ref}",
            "generation": 1,
            "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
        }
        self.objects[ref] = {**copy.deepcopy(manifest), "metadata": {**metadata, **copy.deepcopy(manifest["metadata"])}}


class _Kube:
    def __init__(self, world: World) -> None:
        self._w = world

    def cluster(self) -> str:
        return self._w.cluster

    def get(self, ref: Ref) -> Manifest | None:
        self._reach("get", ref)
        return copy.deepcopy(self._w.objects.get(ref))

    def list(
        self, resource: Resource, namespace: str, selector: Mapping[str, str] | None = None
    ) -> tuple[Manifest, ...]:
        return tuple(
            copy.deepcopy(m)
            for ref, m in self._w.objects.items()
            if ref.resource == resource
            and namespace in {"", ref.namespace}
            and (selector or {}).items() <= (m["metadata"].get("labels") or {}).items()
        )

    def referring(self, resource: Resource, namespace: str, runtime: str) -> tuple[Manifest, ...]:
        return tuple(m for m in self.list(resource, namespace) if runtime in runtimes_named(m))

    def create(self, manifest: Manifest) -> Manifest:
        if ref_of(manifest) in self._w.objects:
            raise Waiting(Reason.PROGRESSING, "exists", after=0.5)
        self._w.add(manifest)
        self._w.wrote()
        return copy.deepcopy(self._w.objects[ref_of(manifest)])

    def apply(self, manifest: Manifest) -> None:
        ref = ref_of(manifest)
        self._reach("apply", ref)
        if ref in self._w.objects:
            live = self._w.objects[ref]
            self._w.objects[ref] = _merged(live, self._w.applied.get(ref, {}), manifest)
            self._w.touch(ref)
        else:
            self._w.add(manifest)
        self._w.applied[ref] = copy.deepcopy(manifest)
        self._w.wrote()

    def replace(self, manifest: Manifest) -> None:
        ref = ref_of(manifest)
        before = self._w.objects[ref]["metadata"]
        if manifest["metadata"]["resourceVersion"] != before["resourceVersion"]:
            raise Waiting(Reason.PROGRESSING, "changed", after=0.2)
        kept = {k: before[k] for k in ("uid", "generation", "creationTimestamp")}
        self._w.add({**manifest, "metadata": {**manifest["metadata"], **kept}})
        self._w.touch(ref)
        self._w.wrote()

    def delete(self, ref: Ref, uid: str) -> None:
        self._reach("delete", ref)
        live = self._w.objects.get(ref)
        if live is None or live["metadata"]["uid"] != uid:
            return
        if live["metadata"].get("finalizers"):
            live["metadata"]["deletionTimestamp"] = "2026-01-02T00:00:00Z"
            live["metadata"]["generation"] += 1
        else:
            del self._w.objects[ref]
        self._w.wrote()

    def _reach(self, verb: str, ref: Ref) -> None:
        if (verb, ref) in self._w.refused:
            raise Transient(Reason.KUBERNETES_UNAVAILABLE, "away")

    def patch_status(self, ref: Ref, status: Mapping[str, Any]) -> None:
        self._reach("patch_status", ref)
        self._w.objects[ref]["status"] = copy.deepcopy(dict(status))
        self._w.status_writes += 1
        self._w.wrote()

    def annotate(self, ref: Ref, annotations: Mapping[str, str]) -> None:
        self._w.objects[ref]["metadata"].setdefault("annotations", {}).update(annotations)
        self._w.wrote()

    def set_finalizers(self, live: Manifest, finalizers: tuple[str, ...]) -> None:
        metadata = self._w.objects[ref_of(live)]["metadata"]
        metadata["finalizers"] = list(finalizers)
        if not finalizers and "deletionTimestamp" in metadata:
            del self._w.objects[ref_of(live)]
        self._w.wrote()


class _Vault:
    def __init__(self, world: World) -> None:
        self._w = world

    def supports_namespaces(self) -> bool:
        return True

    def read(self, path: VaultPath) -> Mapping[str, Any] | None:
        self._enter(path)
        if path.path in _MOUNT_TABLES:
            return {f"{name}/": self._mount(path, name) for name in self.list(path) if "/" not in name}
        if path.path.startswith(_CONNECTIONS) and path in self._w.vault:
            shown = {key: value for key, value in self._w.vault[path].items() if key != "password"}
            return {"connection_details": shown, "allowed_roles": shown["allowed_roles"]}
        if path.path.startswith("kv/data/generated/"):
            raise Denied(Reason.VAULT_DENIED, "the operator reads no values")
        if path.path == "pki/crl/rotate":
            self._w.unannounced.clear()
        if path.path.startswith("sys/policies/password/") and path.path.endswith("/generate"):
            there = VaultPath(path.namespace, path.path.removesuffix("/generate")) in self._w.vault
            return {"password": "generated"} if there else None
        entity = self._w.entities.get(path.path.removeprefix("identity/entity/name/"))
        return copy.deepcopy(entity or self._w.vault.get(path))

    def _mount(self, table: VaultPath, name: str) -> dict[str, Any]:
        at, tune = (VaultPath(table.namespace, f"{table.path}/{name}{more}") for more in ("", "/tune"))
        return {**self._w.vault[at], "accessor": f"accessor-of-{name}", "config": self._w.vault.get(tune) or {}}

    def scan(self, path: VaultPath) -> tuple[str, ...]:
        below = f"{path.path}/"
        return tuple(
            p.path.removeprefix(below)
            for p in self._w.vault
            if p.namespace == path.namespace and p.path.startswith(below)
        )

    def list(self, path: VaultPath) -> tuple[str, ...]:
        self._enter(path)
        if path.path == LEASES:
            found = {"auth/": self._w.logins.get(path.namespace), "database/": path.namespace in self._w.credentials}
            return tuple(prefix for prefix, there in found.items() if there)
        if path.path == MADE:
            return tuple(f"{role}/" for role in sorted(self._w.made))
        if path.path == ISSUED:
            return tuple(f"{role}/" for role in sorted(self._w.certificates))
        if path.path in {"kv/metadata/generated", "kv/metadata/accounts"}:
            path = VaultPath(path.namespace, path.path.replace("metadata", "data"))
        prefix = f"{path.path}/"
        return tuple(
            p.path.removeprefix(prefix)
            for p in self._w.vault
            if p.namespace == path.namespace and p.path.startswith(prefix)
        )

    def write(self, path: VaultPath, body: Mapping[str, Any]) -> None:
        self._enter(path)
        *_, verb, name = path.path.split("/")
        if verb in {"lock", "unlock"}:
            self._w.vault_namespace(name)["locked"] = verb == "lock"
        elif path.path.startswith(f"{REVOKE}/"):
            self._revoke(path, name)
        elif path.path.startswith("identity/"):
            self._identify(path.path, body)
        else:
            self._store(path, name, body)
        self._w.wrote()

    def _store(self, path: VaultPath, name: str, body: Mapping[str, Any]) -> None:
        if path.path.startswith("database/roles/"):
            self._make_role(path, body)
        elif path.path.startswith((_KEPT, "database/rotate-role/")):
            self._keep(path, name, body)
        elif path.path.startswith("transit/keys/"):
            self._do_with_a_key(path, body)
        elif path.path.startswith(("kv/data/generated/", "kv/data/accounts/")) and path in self._w.vault:
            raise Denied(Reason.VAULT_DENIED, "the operator writes no value twice")
        elif "database/" in path.path and not path.path.startswith("sys/mounts/"):
            self._do_with_a_database(path, name, body)
        elif path.path == "pki/root/generate/internal":
            self._w.vault[VaultPath(path.namespace, f"pki/issuer/{body['issuer_name']}")] = {}
        elif path.path.startswith("sys/namespaces/"):
            self._w.vault.setdefault(path, {}).update(copy.deepcopy(dict(body)))
        else:
            self._w.vault[path] = copy.deepcopy(dict(body))

    def _revoke(self, path: VaultPath, name: str) -> None:
        """All that hangs on a mount, or on a role."""
        prefix = path.path.removeprefix(f"{REVOKE}/")
        if prefix == "auth":
            self._w.logins.pop(path.namespace, None)
        elif prefix == "database":
            self._w.credentials.discard(path.namespace)
        elif prefix.startswith("pki/issue/") and name in self._w.certificates:
            self._w.certificates.discard(name)
            self._w.unannounced.add(name)
        elif prefix.startswith("database/creds/"):
            if name in self._w.made and name.partition(".")[0] in self._w.database_away:
                raise Waiting(Reason.DATABASE_UNREACHABLE, "away", after=5)
            self._w.made.discard(name)

    def delete(self, path: VaultPath) -> None:
        self._enter(path)
        if path in self._w.vault_fails:
            raise self._w.vault_fails[path]
        if path.path.startswith("transit/keys/") and not self._w.vault.get(path, {"deletion_allowed": True}).get(
            "deletion_allowed"
        ):
            raise Terminal(Reason.REQUEST_REJECTED, "deletion is not allowed for this key")
        self._w.vault.pop(VaultPath(path.namespace, path.path.replace("kv/metadata/", "kv/data/", 1)), None)
        self._w.vault.pop(path, None)
        self._w.entities.pop(path.path.removeprefix("identity/entity/id/"), None)
        if path.path.startswith("sys/mounts/"):
            inside = f"{path.path.removeprefix('sys/mounts/')}/"
            self._w.vault = {
                p: v for p, v in self._w.vault.items() if p.namespace != path.namespace or not p.path.startswith(inside)
            }
        if path.path.startswith("sys/namespaces/"):
            name = path.path.rsplit("/", 1)[1]
            self._w.vault = {p: v for p, v in self._w.vault.items() if p.namespace != name}
            self._w.logins.pop(name, None)
        self._w.wrote()

    def look_up(self, path: VaultPath, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
        self._enter(path)
        wanted = (body["alias_name"], body["alias_mount_accessor"])
        found = (e for e in self._w.entities.values() if wanted in {(a["name"], a["accessor"]) for a in e["aliases"]})
        return copy.deepcopy(next(found, None))

    def _do_with_a_database(self, path: VaultPath, name: str, body: Mapping[str, Any]) -> None:
        if path.path.startswith(_CONNECTIONS):
            self._connect(path, body)
        else:
            self._rotate(VaultPath(path.namespace, f"{_CONNECTIONS}{name}"))

    def _make_role(self, path: VaultPath, body: Mapping[str, Any]) -> None:
        """Shown in another form than written."""
        texts = {name: [body[name].strip()] for name in ("creation_statements", "revocation_statements")}
        self._w.vault[path] = {**body, **texts, "credential_type": "password", "renew_statements": []}

    def _keep(self, path: VaultPath, name: str, body: Mapping[str, Any]) -> None:
        """An account of which OpenBao knows the password: at first, and whenever it is asked to, another one."""
        at = VaultPath(path.namespace, f"{_KEPT}{name}")
        known = self._w.vault.get(at)
        if known is None and not path.path.startswith(_KEPT):
            raise Terminal(Reason.REQUEST_REJECTED, "no static role found for role name")
        kept = {**(known or {}), **copy.deepcopy(dict(body))}
        if known is None or not path.path.startswith(_KEPT):
            if name.partition(".")[0] in self._w.database_away:
                raise Waiting(Reason.DATABASE_UNREACHABLE, "away", after=5)
            if kept["username"] not in self._w.accounts:
                raise Terminal(Reason.DATABASE_ACCOUNT_REFUSED, "no such account")
            self._w.passwords += 1
            self._w.accounts[kept["username"]] = f"changed-{self._w.passwords}"
            at_last = datetime.datetime.fromtimestamp(self._w.passwords, datetime.UTC)
            kept["last_vault_rotation"] = at_last.isoformat()
        elif known["username"] != kept["username"]:
            raise Terminal(Reason.REQUEST_REJECTED, "cannot update static account username")
        self._w.vault[at] = kept

    def _do_with_a_key(self, path: VaultPath, body: Mapping[str, Any]) -> None:
        if path.path.endswith("/config"):
            self._w.vault[VaultPath(path.namespace, path.path.removesuffix("/config"))].update(body)
            return
        never = {"exportable": False, "allow_plaintext_backup": False, "derived": False}
        if never.keys() & body.keys():
            raise Denied(Reason.VAULT_DENIED, "not to be sent")
        self._w.vault.setdefault(path, {**body, **never, "deletion_allowed": False})

    def _connect(self, path: VaultPath, body: Mapping[str, Any]) -> None:
        """Stores nothing with which it cannot log in."""
        connection = {**self._w.vault.get(path, {}), **copy.deepcopy(dict(body))}
        if connection.pop("verify_connection", True):
            self._log_in(connection)
        self._w.vault[path] = connection

    def _rotate(self, path: VaultPath) -> None:
        self._log_in(self._w.vault[path])
        password = f"only-openbao-knows-{self._w.writes}"
        self._w.vault[path]["password"] = self._w.accounts[self._w.vault[path]["username"]] = password

    def _log_in(self, connection: Mapping[str, Any]) -> None:
        if self._w.accounts.get(connection["username"]) != connection.get("password"):
            raise Terminal(Reason.DATABASE_LOGIN_REFUSED, "refused")

    def _identify(self, path: str, body: Mapping[str, Any]) -> None:
        if path == "identity/entity-alias":
            alias = {"name": body["name"], "accessor": body["mount_accessor"]}
            self._w.entities[body["canonical_id"]]["aliases"].append(alias)
        else:
            id_ = path.rpartition("/")[2]
            entity = self._w.entities.setdefault(id_, {"id": id_, "name": id_, "aliases": [], "disabled": False})
            entity.update(copy.deepcopy(dict(body)))

    def _enter(self, path: VaultPath) -> None:
        if self._w.vault_away or path.namespace in self._w.vault_busy:
            raise Transient(Reason.VAULT_UNAVAILABLE, "away")
        if path.namespace and self._w.vault.get(VaultPath("", f"sys/namespaces/{path.namespace}"), {}).get("locked"):
            raise Waiting(Reason.VAULT_LOCKED, "locked", after=30)


class _Keycloak:
    def __init__(self, world: World) -> None:
        self._w = world

    def read(self, path: RealmPath) -> Mapping[str, Any] | None:
        if self._w.keycloak_away:
            raise Transient(Reason.KEYCLOAK_UNAVAILABLE, "away")
        return copy.deepcopy(self._w.realms.get(path))

    def list(self, collection: RealmPath) -> tuple[Mapping[str, Any], ...]:
        depth = len(collection.segments)
        return tuple(
            copy.deepcopy(found)
            for path, found in self._w.realms.items()
            if path.realm == collection.realm
            and path.segments[:depth] == collection.segments
            and len(path.segments) == depth + 1
        )

    def create(self, collection: RealmPath, body: Mapping[str, Any]) -> None:
        if not collection.realm:
            self._import(copy.deepcopy(dict(body)))
        else:
            self._add(collection, copy.deepcopy(dict(body)))
        self._w.wrote()

    def _import(self, body: dict[str, Any]) -> None:
        """A realm with what is in it, and what Keycloak adds by itself."""
        inside = {part: body.pop(part, None) for part in ("identityProviders", "clients", "roles", "groups")}
        mappings = body.pop("scopeMappings", ())
        realm = RealmPath(body["realm"])
        if realm in self._w.realms:
            raise Waiting(Reason.PROGRESSING, "exists", after=0.5)
        self._w.realms[realm] = body
        collections = {"identityProviders": ("identity-provider", "instances"), "clients": ("clients",)}
        for part, segments in collections.items():
            for item in inside[part] or ():
                self._add(RealmPath(realm.realm, segments), item)
        for role in (inside["roles"] or {}).get("realm", ()):
            self._add(RealmPath(realm.realm, ("roles",)), role)
        for group in inside["groups"] or ():
            self._add(RealmPath(realm.realm, ("groups",)), group)
        for mapping in mappings:
            (client,) = (
                c for c in self.list(RealmPath(realm.realm, ("clients",))) if c["clientId"] == mapping["client"]
            )
            path = RealmPath(realm.realm, ("clients", client["id"], "scope-mappings", "realm"))
            self._map(path, [{"id": f"role-{name}", "name": name} for name in mapping["roles"]])
        for alias in ("CONFIGURE_TOTP",):
            action = {"alias": alias, "name": "Configure OTP", "enabled": True, "defaultAction": False}
            self._w.realms[RealmPath(realm.realm, ("authentication", "required-actions", alias))] = action
        for number, (step, requirement) in enumerate(BROWSER_STEPS.items()):
            path = RealmPath(realm.realm, (*BROWSER_FLOW, str(number)))
            self._w.realms[path] = {"id": str(number), "displayName": step, "requirement": requirement}

    def _add(self, collection: RealmPath, body: dict[str, Any]) -> None:
        name = body.get("id") or body.get("alias") or body["name"]
        if collection.segments == ("groups",):
            name = f"group-{body['name']}"
            body = {"realmRoles": [], **body, "id": name}
        elif collection.segments == ("roles",):
            body = {**body, "id": f"role-{name}"}
        path = RealmPath(collection.realm, (*collection.segments, name))
        if path in self._w.realms:
            raise Waiting(Reason.PROGRESSING, "exists", after=0.5)
        self._w.realms[path] = body

    def update(self, path: RealmPath, body: Mapping[str, Any]) -> None:
        inside = {("client-policies", "profiles"): "clientProfiles", ("client-policies", "policies"): "clientPolicies"}
        if path.segments in inside:
            self._w.realms[RealmPath(path.realm)][inside[path.segments]] = copy.deepcopy(dict(body))
        elif path.segments == BROWSER_FLOW:
            self._w.realms[RealmPath(path.realm, (*BROWSER_FLOW, body["id"]))].update(body)
        else:
            self._w.realms[path].update(copy.deepcopy(dict(body)))
        self._w.wrote()

    def grant(self, mappings: RealmPath, roles: Sequence[Mapping[str, Any]]) -> None:
        self._map(mappings, roles)
        self._w.wrote()

    def withdraw(self, mappings: RealmPath, roles: Sequence[Mapping[str, Any]]) -> None:
        if mappings.segments[0] == "groups":
            group = self._w.realms[RealmPath(mappings.realm, mappings.segments[:2])]
            group["realmRoles"] = [name for name in group["realmRoles"] if name not in {r["name"] for r in roles}]
        else:
            for role in roles:
                self._w.realms.pop(RealmPath(mappings.realm, (*mappings.segments, role["name"])), None)
        self._w.wrote()

    def reaches_ldap(self, _realm: str, _probe: Mapping[str, str], *, log_in: bool) -> bool:
        return True

    def _map(self, mappings: RealmPath, roles: Sequence[Mapping[str, Any]]) -> None:
        if mappings.segments[0] == "groups":
            group = self._w.realms[RealmPath(mappings.realm, mappings.segments[:2])]
            group["realmRoles"] = [*group["realmRoles"], *(role["name"] for role in roles)]
        else:
            for role in roles:
                self._w.realms[RealmPath(mappings.realm, (*mappings.segments, role["name"]))] = dict(role)

    def delete(self, path: RealmPath) -> None:
        resource_url(path)
        if path.segments[:1] == ("roles-by-id",):
            roles = {v.get("id"): p for p, v in self._w.realms.items() if p.segments[:1] == ("roles",)}
            path = roles.get(path.segments[1], path)
        self._w.realms = {
            p: v for p, v in self._w.realms.items() if p != path and (path.segments or p.realm != path.realm)
        }
        self._w.wrote()

    def find_user(self, realm: str, username: str) -> str | None:
        return self._w.users.get(username)

    def logout_user(self, realm: str, user: str) -> None:
        self._w.sessions.pop(user, None)
        self._w.wrote()

    def logout_all(self, realm: str) -> None:
        self._w.sessions.pop(realm, None)
        self._w.realms[RealmPath(realm)]["notBefore"] = 1
        self._w.wrote()


def _merged(live: Any, before: Any, planned: Any) -> Any:
    """Server-side apply, forced: what we applied before and no longer plan goes, what others put there stays.

    Lists of named items are merged by name, all others are taken as a whole.
    """
    if isinstance(live, dict) and isinstance(planned, dict):
        past = before if isinstance(before, dict) else {}
        kept = {k: v for k, v in live.items() if k in planned or k not in past}
        return {**kept, **{k: _merged(live.get(k), past.get(k), v) for k, v in planned.items()}}
    if _named(live) and _named(planned):
        past = {item["name"]: item for item in before} if _named(before) else {}
        there = {item["name"]: item for item in live}
        wanted = {item["name"]: item for item in planned}
        foreign = [item for name, item in there.items() if name not in wanted and name not in past]
        return [*(_merged(there.get(n), past.get(n), item) for n, item in wanted.items()), *foreign]
    return copy.deepcopy(planned)


def _named(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(i, dict) and "name" in i for i in value)
