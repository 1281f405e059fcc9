"""The API server as the user reaches it. The only module of the plugin that knows the Kubernetes library."""

import json
from collections.abc import Mapping
from functools import cached_property, partial
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, urlencode

import urllib3.exceptions
import yaml
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException, load_kube_config

from axon_operator.domain.resources import Manifest, Ref, Resource, ref_of, url_path

FIELD_MANAGER: Final = "kubectl-axon"
"""Under which changes stand in `metadata.managedFields`."""
_MERGE: Final = "application/merge-patch+json"
_TIMEOUT: Final = (5.0, 30.0)
"""Seconds to connect, and without a byte."""
_PAGE: Final = "500"
_UNUSABLE: Final = (ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, KeyError, AttributeError)
"""What the library raises for a kubeconfig that is missing, is none, or names what is not in it."""


class CommandError(Exception):
    """Why a command cannot do what it is asked for, in our own words and with what to do about it."""


class ForbiddenError(CommandError):
    """The user lacks a right."""


class NotServedError(CommandError):
    """The API server does not know this kind of object."""


class ConflictError(CommandError):
    """Somebody else was faster; nothing was changed."""


class Cluster:
    """One API server, with a user's rights. Every question of it can end in a `CommandError`."""

    def __init__(self, kubeconfig: str | None = None, context: str | None = None) -> None:
        """As kubectl chooses them, where None. Not read before the first question: not every command has one."""
        self._kubeconfig, self._context = kubeconfig, context

    @cached_property
    def _client(self) -> ApiClient:
        configuration = Configuration()
        try:
            load_kube_config(config_file=self._kubeconfig, context=self._context, client_configuration=configuration)
        except _UNUSABLE:
            wanted = f" with a context {self._context}" if self._context else ""
            where = self._kubeconfig or "KUBECONFIG or ~/.kube/config"
            message = f"no usable kubeconfig{wanted} in {where}; name one with --kubeconfig, a context with --context"
            raise CommandError(message) from None
        configuration.retries = False
        return ApiClient(configuration)

    def get(self, at: Ref) -> Manifest | None:
        """One object, or None."""
        return self._call("GET", at)

    def list(self, resource: Resource, namespace: str = "") -> list[Manifest]:
        """All objects of a kind that are there, or in a namespace."""
        at, query = Ref(resource, namespace, ""), {"limit": _PAGE}
        found: list[Manifest] = []
        while True:
            page = self._call("GET", at, query)
            if page is None:
                return found
            # items of a list come without their kind
            kind = {"apiVersion": resource.api_version, "kind": resource.kind}
            found += [{**kind, **item} for item in page["items"]]
            query["continue"] = page["metadata"].get("continue") or ""
            if not query["continue"]:
                return found

    def change(self, live: Manifest, spec: Mapping[str, Any]) -> Manifest:
        """Changes these fields of a spec, if the object still is as it was read.

        Raises:
            ConflictError: it is not.
        """
        body = {"metadata": {"resourceVersion": live["metadata"]["resourceVersion"]}, "spec": spec}
        at = ref_of(live)
        changed = self._call("PATCH", at, {"fieldManager": FIELD_MANAGER}, body)
        if changed is None:
            raise missing(at)
        return changed

    def _call(
        self, method: str, at: Ref, query: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None
    ) -> Manifest | None:
        headers = {"Accept": "application/json", **({"Content-Type": _MERGE} if body else {})}
        host = self._client.configuration.host
        path = url_path(at.resource, at.namespace, at.name, partial(quote, safe=""))
        url = f"{host}{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            self._client.update_params_for_auth(headers, [], ["BearerToken"], url, method, body)
            response = self._client.call_api(method, url, headers, body, _request_timeout=_TIMEOUT)
            status, data = response.status, response.read()
        except (ApiException, urllib3.exceptions.HTTPError, OSError, ValueError):
            message = f"the API server {host} does not answer, or did not prove its identity; check context and network"
            raise CommandError(message) from None
        if status == HTTPStatus.NOT_FOUND:
            if _is_of_kubernetes(data):
                return None
            message = f"this cluster does not serve {at.resource.plural} ({at.resource.api_version})"
            raise NotServedError(message)
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            raise _error(status, data, "read" if method == "GET" else "change", at)
        found: Manifest = json.loads(data)
        return found


def missing(at: Ref) -> CommandError:
    """What is not there."""
    return CommandError(f"there is no {at}")


def _error(status: int, data: bytes, verb: str, at: Ref) -> CommandError:
    what = str(at) if at.name else at.resource.plural
    match status:
        case HTTPStatus.UNAUTHORIZED:
            return CommandError("the API server does not accept your login; log in to the cluster again")
        case HTTPStatus.FORBIDDEN:
            right = f"{'get, list' if verb == 'read' else 'patch'} on {at.resource.plural}"
            return ForbiddenError(f"you may not {verb} {what}; ask for the right to {right}")
        case HTTPStatus.CONFLICT:
            return ConflictError(f"{what} is being changed by somebody else at the same time; nothing was changed")
        case HTTPStatus.UNPROCESSABLE_ENTITY | HTTPStatus.BAD_REQUEST:
            # rules of the CRD and of admission policies: written for who changes the spec
            return CommandError(f"the API server refuses this change of {what}: {_told(data)}")
        case _:
            return CommandError(f"the API server answers with code {status} ({verb} {what}); try again")


def _is_of_kubernetes(data: bytes) -> bool:
    """Whether it is an object that is not there; for a kind that is not there the answer has another form."""
    try:
        return bool(json.loads(data).get("details", {}).get("name"))
    except (ValueError, AttributeError):
        return False


def _told(data: bytes) -> str:
    try:
        return str(json.loads(data)["message"])
    except (ValueError, KeyError, TypeError):
        return "it does not say why"
