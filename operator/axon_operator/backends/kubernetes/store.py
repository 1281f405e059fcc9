"""What the API server has told about the watched kinds: the informers' memory.

Objects are kept as compact JSON, because parsed ones need six times the memory (measured, docs/design-notes.md),
and are parsed anew for each reader, so nobody can change what another one sees.
"""

import json
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from axon_operator.domain.resources import (
    BINDING,
    POD,
    RUNTIME,
    TENANT,
    Manifest,
    Ref,
    Resource,
    ref_of,
    runtimes_named,
)

_BURIED: Final = 10_000
"""Uids of removed objects that are remembered; late news about them comes within seconds."""
_FOR_EVER: Final = 2**63
_SHARED: Final = frozenset({TENANT, RUNTIME, BINDING, POD})
"""Kinds that others write too while the operator does."""

Changed = Callable[[Manifest | None, Manifest | None], None]
"""(before, after): None before is a new object, None after one that is gone."""


@dataclass(frozen=True, slots=True)
class _Entry:
    version: int
    uid: str
    labels: Mapping[str, str]
    runtimes: tuple[str, ...]
    body: bytes

    def manifest(self) -> Manifest:
        found: Manifest = json.loads(self.body)
        return found


class Store:
    """The newest known state of each watched object. Thread-safe.

    Several sources may tell it of the same object, our own writes among them: the newest resourceVersion
    counts. They are comparable numbers (Kubernetes 1.35, KEP-5504).
    """

    def __init__(self, watched: Collection[Resource]) -> None:
        """`watched`: the kinds that it is kept up to date about; it does not remember others."""
        self._watched = frozenset(watched)
        self._lock = threading.Lock()
        self._entries: dict[tuple[Resource, str], dict[str, _Entry]] = defaultdict(dict)
        self._buried: dict[str, int] = {}
        self._listeners: list[Changed] = []

    def knows(self, resource: Resource) -> bool:
        """Whether what it does not have does not exist."""
        return resource in self._watched

    def subscribe(self, listener: Changed) -> None:
        """Tells of every change of an object of ours or a pod, and of those that a watch brings of the others.

        The answer to our own write can be the first to show somebody else's edit, and then the watch's telling of
        it is old news. What is written only by the operator is told by the watch alone: each write would otherwise
        cost another pass.
        """
        self._listeners.append(listener)

    def get(self, ref: Ref) -> Manifest | None:
        """The object, or None if none is known."""
        with self._lock:
            entry = self._entries.get((ref.resource, ref.namespace), {}).get(ref.name)
        return entry.manifest() if entry else None

    def list(self, resource: Resource, namespace: str, selector: Mapping[str, str]) -> tuple[Manifest, ...]:
        """The objects of a namespace (of all, if empty) that carry the labels."""
        return self._select(resource, namespace, lambda e: selector.items() <= e.labels.items())

    def referring(self, resource: Resource, namespace: str, runtime: str) -> tuple[Manifest, ...]:
        """The objects of a namespace that speak of a runtime."""
        return self._select(resource, namespace, lambda e: runtime in e.runtimes)

    def written(self, manifest: Manifest) -> None:
        """Our own write was answered with this object."""
        resource = ref_of(manifest).resource
        if not self.knows(resource):
            return
        new, before = self._observe(manifest)
        if new and resource in _SHARED:
            self._tell(before, manifest)

    def removed(self, ref: Ref, uid: str) -> None:
        """Our own write has removed the object with this uid."""
        self._remove(ref, uid, _FOR_EVER)

    def watched(self, manifest: Manifest) -> None:
        """A watch tells of this state."""
        new, before = self._observe(manifest)
        if new:
            self._tell(before, manifest)

    def gone(self, ref: Ref, uid: str, version: int) -> None:
        """A watch tells that the object with this uid is gone, or has lost the label by which it is watched."""
        before = self._remove(ref, uid, version)
        if before:
            self._tell(before, None)

    def prune(self, resource: Resource, listed: set[tuple[str, str]], version: int) -> None:
        """After a complete list at a version: what is not in it, {(namespace, name)}, and not newer, is gone."""
        for ref, uid in self._absent(resource, listed, version):
            self.gone(ref, uid, version)

    def __len__(self) -> int:
        """Number of objects."""
        with self._lock:
            return sum(len(entries) for entries in self._entries.values())

    def _observe(self, manifest: Manifest) -> tuple[bool, Manifest | None]:
        """Whether it is news, and what was known before."""
        ref, metadata = ref_of(manifest), manifest["metadata"]
        if int(metadata["resourceVersion"]) <= self._known(ref, metadata["uid"]):
            return False, None  # the common case: two watches tell of our kinds
        entry = _entry(manifest)
        with self._lock:
            entries = self._entries[(ref.resource, ref.namespace)]
            before = entries.get(ref.name)
            if entry.version <= max(before.version if before else 0, self._buried.get(entry.uid, 0)):
                return False, None
            entries[ref.name] = entry
        return True, before.manifest() if before else None

    def _known(self, ref: Ref, uid: str) -> int:
        """Up to which version news of an object is old news."""
        with self._lock:
            before = self._entries.get((ref.resource, ref.namespace), {}).get(ref.name)
            return max(before.version if before else 0, self._buried.get(uid, 0))

    def _remove(self, ref: Ref, uid: str, version: int) -> Manifest | None:
        """What was known of the object. What comes later of that uid up to that version is old news: watches and
        answers overtake each other. What is newer is an object that has its label again.
        """
        with self._lock:
            self._buried[uid] = version
            if len(self._buried) > _BURIED:
                del self._buried[next(iter(self._buried))]
            entries = self._entries.get((ref.resource, ref.namespace), {})
            entry = entries.get(ref.name)
            if entry is None or entry.uid != uid or entry.version > version:
                return None
            del entries[ref.name]
            if not entries:
                del self._entries[(ref.resource, ref.namespace)]
        return entry.manifest()

    def _absent(self, resource: Resource, listed: set[tuple[str, str]], version: int) -> tuple[tuple[Ref, str], ...]:
        with self._lock:
            return tuple(
                (Ref(resource, namespace, name), entry.uid)
                for (kind, namespace), entries in self._entries.items()
                if kind is resource
                for name, entry in entries.items()
                if (namespace, name) not in listed and entry.version <= version
            )

    def _select(self, resource: Resource, namespace: str, wanted: Callable[[_Entry], bool]) -> tuple[Manifest, ...]:
        with self._lock:
            places = [namespace] if namespace else [where for kind, where in self._entries if kind is resource]
            found = [e for where in places for e in self._entries.get((resource, where), {}).values() if wanted(e)]
        return tuple(entry.manifest() for entry in found)

    def _tell(self, before: Manifest | None, after: Manifest | None) -> None:
        for listener in self._listeners:
            listener(before, after)


def _entry(manifest: Manifest) -> _Entry:
    metadata = manifest["metadata"]
    # a third of an object, and of no use here
    slim = {**manifest, "metadata": {k: v for k, v in metadata.items() if k != "managedFields"}}
    return _Entry(
        int(metadata["resourceVersion"]),
        metadata["uid"],
        metadata.get("labels") or {},
        runtimes_named(manifest),
        json.dumps(slim, separators=(",", ":")).encode(),
    )
