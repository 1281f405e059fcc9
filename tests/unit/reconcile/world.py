"""A world in memory, to show that plans settle from any state. Acceptance tests use the real servers."""

import copy
from collections.abc import Mapping
from typing import Any

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Terminal, Transient
from axon_operator.domain.resources import (
    Manifest,
    RealmPath,
    Ref,
    Resource,
    VaultPath,
    ref_of,
)
from axon_operator.reconcile.engine.plan import Backends, Change


class Crash(BaseException):
    """The process died right after a write."""


class World:
    """Three dictionaries. `fuse` counts down with every write; at zero the process dies."""

    def __init__(self) -> None:
        self.objects: dict[Ref, Manifest] = {}
        self.vault: dict[VaultPath, dict[str, Any]] = {}
        self.realms: dict[RealmPath, dict[str, Any]] = {}
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
        return copy.deepcopy(self._w.objects.get(ref))

    def list(
        self, resource: Resource, namespace: str, selector: Mapping[str, str] | None = None
    ) -> tuple[Manifest, ...]:
        return tuple(
            copy.deepcopy(m)
            for ref, m in self._w.objects.items()
            if ref.resource is resource
            and namespace in {"", ref.namespace}
            and (selector or {}).items() <= (m["metadata"].get("labels") or {}).items()
        )

    def create(self, manifest: Manifest) -> Manifest:
        if ref_of(manifest) in self._w.objects:
            raise Terminal(Reason.NAME_TAKEN, "exists")
        self._w.add(manifest)
        self._w.wrote()
        return copy.deepcopy(self._w.objects[ref_of(manifest)])

    def apply(self, manifest: Manifest) -> None:
        existing = self._w.objects.get(ref_of(manifest))
        self._w.add(manifest)
        if existing:
            merged = self._w.objects[ref_of(manifest)]["metadata"]
            merged["uid"] = existing["metadata"]["uid"]
        self._w.wrote()

    def delete(self, ref: Ref, uid: str) -> None:
        live = self._w.objects.get(ref)
        if live is None or live["metadata"]["uid"] != uid:
            return
        if live["metadata"].get("finalizers"):
            live["metadata"]["deletionTimestamp"] = "2026-01-02T00:00:00Z"
        else:
            del self._w.objects[ref]
        self._w.wrote()

    def patch_status(self, ref: Ref, status: Mapping[str, Any]) -> None:
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
        self._reach()
        return copy.deepcopy(self._w.vault.get(path))

    def list(self, path: VaultPath) -> tuple[str, ...]:
        self._reach()
        prefix = f"{path.path}/"
        return tuple(
            p.path.removeprefix(prefix)
            for p in self._w.vault
            if p.namespace == path.namespace and p.path.startswith(prefix)
        )

    def write(self, path: VaultPath, body: Mapping[str, Any]) -> None:
        self._reach()
        *_, verb, name = path.path.split("/")
        if verb in {"lock", "unlock"}:
            self._w.vault[VaultPath("", f"sys/namespaces/{name}")]["locked"] = verb == "lock"
        elif "revoke-prefix" not in path.path:
            self._w.vault[path] = copy.deepcopy(dict(body))
        self._w.wrote()

    def delete(self, path: VaultPath) -> None:
        self._reach()
        self._w.vault.pop(path, None)
        if path.path.startswith("sys/namespaces/"):
            name = path.path.rsplit("/", 1)[1]
            self._w.vault = {p: v for p, v in self._w.vault.items() if p.namespace != name}
        self._w.wrote()

    def _reach(self) -> None:
        if self._w.vault_away:
            raise Transient(Reason.VAULT_UNAVAILABLE, "away")


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
            raise Terminal(Reason.NAME_TAKEN, "exists")
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
        self._w.wrote()
