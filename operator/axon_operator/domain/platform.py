"""What the domain must know of the installation; made from the settings at start."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Peer:
    """Pods of a backend, as a NetworkPolicy names them."""

    namespace: str
    labels: Mapping[str, str] = field(hash=False)
    port: int


KUBE_DNS = Peer("kube-system", {"k8s-app": "kube-dns"}, 53)
"""The DNS servers of most clusters, whatever their program is called."""


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
    keycloak_ca: str
    """PEM of the CA that signed Keycloak's certificate; public."""
    keycloak_peer: Peer
    agent_image: str
    render_interval: int
    """Seconds after which a pod looks for a new version of a secret."""
    cluster_cidrs: tuple[str, ...]
    """Pod, service and node ranges: no egress rule may reach into them."""
    trust_domain: str
    """Of the SPIFFE ids in runtimes' certificates."""
    dns_peer: Peer = KUBE_DNS
    """The cluster's DNS servers."""

    operator_namespace: str = "axon-system"
    """Where administrators put credentials for databases, LDAP and identity providers."""
    allowed_hosts: tuple[str, ...] = ()
    """Hosts of databases, directories and identity providers that tenants may name; none unless an administrator says so."""
    database_ca_folder: str = "/etc/openbao/database-ca"
    """On OpenBao's server: where its administrators put the authorities of databases' certificates."""
    proxy_image: str = "docker.io/envoyproxy/envoy:v1.40.0"
    """Of the sidecar that adds credentials to requests."""
    realm_cap: int = 200
    """Realms beyond which no further one is made."""

    def realm_issuer(self, realm: str) -> str:
        """The issuer, and so the only audience, that Keycloak accepts in a realm."""
        return f"{self.keycloak_url}/realms/{realm}"
