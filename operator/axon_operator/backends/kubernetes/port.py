"""What the reconcilers need of the Kubernetes API."""

from collections.abc import Mapping
from typing import Any, Protocol

from axon_operator.domain.resources import Manifest, Ref, Resource


class Kubernetes(Protocol):
    """Reads and writes of the closed list of kinds in `domain.resources`.

    Every call raises only the errors of `backends.errors`.
    """

    def cluster(self) -> str:
        """Which cluster this is: the uid of its namespace kube-system, which lives as long as the cluster."""

    def get(self, ref: Ref) -> Manifest | None:
        """The object, or None if it does not exist."""

    def list(
        self, resource: Resource, namespace: str, selector: Mapping[str, str] | None = None
    ) -> tuple[Manifest, ...]:
        """The objects of a namespace (all namespaces if empty) that carry the labels."""

    def referring(self, resource: Resource, namespace: str, runtime: str) -> tuple[Manifest, ...]:
        """The objects of a namespace that speak of a runtime by name (`domain.resources.runtimes_named`)."""

    def create(self, manifest: Manifest) -> Manifest:
        """Create, never adopt, and say what was created; `Waiting` if it exists already: whose it is must be read first."""

    def apply(self, manifest: Manifest) -> None:
        """Server-side apply under our field manager."""

    def replace(self, manifest: Manifest) -> Manifest | None:
        """Put it in place of exactly the version in its `metadata.resourceVersion`; `Waiting` if that has changed."""

    def delete(self, ref: Ref, uid: str) -> None:
        """Delete exactly the object with this uid; one that is gone is fine."""

    def patch_status(self, ref: Ref, status: Mapping[str, Any]) -> None:
        """Replace the status; a missing object is fine."""

    def annotate(self, ref: Ref, annotations: Mapping[str, str]) -> None:
        """Set annotations; a missing object is fine."""

    def set_finalizers(self, live: Manifest, finalizers: tuple[str, ...]) -> None:
        """Set the finalizers of exactly the version that was read; `Waiting` if it has changed since."""


class Leases(Protocol):
    """What the leader election needs; raises the same errors. Not part of what a pass may do."""

    def get(self, ref: Ref) -> Manifest | None:
        """The object, or None if it does not exist."""

    def create(self, manifest: Manifest) -> Manifest | None:
        """Create; `Waiting` if it exists already."""

    def replace(self, manifest: Manifest) -> Manifest:
        """Replace exactly the version that was read, and return the new one; `Waiting` if it has changed or is gone."""
