"""The `credentials` sidecar: which files it renders, its configuration, and the script that runs it."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from typing import Any

from axon_operator.domain.names import RUNTIME_AUTH_MOUNT
from axon_operator.domain.platform import Platform

ROOT_DIR = "/var/run/axon"
"""Where the folders are into which credentials are published: `secrets`, `env`, `proxy`."""
SECRETS_DIR = f"{ROOT_DIR}/secrets"
IDENTITY_DIR = f"{ROOT_DIR}/identity"
CONFIG_DIR = f"{ROOT_DIR}/agent/config"
TOKEN_DIR = f"{ROOT_DIR}/agent/token"
WORK_DIR = f"{ROOT_DIR}/agent/work"

SCRIPT = files(__package__).joinpath("credentials.sh").read_text()


class Folder(StrEnum):
    """Who reads what is published there."""

    SECRETS = "secrets"
    """The workload."""
    ENV = "env"
    """The kubelet, when it starts the workload."""
    PROXY = "proxy"
    """The pod's proxy."""


@dataclass(frozen=True, slots=True, order=True)
class CredentialFile:
    """One file that the sidecar keeps current."""

    folder: Folder
    name: str
    template: str
    """Of `bao agent`; it says where the values come from and holds none."""
    mode: str
    lease: str = ""
    """A template that tells for how many seconds OpenBao has given the credential; empty if it ends with no lease."""

    @property
    def place(self) -> str:
        """Below `ROOT_DIR`."""
        return f"{self.folder}/{self.name}"


def revision(credentials: Sequence[CredentialFile]) -> str:
    """Name of this set of files; equal sets have equal names, on any machine."""
    described = [[c.place, c.template, c.mode] for c in sorted(credentials)]
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:12]


def published_as(revision: str, live: str | None) -> str:
    """Under what name a set of files is published: its own, and how often the set has changed.

    The count tells a set that comes back from its first time. A pod that has dropped a file meanwhile, and could
    not record that, must not look as if it still served it.

    Args:
        revision: of the set that is wanted.
        live: the name that is published now; None if there is none.
    """
    if live and revision_of(live) == revision:
        return live
    count = live.rpartition("-")[2] if live else ""
    return f"{revision}-{int(count) + 1 if count.isdecimal() else 1}"


def revision_of(published: str | None) -> str | None:
    """The set of files that a published name stands for."""
    return published.rpartition("-")[0] if published else None


def config_map_data(
    credentials: Sequence[CredentialFile],
    name: str,
    *,
    overlap: int,
    principal: str,
    vault_namespace: str,
    platform: Platform,
) -> dict[str, str]:
    """The ConfigMap that the sidecar follows. It holds paths and names, never a value.

    Args:
        credentials: to be published.
        name: under which this set is published.
        overlap: seconds that what was issued before stays good after this set was published.
        principal: of the runtime.
        vault_namespace: of the tenant.
        platform: the installation.
    """
    return {
        "revision": f"{name}\n",
        "overlap": f"{overlap}\n",
        "files": "".join(f"{c.place}\n" for c in sorted(credentials)),
        "agent.json": json.dumps(_agent(credentials, name, principal, vault_namespace, platform), indent=1),
        "ca.crt": platform.vault_ca,
    }


def _agent(
    credentials: Sequence[CredentialFile], name: str, principal: str, vault_namespace: str, platform: Platform
) -> dict[str, Any]:
    """Configuration of `bao agent`, as JSON so that nothing needs quoting."""
    return {
        "auto_auth": {
            "method": [
                {
                    "type": "jwt",
                    "mount_path": f"auth/{RUNTIME_AUTH_MOUNT}",
                    "namespace": f"{platform.vault_parent}/{vault_namespace}",
                    # the kubelet renews the projected token in place; the agent must not delete it
                    "config": {"path": f"{TOKEN_DIR}/token", "role": principal, "remove_jwt_after_reading": False},
                    # also between two attempts of a template
                    "min_backoff": "1s",
                    "max_backoff": "30s",
                }
            ],
            # so that it can be revoked with all that was issued to it; only the sidecar has that volume
            "sink": [{"type": "file", "config": {"path": f"{WORK_DIR}/.tokens/held", "mode": 0o600}}],
        },
        # who gives up restarts all templates, and with that issues everything anew (measured)
        "vault": [{"retry": [{"num_retries": 1_000_000_000}]}],
        "template_config": {"static_secret_render_interval": f"{platform.render_interval}s"},
        "template": [t for c in sorted(credentials) for t in _templates(c, f"{WORK_DIR}/{name}")],
    }


def _templates(credential: CredentialFile, folder: str) -> Iterator[dict[str, Any]]:
    """Into a folder per revision: a file there was rendered by this very configuration."""
    if credential.lease:
        # first, so that it is there when the file is
        told = {"destination": f"{folder}/{credential.folder}/.{credential.name}.ttl", "perms": "0400"}
        yield {"contents": credential.lease, **told, **_ALONE}
    where = {"destination": f"{folder}/{credential.place}", "perms": credential.mode, "error_on_missing_key": True}
    yield {"contents": credential.template, **where, **_ALONE}


_ALONE = {"error_fatal": False}
"""One template that fails stops no other; else all are started again, and everything is issued anew (measured)."""
