"""What the domain must know of the installation; made from the settings at start."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Peer:
    """Pods of a backend, as a NetworkPolicy names them."""

    namespace: str
    labels: Mapping[str, str] = field(hash=False)
    port: int


@dataclass(frozen=True, slots=True)
class Platform:
    """The installation around the tenants."""

    issuer: str
    """Issuer of the cluster's service-account tokens."""
    vault_address: str
    vault_parent: str
    """The OpenBao namespace in which the operator logs in; tenants are its children."""
    vault_ca: str
    """PEM of the CA that signed OpenBao's certificate; public."""
    vault_peer: Peer
    keycloak_url: str
    keycloak_peer: Peer
    agent_image: str
    render_interval: int
    """Seconds after which a pod looks for a new version of a secret."""
    cluster_cidrs: tuple[str, ...]
    """Pod, service and node ranges: no egress rule may reach into them."""

    def realm_issuer(self, realm: str) -> str:
        """The issuer, and so the only audience, that Keycloak accepts in a realm."""
        return f"{self.keycloak_url}/realms/{realm}"
