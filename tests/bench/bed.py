"""Everything a measurement needs: API server, OpenBao, Keycloak, the proxy, the operator, a settled population."""

import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from axon_operator.backends.keycloak.adapter import KeycloakAdmin, KeycloakSettings
from axon_operator.backends.vault.adapter import OpenBao, OpenBaoSettings
from axon_operator.process.settings import Settings
from axon_testbed import pki, tools
from axon_testbed.layout import MANIFESTS, Layout
from bench.audit import POLICY, AuditLog
from bench.operator import Operator, chart_environment
from bench.population import Population, Size, Tenant
from bench.proxy import Backend, Proxy
from e2e.support.kubectl import Kubectl
from e2e.support.settings import OPERATOR, OPERATOR_NAMESPACE, TESTBED_NAMESPACE, VAULT_AUDIENCE
from servers.bao import Bao
from servers.keycloak import KeycloakServer
from servers.kube import Kube, KubeServer, missing_binaries
from servers.processes import free_port

_INSTALL: Final = MANIFESTS / "install"
_DAY: Final = 86400
"""Lifetime of projected tokens here: there is no kubelet that would renew them."""
_REALM_SECONDS: Final = 300
"""For a realm, or a part of its clients: a cold Keycloak on a busy machine was measured to need more than 60."""
_ANYONE_READS_KEYS: Final = {
    "metadata": {"name": "anyone-reads-keys"},
    "roleRef": {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "ClusterRole",
        "name": "system:service-account-issuer-discovery",
    },
    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:unauthenticated"}],
}


@dataclass(frozen=True, slots=True)
class Bed:
    """The running parts."""

    server: KubeServer
    kube: Kube
    bao: Bao
    keycloak: KeycloakServer
    proxy: Proxy
    operator: Operator
    audit: AuditLog
    settings: Settings
    """The operator's."""
    kubeconfig: str
    """The operator's."""
    tenants: tuple[Tenant, ...]
    objects: int
    """Tenants, runtimes and bindings: each gets a pass when the operator starts."""


@contextmanager
def bed(folder: Path, size: Size) -> Iterator[Bed]:
    """Starts all of it and settles the population; the operator does not run yet."""
    with ExitStack() as stack:
        # a tenant's realm answers its users over https only
        authority, tls = _certificate(folder)
        proxy = Proxy({backend: free_port() for backend in Backend}, {Backend.KEYCLOAK: tls})
        stack.callback(proxy.stop)
        server = _start_kube(folder, stack)
        bao = _start_bao(folder / "openbao", server.kube, proxy, stack)
        keycloak = _start_keycloak(folder / "keycloak", server.kube, proxy, stack)
        env = {**_environment(folder, server, bao, proxy), "AXON_KEYCLOAK_CA_FILE": str(authority)}
        operator = Operator(folder, env)
        stack.callback(operator.stop)
        settings = _settings(env)
        tenants = _seed(_population(settings, server.kube, bao), size) if size.tenants else ()
        yield Bed(
            server=server,
            kube=server.kube,
            bao=bao,
            keycloak=keycloak,
            proxy=proxy,
            operator=operator,
            audit=AuditLog(server.audit_log),
            settings=settings,
            kubeconfig=env["KUBECONFIG"],
            tenants=tenants,
            objects=size.objects + size.tenants,
        )


def say(text: str) -> None:
    """Progress, for the person who waits."""
    print(f"▸ {text}", file=sys.stderr, flush=True)


def _certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Of the proxy, and the file with its authority."""
    layout = Layout(folder / "proxy")
    pki.ensure_server(layout, "proxy", ("127.0.0.1",))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(layout.pki / "proxy.crt", layout.pki / "proxy.key")
    return layout.pki / "ca.crt", context


def _start_kube(folder: Path, stack: ExitStack) -> KubeServer:
    """With the operator's rights, admission policies and profiles as they are installed."""
    _ensure_programs()
    say("starting etcd and kube-apiserver")
    policy = folder / "audit-policy.yaml"
    policy.write_text(yaml.safe_dump(POLICY))
    server = KubeServer(folder, own_issuer=True, audit_policy=policy)
    stack.callback(server.stop)
    kube = server.start()
    kubectl = Kubectl(server.kubeconfig("admin", kube.admin_token))
    for name in ("crds", "namespace", "operator"):
        kubectl("apply", "--server-side", "-f", str(_INSTALL / f"{name}.yaml"))
    kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    kubectl("apply", "--server-side", "-f", str(_INSTALL / "profiles.yaml"))
    kube.call("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", _ANYONE_READS_KEYS)
    return server


def _ensure_programs() -> None:
    """Those that `make up` builds only where it builds its own node image."""
    missing = set(missing_binaries())
    for tool in tools.NODE_TOOLS:
        if missing & set(tool.packages):
            tools.build_go(Layout.from_environment(), tool)


def _start_bao(folder: Path, kube: Kube, proxy: Proxy, stack: ExitStack) -> Bao:
    say("starting OpenBao")
    kube.service_account("openbao", "openbao")
    kube.service_account(TESTBED_NAMESPACE, "admin")
    account = kube.call("GET", f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/serviceaccounts/{OPERATOR}")
    bao = Bao(folder, kube)
    stack.callback(bao.stop)
    bao.start()
    bao.bootstrap(account["metadata"]["uid"])
    proxy.lead_to(Backend.OPENBAO, bao.port, bao.ca_file)
    return bao


def _start_keycloak(folder: Path, kube: Kube, proxy: Proxy, stack: ExitStack) -> KeycloakServer:
    say("starting Keycloak")
    keycloak = KeycloakServer(folder, kube, proxy.url(Backend.KEYCLOAK))
    stack.callback(keycloak.stop)
    keycloak.start()
    keycloak.bootstrap()
    proxy.lead_to(Backend.KEYCLOAK, keycloak.http_port)
    return keycloak


def _environment(folder: Path, server: KubeServer, bao: Bao, proxy: Proxy) -> dict[str, str]:
    """The chart's, with the addresses and files of this place."""
    kube = server.kube
    installed = yaml.safe_load_all((_INSTALL / "operator.yaml").read_text())
    (deployment,) = (m for m in installed if m and (m["kind"], m["metadata"]["name"]) == ("Deployment", OPERATOR))
    keycloak = proxy.url(Backend.KEYCLOAK)
    vault_token, keycloak_token = folder / "vault-token", folder / "keycloak-token"
    vault_token.write_text(kube.token(OPERATOR_NAMESPACE, OPERATOR, VAULT_AUDIENCE, _DAY))
    keycloak_token.write_text(kube.token(OPERATOR_NAMESPACE, OPERATOR, f"{keycloak}/realms/master", _DAY))
    return {
        **chart_environment(deployment),
        "AXON_OPERATOR_NAMESPACE": OPERATOR_NAMESPACE,
        "AXON_POD_NAME": f"{OPERATOR}-bench",
        "AXON_VAULT_ADDRESS": proxy.url(Backend.OPENBAO),
        "AXON_VAULT_CA_FILE": str(bao.ca_file),
        "AXON_VAULT_TOKEN_FILE": str(vault_token),
        "AXON_KEYCLOAK_URL": keycloak,
        "AXON_KEYCLOAK_TOKEN_FILE": str(keycloak_token),
        "AXON_ISSUER": kube.issuer,
        # there is no kubelet that would run one
        "AXON_CANARY_INTERVAL": "0",
        "KUBECONFIG": str(server.kubeconfig(OPERATOR, kube.token(OPERATOR_NAMESPACE, OPERATOR, seconds=_DAY))),
    }


def _seed(population: Population, size: Size) -> tuple[Tenant, ...]:
    started = time.monotonic()
    say(f"seeding {size.runtimes} runtimes and {size.objects - size.runtimes} bindings of {size.tenants} tenants")
    tenants = population.make(size)
    say(f"seeded in {time.monotonic() - started:.0f} s")
    return tenants


def _population(settings: Settings, kube: Kube, bao: Bao) -> Population:
    vault = OpenBao(
        OpenBaoSettings(
            bao.address, bao.ca_file, settings.vault_token_file, settings.vault_namespace, settings.vault_auth_mount
        )
    )
    keycloak = KeycloakAdmin(
        KeycloakSettings(
            str(settings.keycloak_url).rstrip("/"),
            settings.keycloak_ca_file,
            settings.keycloak_token_file,
            timeout=_REALM_SECONDS,
        )
    )
    # what the operator made and what controllers made alike
    return Population(kube.as_controllers(), bao, vault, keycloak, settings.platform())


def _settings(env: dict[str, str]) -> Settings:
    """As the operator itself will understand its environment."""
    prefix = "AXON_"
    fields = {name.removeprefix(prefix).lower(): value for name, value in env.items() if name.startswith(prefix)}
    parsed: dict[str, Any] = {
        name: yaml.safe_load(value) if name.endswith(("labels", "cidrs", "hosts")) else value
        for name, value in fields.items()
        if name in Settings.model_fields
    }
    return Settings(**parsed)
