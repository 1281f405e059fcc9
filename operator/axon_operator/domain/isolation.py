"""What the canary tries in each tenant, and the two messages: what it is to try, and what came of it.

Each side reads the other's as a stranger's: bounded, in exactly this form, and with nothing secret in it.
"""

import hashlib
from collections.abc import Iterable
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from axon_operator.api.base import DNS_LABEL, Port

TARGETS: Final = "axon-canary-targets"
"""The ConfigMap that only the operator writes."""
TARGETS_KEY: Final = "targets.json"
REPORT: Final = "axon-canary-report"
"""The ConfigMap that only the canary writes."""
REPORT_KEY: Final = "report.json"

TENANTS: Final = 500
"""A ConfigMap holds no more than 1 MiB."""
RUNTIMES: Final = 8
"""Of each tenant, the oldest: what changes seldom can be tried most often."""
ANY_PORT: Final = 8080
"""Where a runtime declares none. Where nothing listens, the answer to a packet that arrives is a reset."""

Label = Annotated[str, Field(pattern=DNS_LABEL, max_length=63)]
Uid = Annotated[str, Field(pattern=r"^[-0-9a-f]{36}$")]


class Attempt(StrEnum):
    """A way into a tenant."""

    SECRETS = "kubernetes-secrets"
    """To list its namespace's Secrets."""
    RUNTIMES = "kubernetes-runtimes"
    """To list its WorkflowRuntimes."""
    TOKENS = "kubernetes-tokens"
    """To get a token of a runtime's service account."""
    NETWORK = "network"
    """To connect to one of its pods."""
    LOGIN = "openbao-login"
    """To log in to its OpenBao namespace in the role of a runtime, with a token of another account."""
    READ = "openbao-read"
    """To list the organization's secrets."""
    CLIENT = "keycloak-client"
    """To get an access token of its realm, with a token of an account that is none of its clients'."""
    USER = "keycloak-user"
    """To look up a user of its realm with that foreign token."""


ANYWHERE = frozenset({Attempt.SECRETS, Attempt.RUNTIMES, Attempt.READ, Attempt.CLIENT, Attempt.USER})
"""Attempts on the tenant as a whole: what gets through counts whichever runtimes and pods there are by now."""


class Result(StrEnum):
    """What came of an attempt."""

    REFUSED = "refused"
    CROSSED = "crossed"
    UNDECIDED = "undecided"
    """There was no answer that would say so."""


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Address(_Message):
    """A pod's."""

    ip: IPv4Address | IPv6Address
    port: Port


class Target(_Message):
    """Where a tenant lives, as far as a stranger could find it out."""

    uid: Uid
    namespace: Label
    vault_namespace: Annotated[str, Field(pattern=r"^[-a-z0-9]+/[-a-z0-9]+$", max_length=127)]
    """In full, with the parent."""
    realm: Label
    accounts: Annotated[tuple[Label, ...], Field(max_length=RUNTIMES)]
    """Of runtimes: service account and role in OpenBao."""
    addresses: Annotated[tuple[Address, ...], Field(max_length=RUNTIMES)]

    @property
    def digest(self) -> str:
        """Another one for every change: what was tried counts only for what is there now."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    @property
    def attempts(self) -> frozenset[Attempt]:
        """All that can be tried."""
        without_runtimes = {Attempt.TOKENS, Attempt.LOGIN} if not self.accounts else set()
        without_pods = {Attempt.NETWORK} if not self.addresses else set()
        return frozenset(Attempt) - without_runtimes - without_pods


class Targets(_Message):
    """What the operator tells the canary."""

    tenants: Annotated[tuple[Target, ...], Field(max_length=TENANTS)]


class Told(_Message):
    """What the canary tells of one tenant."""

    target: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    """The digest of what was tried."""
    at: Annotated[str, Field(max_length=40)]
    """When, on the canary's clock; the operator looks only whether it changes."""
    results: Annotated[dict[Attempt, Result], Field(max_length=len(Attempt))]


class Report(_Message):
    """What the canary tells the operator, by the Tenant's uid."""

    tenants: Annotated[dict[Uid, Told], Field(max_length=TENANTS)]


def combined(results: Iterable[Result]) -> Result:
    """Of several tries of the same kind: one hole is a hole, and one that is open to doubt leaves all in doubt."""
    seen = set(results)
    return next((r for r in (Result.CROSSED, Result.UNDECIDED) if r in seen), Result.REFUSED)
