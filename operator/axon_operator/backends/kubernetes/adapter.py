"""Adapter over the official client's REST layer, with plain JSON.

Not its typed models: they drop unknown fields, and print a bad object's content in errors.
"""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import urlencode

import urllib3.exceptions
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException
from kubernetes.client.rest import RESTResponse
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Denied, ReconcileError, Terminal, Transient, Waiting
from axon_operator.backends.observe import Observe, ignore
from axon_operator.domain.resources import NAMESPACE, Manifest, Ref, Resource, ref_of, runtimes_named, url_path

FIELD_MANAGER: Final = "axon-operator"
_NAME = re.compile(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_JSON_PATCH = "application/json-patch+json"
_CONNECT_TIMEOUT: Final = 3.0
_PAGE: Final = "500"
OLDEST: Final = (1, 35)
"""The oldest supported version of Kubernetes. From it on, resourceVersions may be compared as numbers (KEP-5504)."""
_SYSTEM: Final = Ref(NAMESPACE, "", "kube-system")


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list."""

    items: Sequence[Manifest]
    version: int
    """The resourceVersion of the moment that the whole list shows."""


class KubernetesApi:
    """Talks to the API server that the environment names (in-cluster, else kubeconfig)."""

    def __init__(
        self,
        *,
        timeout: float,
        connections: int,
        observe: Observe = ignore,
        written: Callable[[Manifest], None] = lambda _manifest: None,
        removed: Callable[[Ref, str], None] = lambda _ref, _uid: None,
    ) -> None:
        """`timeout`: seconds for one answer; `connections`: as many as there are workers and watches.

        `written`: told of the object as it is after a write; `removed`: of one that it has removed.
        """
        configuration = Configuration()
        try:
            load_incluster_config(client_configuration=configuration)
        except ConfigException:
            load_kube_config(client_configuration=configuration)
        configuration.connection_pool_maxsize = connections
        configuration.retries = False
        self._client = ApiClient(configuration)
        self._timeout = timeout
        self._observe = observe
        self._written = written
        self._removed = removed
        self.answered_at = float("-inf")
        """When the API server last answered anything, on the monotonic clock."""
        self._cluster = ""

    def cluster(self) -> str:
        """See `Kubernetes.cluster`. Asked until it is known, then never again."""
        if not self._cluster:
            live = self.get(_SYSTEM)
            if live is None:
                raise Transient(Reason.KUBERNETES_UNAVAILABLE, "The cluster has no namespace kube-system (yet).")
            self._cluster = str(live["metadata"]["uid"])
        return self._cluster

    def version(self) -> tuple[int, int]:
        """Major and minor version of the server."""
        with self._mapped("version", "server"):
            response = self._request("GET", "/version", None, "", self._timeout)
            data = response.read()
            if response.status != 200:
                message = f"The API server does not tell its version (code {response.status})."
                raise Transient(Reason.KUBERNETES_UNAVAILABLE, message)
            answer = json.loads(data)
            # providers write `35+`
            major, minor = (int(re.sub(r"\D.*", "", str(answer.get(name)))) for name in ("major", "minor"))
            return major, minor

    def get(self, ref: Ref) -> Manifest | None:
        """See `Kubernetes.get`."""
        return self._call("get", ref, _path(ref.resource, ref.namespace, ref.name), missing_ok=True)

    def list(
        self, resource: Resource, namespace: str, selector: Mapping[str, str] | None = None
    ) -> tuple[Manifest, ...]:
        """See `Kubernetes.list`."""
        return tuple(item for page in self.pages(resource, namespace, selector) for item in page.items)

    def referring(self, resource: Resource, namespace: str, runtime: str) -> tuple[Manifest, ...]:
        """See `Kubernetes.referring`."""
        return tuple(m for m in self.list(resource, namespace) if runtime in runtimes_named(m))

    def pages(self, resource: Resource, namespace: str, selector: Mapping[str, str] | None = None) -> Iterator[Page]:
        """A list in pages, all of one moment.

        Raises:
            Expired: the list took so long that the server has forgotten that moment.
        """
        ref = Ref(resource, namespace, "*")
        query = {"limit": _PAGE, **_label_selector(selector)}
        while True:
            page = self._call("list", ref, _path(resource, namespace), query=query) or {}
            metadata = page.get("metadata") or {}
            # items of a list come without their kind
            kind = {"apiVersion": resource.api_version, "kind": resource.kind}
            yield Page([{**kind, **item} for item in page.get("items") or []], int(metadata.get("resourceVersion", 0)))
            query["continue"] = metadata.get("continue") or ""
            if not query["continue"]:
                return

    def watch(
        self, resource: Resource, version: int, selector: Mapping[str, str] | None, *, lasts: int, silence: float
    ) -> Iterator[Mapping[str, Any]]:
        """Watch events after a version, bookmarks among them, until the server ends the stream.

        Args:
            resource: the kind, watched in all namespaces.
            version: the resourceVersion after which to begin.
            selector: labels that the objects carry.
            lasts: seconds after which the server is to end the stream.
            silence: seconds without a byte after which the stream counts as dead. Bookmarks come every minute.

        Raises:
            Expired: the server has forgotten that version; list again.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": str(version),
            "timeoutSeconds": str(lasts),
            **_label_selector(selector),
        }
        ref = Ref(resource, "", "*")
        with self._mapped("watch", ref):
            response = self._request("GET", f"{_path(resource, '')}?{urlencode(query)}", None, "", silence)
            try:
                if response.status != 200:
                    raise _error(response.status, response.read(), "watch", ref)
                # the server has accepted it, though nothing may happen for a minute
                yield {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(version)}}}
                for line in response.response:
                    self.answered_at = time.monotonic()
                    yield _event(json.loads(line), ref)
            finally:
                response.response.close()

    def create(self, manifest: Manifest) -> Manifest:
        """See `Kubernetes.create`."""
        ref = ref_of(manifest)
        path, query = _path(ref.resource, ref.namespace), {"fieldManager": FIELD_MANAGER}
        return self._call("create", ref, path, method="POST", body=manifest, query=query) or {}

    def apply(self, manifest: Manifest) -> None:
        """See `Kubernetes.apply`. Forced: these objects are ours alone, and drift is healed."""
        ref = ref_of(manifest)
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        self._call(
            "apply",
            ref,
            _path(ref.resource, ref.namespace, ref.name),
            method="PATCH",
            body=manifest,
            query=query,
            content=_APPLY,
        )

    def delete(self, ref: Ref, uid: str) -> None:
        """See `Kubernetes.delete`. Dependents go in the background."""
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": "Background",
        }
        self._call(
            "delete", ref, _path(ref.resource, ref.namespace, ref.name), method="DELETE", body=options, missing_ok=True
        )

    def patch_status(self, ref: Ref, status: Mapping[str, Any]) -> None:
        """See `Kubernetes.patch_status`."""
        path = f"{_path(ref.resource, ref.namespace, ref.name)}/status"
        patch = [{"op": "add", "path": "/status", "value": status}]
        self._call("patch-status", ref, path, method="PATCH", body=patch, content=_JSON_PATCH, missing_ok=True)

    def annotate(self, ref: Ref, annotations: Mapping[str, str]) -> None:
        """See `Kubernetes.annotate`."""
        body = {"metadata": {"annotations": annotations}}
        self._call(
            "annotate",
            ref,
            _path(ref.resource, ref.namespace, ref.name),
            method="PATCH",
            body=body,
            content=_MERGE,
            missing_ok=True,
        )

    def set_finalizers(self, live: Manifest, finalizers: tuple[str, ...]) -> None:
        """See `Kubernetes.set_finalizers`. The resourceVersion makes it a compare-and-set."""
        ref = ref_of(live)
        body = {"metadata": {"resourceVersion": live["metadata"]["resourceVersion"], "finalizers": [*finalizers]}}
        self._call(
            "finalize",
            ref,
            _path(ref.resource, ref.namespace, ref.name),
            method="PATCH",
            body=body,
            content=_MERGE,
            missing_ok=True,
        )
        if not finalizers and "deletionTimestamp" in live["metadata"]:
            self._removed(ref, live["metadata"]["uid"])

    def replace(self, manifest: Manifest) -> Manifest:
        """See `Kubernetes.replace` and `Leases.replace`. The resourceVersion in the manifest makes it a compare-and-set."""
        ref = ref_of(manifest)
        path = _path(ref.resource, ref.namespace, ref.name)
        query = {"fieldManager": FIELD_MANAGER}
        return self._call("replace", ref, path, method="PUT", body=manifest, query=query) or {}

    def _call(
        self,
        verb: str,
        ref: Ref,
        path: str,
        *,
        method: str = "GET",
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content: str = "application/json",
        missing_ok: bool = False,
    ) -> dict[str, Any] | None:
        with self._mapped(verb, ref):
            response = self._request(
                method, f"{path}?{urlencode(query)}" if query else path, body, content, self._timeout
            )
            data = response.read()
            self.answered_at = time.monotonic()
            if response.status == 404 and missing_ok:
                return None
            if not 200 <= response.status < 300:
                raise _error(response.status, data, verb, ref)
            answer = cast("dict[str, Any]", json.loads(data))
        if method != "GET":
            self._note(answer, ref)
        return answer

    def _note(self, answer: dict[str, Any], ref: Ref) -> None:
        """Tells what a write has led to: the object as it is now, or that it is gone."""
        if answer["kind"] == "Status":
            self._removed(ref, answer["details"]["uid"])
        else:
            self._written(answer)

    @contextmanager
    def _mapped(self, verb: str, what: Ref | str) -> Iterator[None]:
        """Around one exchange: counts it, and turns what the libraries raise into an error of ours."""
        started = time.monotonic()
        outcome = "ok"
        try:
            yield
        except (ApiException, urllib3.exceptions.HTTPError, OSError, ValueError):
            outcome = "transient"
            raise Transient(Reason.KUBERNETES_UNAVAILABLE, f"The API server did not answer ({verb} {what}).") from None
        except ReconcileError as error:
            outcome = type(error).__name__.lower()
            raise
        finally:
            self._observe("kubernetes", verb, outcome, time.monotonic() - started)

    def _request(self, method: str, path: str, body: Any, content: str, timeout: float) -> RESTResponse:
        """`timeout`: seconds without a byte."""
        headers = {"Accept": "application/json", **({"Content-Type": content} if content else {})}
        # adds the current bearer token, which in the cluster is re-read from its file
        self._client.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        url = f"{self._client.configuration.host}{path}"
        return self._client.call_api(method, url, headers, body, _request_timeout=(_CONNECT_TIMEOUT, timeout))


class Expired(Transient):
    """The API server no longer knows the state that was asked for: list again."""


def _label_selector(selector: Mapping[str, str] | None) -> dict[str, str]:
    """A selector; an empty value means that the label has to be there."""
    if not selector:
        return {}
    return {"labelSelector": ",".join(f"{k}={v}" if v else k for k, v in sorted(selector.items()))}


def _event(event: Mapping[str, Any], ref: Ref) -> Mapping[str, Any]:
    if event.get("type") == "ERROR":
        raise _error(int((event.get("object") or {}).get("code", 500)), b"", "watch", ref)
    return event


def _error(status: int, body: bytes, verb: str, ref: Ref) -> ReconcileError:
    """The API server's answer as one of the four errors; its text is used to decide, never shown."""
    match status:
        case 400:
            return Terminal(
                Reason.REQUEST_REJECTED,
                f"The API server did not understand {verb} {ref}; is this Kubernetes version supported?",
            )
        case 401:
            return Denied(
                Reason.KUBERNETES_DENIED, f"The API server did not accept the operator's token ({verb} {ref})."
            )
        case 403:
            return _forbidden(body, verb, ref)
        case 404 if verb in {"list", "watch"}:
            message = f"The API server does not serve {ref.resource.plural} ({ref.resource.api_version}) yet."
            return Waiting(Reason.DEPENDENCY_NOT_READY, f"{message} Are the CRDs installed?", after=1.0)
        case 404:
            return Waiting(Reason.DEPENDENCY_NOT_READY, f"What {ref} belongs to does not exist yet.", after=1.0)
        case 409:
            return _conflict(body, verb, ref)
        case 410:
            return Expired(Reason.KUBERNETES_UNAVAILABLE, f"The API server forgot the state asked for ({verb} {ref}).")
        case 422:
            return Terminal(
                Reason.REQUEST_REJECTED,
                f"The API server rejected {ref} as invalid; correct the fields of the spec it is made from.",
            )
        case _:
            return Transient(
                Reason.KUBERNETES_UNAVAILABLE, f"The API server answered with code {status} ({verb} {ref})."
            )


def _forbidden(body: bytes, verb: str, ref: Ref) -> ReconcileError:
    if b"being terminated" in body:
        return Waiting(Reason.DELETING, f"Namespace {ref.namespace} is being deleted.", after=2.0)
    if b"exceeded quota" in body:
        return Terminal(
            Reason.INVALID_SPEC,
            f"{ref} would exceed the tenant's quota; raise spec.quota of the Tenant or ask for less.",
        )
    return Denied(
        Reason.KUBERNETES_DENIED,
        f"The operator may not {verb} {ref}; compare its ClusterRole and the admission policies with the chart's.",
    )


def _conflict(body: bytes, verb: str, ref: Ref) -> ReconcileError:
    if verb == "create" and b"AlreadyExists" in body:
        # perhaps made by a pass that was cut off: the next one reads its mark and judges
        return Waiting(Reason.PROGRESSING, f"{ref} exists already; its mark is read next.", after=0.5)
    return Waiting(Reason.PROGRESSING, f"{ref} changed at the same moment; it is read again.", after=0.2)


def _path(resource: Resource, namespace: str, name: str = "") -> str:
    """The object's URL path. Segments are checked here, before anything is sent."""
    return url_path(resource, namespace, name, _checked)


def _checked(segment: str) -> str:
    if len(segment) > 253 or ".." in segment or not _NAME.match(segment):
        raise Terminal(Reason.INVALID_SPEC, "A name in the request is not a valid Kubernetes name.")
    return segment
