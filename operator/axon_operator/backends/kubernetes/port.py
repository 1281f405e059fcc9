"""What the reconcilers need of the Kubernetes API."""

from collections.abc import Mapping
from typing import Any, Protocol

from axon_operator.domain.resources import Manifest, Ref, Resource


class Kubernetes(Protocol):
    """Reads and writes of the closed list of kinds in `domain.resources`.

    Every call raises only the errors of `backends.errors`.
    """

    def get(self, ref: Ref) -> Manifest | None:
        """The object, or None if it does not exist."""

    def list(
        self, resource: Resource, namespace: str, selector: Mapping[str, str] | None = None
    ) -> tuple[Manifest, ...]:
        """The objects of a namespace (all namespaces if empty) that carry the labels."""

    def create(self, manifest: Manifest) -> None:
        """Create, never adopt; `Waiting` if it exists already: whose it is must be read first."""

    def apply(self, manifest: Manifest) -> None:
        """Server-side apply under our field manager."""

    def replace(self, manifest: Manifest) -> None:
        """Put it in place of exactly the version in its `metadata.resourceVersion`; `Waiting` if that has changed."""

    def delete(self, ref: Ref, uid: str) -> None:
        """Delete exactly the object with this uid; one that is gone is fine."""

    def patch_status(self, ref: Ref, status: Mapping[str, Any]) -> None:
        """Replace the status; a missing object is fine."""

    def annotate(self, ref: Ref, annotations: Mapping[str, str]) -> None:
        """Set annotations; a missing object is fine."""

    def set_finalizers(self, live: Manifest, finalizers: tuple[str, ...]) -> None:
        """Set the finalizers of exactly the version that was read; `Waiting` if it has changed since."""
