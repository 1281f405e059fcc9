"""Settings of the canary, from environment variables with the prefix AXON_CANARY_ (set by the chart)."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, HttpUrl
from pydantic_settings import BaseSettings, SettingsConfigDict

from axon_operator.domain.isolation import Label


class CanarySettings(BaseSettings):
    """One attribute per variable; a missing or wrong one stops the start with a message that names it."""

    model_config = SettingsConfigDict(env_prefix="AXON_CANARY_", frozen=True, hide_input_in_errors=True)

    namespace: Label
    """Its own, where the two ConfigMaps are."""
    account: Label
    """Its service account."""
    interval: Annotated[float, Field(gt=0, le=300)] = 60
    """Seconds between two rounds."""
    timeout: Annotated[float, Field(gt=0, le=30)] = 5
    """Seconds for one answer."""
    network_timeout: Annotated[float, Field(gt=0, le=30)] = 2
    """Seconds after which a connection counts as refused."""

    kubernetes_url: HttpUrl = HttpUrl("https://kubernetes.default.svc")
    """The API server."""
    kubernetes_ca_file: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount/ca.crt")
    """PEM file of the CA that signed its certificate."""
    kubernetes_token_file: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
    """Projected service-account token; all others are asked for with it."""
    vault_address: HttpUrl
    """OpenBao's address; https."""
    vault_ca_file: Path
    """PEM file of the CA that signed its certificate."""
    keycloak_url: HttpUrl
    """Keycloak's address as it stands in its tokens' issuer; https."""
    keycloak_ca_file: Path
    """PEM file of the CA that signed its certificate."""
