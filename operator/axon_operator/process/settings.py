"""Settings of the process, from environment variables with the prefix AXON_ (set by the chart)."""

from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, HttpUrl
from pydantic_settings import BaseSettings, SettingsConfigDict

from axon_operator.api.base import DNS_LABEL, HostName
from axon_operator.domain.platform import KUBE_DNS, Peer, Platform

Seconds = Annotated[float, Field(gt=0, le=86400)]
Grace = Annotated[float, Field(gt=0, le=10 * 365 * 86400)]
"""Seconds; ten years are as good as never."""


class Settings(BaseSettings):
    """One attribute per variable; a missing or wrong one stops the start with a message that names it."""

    model_config = SettingsConfigDict(env_prefix="AXON_", frozen=True, hide_input_in_errors=True)

    operator_namespace: str = Field(pattern=DNS_LABEL)
    """The operator's own namespace; its Lease is there."""
    pod_name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    """Name of the operator's pod, by which the Lease says who leads."""

    vault_address: HttpUrl
    """OpenBao's address; https."""
    vault_ca_file: Path
    """PEM file of the CA that signed OpenBao's certificate."""
    vault_token_file: Path
    """Projected service-account token for OpenBao (audience `openbao`)."""
    vault_namespace: str = Field(default="axon", pattern=DNS_LABEL)
    """The parent namespace in which the operator logs in."""
    vault_auth_mount: str = Field(default="k8s", pattern=DNS_LABEL)
    """The JWT auth mount there."""
    vault_role: str = Field(default="axon-operator", pattern=DNS_LABEL)
    """The role there."""
    vault_audit_role: str = Field(default="", pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$")
    """The role in the root namespace with which the operator looks at the audit devices; empty: it does not look."""
    vault_audit_mount: str = Field(default="axon-audit", pattern=DNS_LABEL)
    """The JWT auth mount there."""
    vault_audit_device: str = Field(default="", pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.-]*)?$")
    """Name of the audit device that has to be there; empty: any will do."""
    vault_audit_interval: Seconds = 60
    """Seconds between two looks."""
    vault_peer_namespace: str
    """Kubernetes namespace of OpenBao's pods, for the runtimes' network policies."""
    vault_peer_labels: dict[str, str]
    """Labels of those pods."""

    keycloak_url: HttpUrl
    """Keycloak's address as it stands in its tokens' issuer; https."""
    keycloak_ca_file: Path
    """PEM file of the CA that signed Keycloak's certificate."""
    keycloak_token_file: Path
    """Projected service-account token for Keycloak (audience: the master realm's issuer)."""
    keycloak_client_id: str = "axon-operator"
    """The operator's client in the master realm."""
    keycloak_peer_namespace: str
    """Kubernetes namespace of Keycloak's pods, for the runtimes' network policies."""
    keycloak_peer_labels: dict[str, str]
    """Labels of those pods."""

    dns_peer_namespace: str = KUBE_DNS.namespace
    """Kubernetes namespace of the cluster's DNS servers."""
    dns_peer_labels: dict[str, str] = dict(KUBE_DNS.labels)
    """Labels of their pods."""
    dns_port: Annotated[int, Field(ge=1, le=65535)] = KUBE_DNS.port
    """The port on which those pods listen."""

    agent_image: str
    """Image with `bao` and a shell for the credentials sidecar."""
    proxy_image: str = "docker.io/envoyproxy/envoy:v1.40.0"
    """Image with Envoy, a shell and the public authorities, for the sidecar that adds credentials to requests."""
    agent_render_interval: Annotated[int, Field(ge=1, le=3600)] = 15
    """Seconds after which a pod looks for a new version of a secret."""
    issuer: str = "https://kubernetes.default.svc.cluster.local"
    """Issuer of the cluster's service-account tokens."""
    trust_domain: str = Field(default="cluster.local", pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=255)
    """Of the SPIFFE ids in runtimes' certificates."""
    cluster_cidrs: tuple[IPv4Network, ...] = tuple(
        map(
            IPv4Network,
            (
                "10.0.0.0/8",
                "172.16.0.0/12",
                "192.168.0.0/16",
                "100.64.0.0/10",
                "169.254.0.0/16",
                "127.0.0.0/8",
            ),
        )
    )
    """Pod, service and node ranges, which no egress rule may reach into; all private ranges if not set."""

    allowed_hosts: tuple[HostName, ...] = ()
    """Hosts of databases, directories and identity providers that tenants may name; empty: none."""
    database_ca_folder: str = Field(default="/etc/openbao/database-ca", pattern=r"^(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+$")
    """Folder on OpenBao's server with the authorities of databases' certificates."""
    realm_cap: Annotated[int, Field(ge=1, le=100000)] = 200
    """Number of realms beyond which no tenant gets one."""

    resync_interval: Seconds = 300
    """Seconds after which a settled object is compared with OpenBao and Keycloak again."""
    sweep_interval: Seconds = 600
    """Seconds between two looks for orphans: what carries our mark and belongs to no living object."""
    sweep_access_grace: Grace = 3600
    """Seconds after which an orphan that lets somebody in is removed."""
    sweep_tenant_grace: Grace = 7 * 86400
    """Seconds after which the remains of a whole tenant, data included, are removed."""
    grant_interval: Seconds = 2
    """Seconds between two looks for grants given or taken back, in tenants where a binding names one."""
    canary_interval: Annotated[float, Field(ge=0, le=300)] = 0
    """Seconds between two looks at the canary's report; 0: there is no canary."""
    backend_timeout: Annotated[float, Field(gt=0, le=10)] = 10
    """Seconds for one answer of a backend; no longer than the leader's fence."""
    workers: Annotated[int, Field(ge=1, le=256)] = 32
    """Objects worked on at the same time."""
    port: Annotated[int, Field(ge=1024, le=65535)] = 8080
    """Port of /livez, /readyz and /metrics."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severe level that is logged."""

    def platform(self) -> Platform:
        """The installation as the domain sees it. Reads the CA files: raises OSError, or ValueError if one is no text."""
        vault, keycloak = str(self.vault_address).rstrip("/"), str(self.keycloak_url).rstrip("/")
        return Platform(
            issuer=self.issuer,
            vault_address=vault,
            vault_parent=self.vault_namespace,
            vault_ca=self.vault_ca_file.read_text(),
            vault_peer=Peer(self.vault_peer_namespace, self.vault_peer_labels, self.vault_address.port or 443),
            keycloak_url=keycloak,
            keycloak_ca=self.keycloak_ca_file.read_text(),
            keycloak_peer=Peer(self.keycloak_peer_namespace, self.keycloak_peer_labels, self.keycloak_url.port or 443),
            agent_image=self.agent_image,
            proxy_image=self.proxy_image,
            render_interval=self.agent_render_interval,
            cluster_cidrs=tuple(map(str, self.cluster_cidrs)),
            trust_domain=self.trust_domain,
            dns_peer=Peer(self.dns_peer_namespace, self.dns_peer_labels, self.dns_port),
            operator_namespace=self.operator_namespace,
            allowed_hosts=self.allowed_hosts,
            database_ca_folder=self.database_ca_folder,
            realm_cap=self.realm_cap,
        )
