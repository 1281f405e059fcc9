"""The API server by HTTP, about SecretBindings: to begin a measurement at its answer, and to look often at little cost."""

from typing import Any

from e2e.support.https import Answer, Https, ServerError
from e2e.support.kubectl import Json

_PATCH = {"Content-Type": "application/merge-patch+json"}


class Api:
    """Any number of threads may use it."""

    def __init__(self, https: Https) -> None:
        self._https = https

    def bindings(self, namespace: str) -> dict[str, Json]:
        """All of a namespace, by their names."""
        items: list[Json] = self._must("GET", _path(namespace)).body["items"]
        return {item["metadata"]["name"]: item for item in items}

    def create(self, binding: Json) -> None:
        """A new one."""
        self._must("POST", _path(binding["metadata"]["namespace"]), json=binding)

    def edit(self, namespace: str, name: str, **spec: Any) -> None:
        """Changes fields of its spec."""
        self._must("PATCH", _path(namespace, name), json={"spec": spec}, headers=_PATCH)

    def delete(self, namespace: str, name: str) -> None:
        """Waits for nothing."""
        self._must("DELETE", _path(namespace, name))

    def _must(self, method: str, path: str, **options: Any) -> Answer:
        answer = self._https.request(method, path, **options)
        if not answer.ok:
            raise ServerError(f"{method} {path}: {answer.status} {answer.text}")
        return answer


def _path(namespace: str, name: str = "") -> str:
    folder = f"apis/axonos.ai/v1alpha1/namespaces/{namespace}/secretbindings"
    return f"{folder}/{name}" if name else folder
