"""A world in memory, to show that plans settle from any state. Acceptance tests use the real servers."""

import copy
from collections.abc import Mapping
from typing import Any

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Transient, Waiting
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


LOGINS = "sys/leases/lookup/auth/k8s/login"


class World:
    """Three dictionaries. `fuse` counts down with every write; at zero the process dies."""

    def __init__(self) -> None:
        self.objects: dict[Ref, Manifest] = {}
        self.vault: dict[VaultPath, dict[str, Any]] = {}
        self.realms: dict[RealmPath, dict[str, Any]] = {}
        self.logins: dict[str, int] = {}
        """OpenBao namespace -> logins that are good."""
        self.sessions: dict[str, int] = {}
        """Realm -> sessions that are good."""
        self.refused: set[tuple[str, Ref]] = set()
        """Writes that the API server fails: verb and object."""
        self.applied: dict[Ref, Manifest] = {}
        """What server-side apply has last written under our field manager."""
        self.vault_away = False
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
        return copy.deepcopy(self._w.vault.get(path))

    def list(self, path: VaultPath) -> tuple[str, ...]:
        self._enter(path)
        if path.path == LOGINS:
            return tuple(f"login-{n}" for n in range(self._w.logins.get(path.namespace, 0)))
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
        elif path.path == "sys/leases/revoke-prefix/auth/k8s":
            self._w.logins.pop(path.namespace, None)
        elif path.path.startswith("sys/namespaces/"):
            self._w.vault.setdefault(path, {}).update(copy.deepcopy(dict(body)))
        else:
            self._w.vault[path] = copy.deepcopy(dict(body))
        self._w.wrote()

    def delete(self, path: VaultPath) -> None:
        self._enter(path)
        self._w.vault.pop(path, None)
        if path.path.startswith("sys/namespaces/"):
            name = path.path.rsplit("/", 1)[1]
            self._w.vault = {p: v for p, v in self._w.vault.items() if p.namespace != name}
            self._w.logins.pop(name, None)
        self._w.wrote()

    def _enter(self, path: VaultPath) -> None:
        if self._w.vault_away:
            raise Transient(Reason.VAULT_UNAVAILABLE, "away")
        if path.namespace and self._w.vault.get(VaultPath("", f"sys/namespaces/{path.namespace}"), {}).get("locked"):
            raise Waiting(Reason.VAULT_LOCKED, "locked", after=30)


class _Keycloak:
    def __init__(self, world: World) -> None:
        self._w = world

    def read(self, path: RealmPath) -> Mapping[str, Any] | None:
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
        name = body.get("id") or body.get("alias") or ""
        path = (
            RealmPath(body["realm"])
            if not collection.realm
            else RealmPath(collection.realm, (*collection.segments, name))
        )
        if path in self._w.realms:
            raise Waiting(Reason.PROGRESSING, "exists", after=0.5)
        self._w.realms[path] = copy.deepcopy(dict(body))
        self._w.wrote()

    def update(self, path: RealmPath, body: Mapping[str, Any]) -> None:
        self._w.realms[path].update(copy.deepcopy(dict(body)))
        self._w.wrote()

    def delete(self, path: RealmPath) -> None:
        self._w.realms = {
            p: v for p, v in self._w.realms.items() if p != path and (path.segments or p.realm != path.realm)
        }
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
