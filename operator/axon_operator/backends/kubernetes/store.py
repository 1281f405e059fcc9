"""What the API server has told about the watched kinds: the informers' memory.

Objects are kept as compact JSON, because parsed ones need six times the memory (measured, docs/design-notes.md),
and are parsed anew for each reader, so nobody can change what another one sees.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic_core import from_json, to_json

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
    runtimes: tuple[str, ...]
    body: bytes

    def manifest(self) -> Manifest:
        found: Manifest = from_json(self.body)
        return found


class Store:
    """The newest known state of each watched object. Thread-safe.

    Several sources may tell it of the same object, our own writes among them: the newest resourceVersion
    counts. They are comparable numbers in every supported version of Kubernetes.
    """

    def __init__(self, watched: Mapping[Resource, Mapping[str, str] | None]) -> None:
        """`watched`: the kinds that it is kept up to date about, and the labels of what is watched of them (an empty
        value: the label has to be there); it does not remember others.
        """
        self._watched = watched
        self._lock = threading.Lock()
        self._entries: dict[tuple[Resource, str], dict[str, _Entry]] = defaultdict(dict)
        self._speaking: dict[tuple[Resource, str, str], set[str]] = defaultdict(set)
        """(kind, namespace, runtime) to the names of the objects that speak of that runtime."""
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
        with self._lock:
            places = [namespace] if namespace else [where for kind, where in self._entries if kind is resource]
            found = [entry for where in places for entry in self._entries.get((resource, where), {}).values()]
        manifests = (entry.manifest() for entry in found)
        return tuple(m for m in manifests if selector.items() <= (m["metadata"].get("labels") or {}).items())

    def referring(self, resource: Resource, namespace: str, runtime: str) -> tuple[Manifest, ...]:
        """The objects of a namespace that speak of a runtime."""
        with self._lock:
            names = sorted(self._speaking.get((resource, namespace, runtime), ()))
            found = [self._entries[(resource, namespace)][name] for name in names]
        return tuple(entry.manifest() for entry in found)

    def written(self, manifest: Manifest) -> None:
        """Our own write was answered with this object. Without its label it is not watched, so it counts as gone."""
        ref, metadata = ref_of(manifest), manifest["metadata"]
        if not self.knows(ref.resource):
            return
        if not _carries(metadata.get("labels") or {}, self._watched[ref.resource]):
            self.gone(ref, metadata["uid"], int(metadata["resourceVersion"]))
            return
        new, before = self._observe(manifest)
        if new and ref.resource in _SHARED:
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
            if before:
                self._unlist(ref, before)
            entries[ref.name] = entry
            for runtime in entry.runtimes:
                self._speaking[(ref.resource, ref.namespace, runtime)].add(ref.name)
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
            self._buried[uid] = max(version, self._buried.get(uid, 0))
            if len(self._buried) > _BURIED:
                del self._buried[next(iter(self._buried))]
            entries = self._entries.get((ref.resource, ref.namespace), {})
            entry = entries.get(ref.name)
            if entry is None or entry.uid != uid or entry.version > version:
                return None
            self._unlist(ref, entry)
            del entries[ref.name]
            if not entries:
                del self._entries[(ref.resource, ref.namespace)]
        return entry.manifest()

    def _unlist(self, ref: Ref, entry: _Entry) -> None:
        for runtime in entry.runtimes:
            where = (ref.resource, ref.namespace, runtime)
            self._speaking[where].remove(ref.name)
            if not self._speaking[where]:
                del self._speaking[where]

    def _absent(self, resource: Resource, listed: set[tuple[str, str]], version: int) -> tuple[tuple[Ref, str], ...]:
        with self._lock:
            return tuple(
                (Ref(resource, namespace, name), entry.uid)
                for (kind, namespace), entries in self._entries.items()
                if kind is resource
                for name, entry in entries.items()
                if (namespace, name) not in listed and entry.version <= version
            )

    def _tell(self, before: Manifest | None, after: Manifest | None) -> None:
        for listener in self._listeners:
            listener(before, after)


def _carries(labels: Mapping[str, str], selector: Mapping[str, str] | None) -> bool:
    return all(name in labels and value in {"", labels[name]} for name, value in (selector or {}).items())


def _entry(manifest: Manifest) -> _Entry:
    metadata = manifest["metadata"]
    return _Entry(int(metadata["resourceVersion"]), metadata["uid"], runtimes_named(manifest), to_json(_slim(manifest)))


def _slim(manifest: Manifest) -> Manifest:
    """Without what is of no use here: `managedFields`, a third of an object; of a pod, what its template says too."""
    unused = {"metadata", "spec"} if manifest["kind"] == POD.kind else {"metadata"}
    metadata = {k: v for k, v in manifest["metadata"].items() if k != "managedFields"}
    return {**{k: v for k, v in manifest.items() if k not in unused}, "metadata": metadata}
