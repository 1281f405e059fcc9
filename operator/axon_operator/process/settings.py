"""Settings of the process, from environment variables with the prefix AXON_ (set by the chart)."""

from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, HttpUrl
from pydantic_settings import BaseSettings, SettingsConfigDict

from axon_operator.domain.platform import Peer, Platform

Seconds = Annotated[float, Field(gt=0, le=86400)]
Grace = Annotated[float, Field(gt=0, le=10 * 365 * 86400)]
"""Seconds; ten years are as good as never."""


class Settings(BaseSettings):
    """One attribute per variable; a missing or wrong one stops the start with a message that names it."""

    model_config = SettingsConfigDict(env_prefix="AXON_", frozen=True, hide_input_in_errors=True)

    operator_namespace: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    """The operator's own namespace; its Lease is there."""
    pod_name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    """Name of the operator's pod, by which the Lease says who leads."""

    vault_address: HttpUrl
    """OpenBao's address; https."""
    vault_ca_file: Path
    """PEM file of the CA that signed OpenBao's certificate."""
    vault_token_file: Path
    """Projected service-account token for OpenBao (audience `openbao`)."""
    vault_namespace: str = Field(default="axon", pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    """The parent namespace in which the operator logs in."""
    vault_auth_mount: str = Field(default="k8s", pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    """The JWT auth mount there."""
    vault_role: str = Field(default="axon-operator", pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    """The role there."""
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

    agent_image: str
    """Image with `bao` and a shell for the credentials sidecar."""
    agent_render_interval: Annotated[int, Field(ge=1, le=3600)] = 15
    """Seconds after which a pod looks for a new version of a secret."""
    issuer: str = "https://kubernetes.default.svc.cluster.local"
    """Issuer of the cluster's service-account tokens."""
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

    resync_interval: Seconds = 300
    """Seconds after which a settled object is compared with OpenBao and Keycloak again."""
    sweep_interval: Seconds = 600
    """Seconds between two looks for orphans: what carries our mark and belongs to no living object."""
    sweep_access_grace: Grace = 3600
    """Seconds after which an orphan that lets somebody in is removed."""
    sweep_tenant_grace: Grace = 7 * 86400
    """Seconds after which the remains of a whole tenant, data included, are removed."""
    backend_timeout: Annotated[float, Field(gt=0, le=10)] = 10
    """Seconds for one answer of a backend; no longer than the leader's fence."""
    workers: Annotated[int, Field(ge=1, le=256)] = 32
    """Objects worked on at the same time."""
    port: Annotated[int, Field(ge=1024, le=65535)] = 8080
    """Port of /livez, /readyz and /metrics."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severe level that is logged."""

    def platform(self) -> Platform:
        """The installation as the domain sees it. Reads the CA file: raises OSError, or ValueError if it is no text."""
        vault, keycloak = str(self.vault_address).rstrip("/"), str(self.keycloak_url).rstrip("/")
        return Platform(
            issuer=self.issuer,
            vault_address=vault,
            vault_parent=self.vault_namespace,
            vault_ca=self.vault_ca_file.read_text(),
            vault_peer=Peer(self.vault_peer_namespace, self.vault_peer_labels, self.vault_address.port or 443),
            keycloak_url=keycloak,
            keycloak_peer=Peer(self.keycloak_peer_namespace, self.keycloak_peer_labels, self.keycloak_url.port or 443),
            agent_image=self.agent_image,
            render_interval=self.agent_render_interval,
            cluster_cidrs=tuple(map(str, self.cluster_cidrs)),
        )
