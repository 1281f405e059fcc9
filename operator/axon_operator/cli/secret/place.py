"""Which tenant, and where its servers are."""

import argparse
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from axon_operator.cli.cluster import Cluster, CommandError
from axon_operator.cli.grammar import Argument, a_tenant
from axon_operator.domain.names import TenantNames
from axon_operator.domain.resources import TENANT, Ref
from axon_operator.domain.urls import check_url

_PARENT: Final = "axon"
"""The operator's parent namespace, unless --namespace names another one."""
_NAMESPACE: Final = re.compile(r"[a-z0-9][a-z0-9-]*(/[a-z0-9][a-z0-9-]*)*")


@dataclass(frozen=True, slots=True)
class Place:
    """A tenant as its users reach it."""

    tenant: str
    openbao: str
    namespace: str
    realm: str
    """The realm's own URL."""
    ca: str
    """Empty: the public authorities."""


def variable(option: str) -> str:
    """The environment variable that stands in for an option."""
    return f"AXON_{option.upper()}"


def _option(name: str, text: str, metavar: str) -> Argument:
    return Argument((f"--{name}",), f"{text}; or `{variable(name)}`", {"metavar": metavar})


PLACE: Final = (
    _option("tenant", "name of the Tenant", "TENANT"),
    _option("openbao", "address of OpenBao", "URL"),
    _option("keycloak", "address of Keycloak", "URL"),
    _option("namespace", "the Tenant's namespace in OpenBao; read from the Tenant if left out", "NAMESPACE"),
    _option("ca", "file with the authorities of both servers; the public ones if left out", "FILE"),
)


def place_of(cluster: Cluster, options: argparse.Namespace) -> Place:
    """From options and environment, and from the Tenant if it is needed and may be read.

    Raises:
        CommandError: something is missing, or cannot be what it is given for.
    """
    names = ("tenant", "openbao", "keycloak", "namespace", "ca")
    given = {name: getattr(options, name) or os.environ.get(variable(name), "") for name in names}
    missing = [f"--{name} (or {variable(name)})" for name in names[:3] if not given[name]]
    if missing:
        raise CommandError(f"where to go is not known: name {', '.join(missing)}; your administrator knows them")
    tenant, ca = _tenant(given["tenant"]), given["ca"]
    openbao = _url("--openbao", given["openbao"], with_path=False)
    keycloak = _url("--keycloak", given["keycloak"], with_path=True)
    if ca and not Path(ca).is_file():
        raise CommandError(f"there is no file {ca}; --ca names the one with the authorities of both servers")
    namespace = given["namespace"] or _namespace(cluster, tenant)
    if not _NAMESPACE.fullmatch(namespace):
        raise CommandError("--namespace is the Tenant's namespace in OpenBao, such as axon/t-0123456789abcdef")
    return Place(tenant, openbao, namespace, f"{keycloak}/realms/{TenantNames(tenant, '').realm}", ca)


def _tenant(name: str) -> str:
    try:
        return a_tenant(name)
    except argparse.ArgumentTypeError as error:
        raise CommandError(str(error)) from None


def _url(option: str, url: str, *, with_path: bool) -> str:
    try:
        check_url(option, url, with_path=with_path)
    except ValueError as error:
        raise CommandError(str(error)) from None
    return url.rstrip("/")


def _namespace(cluster: Cluster, tenant: str) -> str:
    """From the Tenant's status."""
    instead = f"name it with --namespace (or {variable('namespace')}); your administrator knows it"
    try:
        live = cluster.get(Ref(TENANT, "", tenant))
    except CommandError as error:
        raise CommandError(
            f"the Tenant's namespace in OpenBao is not known, and the cluster cannot be asked for it ({error}); {instead}"
        ) from None
    if live is None:
        raise CommandError(f"there is no Tenant {tenant} in this cluster")
    inside = (live.get("status") or {}).get("vaultNamespace")
    if not inside:
        raise CommandError(f"Tenant {tenant} has no namespace in OpenBao yet; see kubectl axon status {tenant}")
    return f"{_PARENT}/{inside}"
