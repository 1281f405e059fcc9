"""Adapter over the official client's REST layer, with plain JSON.

Not its typed models: they drop unknown fields, and print a bad object's content in errors.
"""

import json
import re
import time
from collections.abc import Mapping
from typing import Any, Final, cast
from urllib.parse import urlencode

import urllib3.exceptions
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Denied, ReconcileError, Terminal, Transient, Waiting
from axon_operator.backends.observe import Observe, ignore
from axon_operator.domain.resources import Manifest, Ref, Resource, ref_of

FIELD_MANAGER: Final = "axon-operator"
_NAME = re.compile(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_JSON_PATCH = "application/json-patch+json"
_CONNECT_TIMEOUT: Final = 3.0


class KubernetesApi:
    """Talks to the API server that the environment names (in-cluster, else kubeconfig)."""

    def __init__(self, *, timeout: float, connections: int, observe: Observe = ignore) -> None:
        """`timeout`: seconds for one answer; `connections`: as many as there are workers."""
        configuration = Configuration()
        try:
            load_incluster_config(client_configuration=configuration)
        except ConfigException:
            load_kube_config(client_configuration=configuration)
        configuration.connection_pool_maxsize = connections
        configuration.retries = False
        self._client = ApiClient(configuration)
        self._timeout = (_CONNECT_TIMEOUT, timeout)
        self._observe = observe

    def get(self, ref: Ref) -> Manifest | None:
        """See `Kubernetes.get`."""
        return self._call("get", ref, _path(ref.resource, ref.namespace, ref.name), missing_ok=True)

    def list(
        self, resource: Resource, namespace: str, selector: Mapping[str, str] | None = None
    ) -> tuple[Manifest, ...]:
        """See `Kubernetes.list`. Pages of 500."""
        found: list[Manifest] = []
        query = {"limit": "500"}
        if selector:
            query["labelSelector"] = ",".join(f"{name}={value}" for name, value in sorted(selector.items()))
        ref = Ref(resource, namespace, "*")
        while True:
            page = self._call("list", ref, _path(resource, namespace), query=query) or {}
            # items of a list come without their kind
            found += [
                {"apiVersion": resource.api_version, "kind": resource.kind, **item} for item in page.get("items") or []
            ]
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return tuple(found)
            query["continue"] = token

    def create(self, manifest: Manifest) -> None:
        """See `Kubernetes.create`."""
        ref = ref_of(manifest)
        self._call(
            "create",
            ref,
            _path(ref.resource, ref.namespace),
            method="POST",
            body=manifest,
            query={"fieldManager": FIELD_MANAGER},
        )

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

    def replace(self, manifest: Manifest) -> None:
        """See `Kubernetes.replace`. The resourceVersion makes it a compare-and-set."""
        ref = ref_of(manifest)
        self._call(
            "replace",
            ref,
            _path(ref.resource, ref.namespace, ref.name),
            method="PUT",
            body=manifest,
            query={"fieldManager": FIELD_MANAGER},
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
        started = time.monotonic()
        outcome = "ok"
        try:
            status, data = self._send(method, f"{path}?{urlencode(query)}" if query else path, body, content)
            if status == 404 and missing_ok:
                return None
            if not 200 <= status < 300:
                raise _error(status, data, verb, ref)
            return cast("dict[str, Any]", json.loads(data))
        except (ApiException, urllib3.exceptions.HTTPError, OSError, ValueError):
            outcome = "transient"
            raise Transient(Reason.KUBERNETES_UNAVAILABLE, f"The API server did not answer ({verb} {ref}).") from None
        except ReconcileError as error:
            outcome = type(error).__name__.lower()
            raise
        finally:
            self._observe("kubernetes", verb, outcome, time.monotonic() - started)

    def _send(self, method: str, path: str, body: Any, content: str) -> tuple[int, bytes]:
        headers = {"Content-Type": content, "Accept": "application/json"}
        # adds the current bearer token, which in the cluster is re-read from its file
        self._client.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        url = f"{self._client.configuration.host}{path}"
        response = self._client.call_api(method, url, headers, body, _request_timeout=self._timeout)
        return response.status, response.read()


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
        case 404:
            return Waiting(Reason.DEPENDENCY_NOT_READY, f"What {ref} belongs to does not exist yet.", after=1.0)
        case 409:
            return _conflict(body, verb, ref)
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
    root = "/apis/" if "/" in resource.api_version else "/api/"
    parts = [f"{root}{resource.api_version}"]
    if namespace:
        parts += ["namespaces", _checked(namespace)]
    parts.append(resource.plural)
    if name:
        parts.append(_checked(name))
    return "/".join(parts)


def _checked(segment: str) -> str:
    if len(segment) > 253 or ".." in segment or not _NAME.match(segment):
        raise Terminal(Reason.INVALID_SPEC, "A name in the request is not a valid Kubernetes name.")
    return segment
