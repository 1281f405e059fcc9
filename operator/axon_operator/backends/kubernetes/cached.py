"""Reads from the informers' store, writes through to the API server."""

from collections.abc import Mapping
from typing import Any, Final

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Waiting
from axon_operator.backends.kubernetes.adapter import KubernetesApi
from axon_operator.backends.kubernetes.store import Store
from axon_operator.domain.resources import Manifest, Ref, Resource, ref_of

_LOOK_AGAIN: Final = 0.2


class CachedKubernetes:
    """`Kubernetes` whose reads cost no call.

    Children are watched by our label, so something foreign of a planned name is not in the store. Before
    anything is made that the store does not have, the API server is asked; what it has there is remembered as
    foreign and read live from then on, until it is gone.
    """

    def __init__(self, api: KubernetesApi, store: Store) -> None:
        self._api = api
        self._store = store
        self._foreign: set[Ref] = set()

    def cluster(self) -> str:
        """See `Kubernetes.cluster`."""
        return self._api.cluster()

    def get(self, ref: Ref) -> Manifest | None:
        """See `Kubernetes.get`."""
        if not self._store.knows(ref.resource):
            return self._api.get(ref)
        known = self._store.get(ref)
        if known is not None or ref not in self._foreign:
            return known
        live = self._api.get(ref)
        if live is None:
            self._foreign.discard(ref)
        return live

    def list(
        self, resource: Resource, namespace: str, selector: Mapping[str, str] | None = None
    ) -> tuple[Manifest, ...]:
        """See `Kubernetes.list`."""
        if not self._store.knows(resource):
            return self._api.list(resource, namespace, selector)
        return self._store.list(resource, namespace, selector or {})

    def referring(self, resource: Resource, namespace: str, runtime: str) -> tuple[Manifest, ...]:
        """See `Kubernetes.referring`."""
        return self._store.referring(resource, namespace, runtime)

    def create(self, manifest: Manifest) -> Manifest:
        """See `Kubernetes.create`."""
        self._look_first(ref_of(manifest))
        return self._api.create(manifest)

    def apply(self, manifest: Manifest) -> None:
        """See `Kubernetes.apply`."""
        self._look_first(ref_of(manifest))
        self._api.apply(manifest)

    def replace(self, manifest: Manifest) -> Manifest | None:
        """See `Kubernetes.replace`."""
        return self._api.replace(manifest)

    def delete(self, ref: Ref, uid: str) -> None:
        """See `Kubernetes.delete`."""
        self._api.delete(ref, uid)

    def patch_status(self, ref: Ref, status: Mapping[str, Any]) -> None:
        """See `Kubernetes.patch_status`."""
        self._api.patch_status(ref, status)

    def annotate(self, ref: Ref, annotations: Mapping[str, str]) -> None:
        """See `Kubernetes.annotate`."""
        self._api.annotate(ref, annotations)

    def set_finalizers(self, live: Manifest, finalizers: tuple[str, ...]) -> None:
        """See `Kubernetes.set_finalizers`."""
        self._api.set_finalizers(live, finalizers)

    def _look_first(self, ref: Ref) -> None:
        """Raises `Waiting` if there is something that the plan did not know of."""
        if not self._store.knows(ref.resource) or self._store.get(ref) is not None:
            return
        if self._api.get(ref) is not None:
            self._foreign.add(ref)
            raise Waiting(Reason.PROGRESSING, f"{ref} exists already; its mark is read next.", after=_LOOK_AGAIN)
