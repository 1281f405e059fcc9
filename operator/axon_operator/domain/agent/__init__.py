"""The `credentials` sidecar: which files it renders, its configuration, and the script that runs it."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from axon_operator.api.secretbinding import FileFormat
from axon_operator.domain.names import KV_MOUNT, RUNTIME_AUTH_MOUNT
from axon_operator.domain.platform import Platform

SECRETS_DIR = "/var/run/axon/secrets"
IDENTITY_DIR = "/var/run/axon/identity"
CONFIG_DIR = "/var/run/axon/agent/config"
TOKEN_DIR = "/var/run/axon/agent/token"  # noqa: S105 - a folder, not a token
WORK_DIR = "/var/run/axon/agent/work"

SCRIPT = files(__package__).joinpath("credentials.sh").read_text()


@dataclass(frozen=True, slots=True, order=True)
class CredentialFile:
    """One file that the sidecar keeps current."""

    name: str
    path: str
    """Below kv/org/."""
    keys: tuple[str, ...]
    format: FileFormat
    mode: str


def revision(credentials: Sequence[CredentialFile]) -> str:
    """Name of this set of files; equal sets have equal names, on any machine."""
    described = [[c.name, c.path, c.keys, c.format, c.mode] for c in sorted(credentials)]
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
    count = live.rpartition("-")[2] if live else "0"
    return f"{revision}-{int(count) + 1}"


def revision_of(published: str | None) -> str | None:
    """The set of files that a published name stands for."""
    return published.rpartition("-")[0] if published else None


def config_map_data(
    credentials: Sequence[CredentialFile], name: str, principal: str, vault_namespace: str, platform: Platform
) -> dict[str, str]:
    """The ConfigMap that the sidecar follows. It holds paths and names, never a value."""
    return {
        "revision": f"{name}\n",
        "files": "".join(f"{c.name}\n" for c in sorted(credentials)),
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
                }
            ]
        },
        "template_config": {"static_secret_render_interval": f"{platform.render_interval}s"},
        "template": [
            {
                "contents": _template(c),
                # a folder per revision: a file there was rendered by this very configuration
                "destination": f"{WORK_DIR}/{name}/{c.name}",
                "perms": c.mode,
                "error_on_missing_key": True,
            }
            for c in sorted(credentials)
        ],
    }


def _template(credential: CredentialFile) -> str:
    secret = f'{{{{ with secret "{KV_MOUNT}/data/org/{credential.path}" }}}}'
    return f"{secret}{_guards(credential.keys)}{_body(credential)}{{{{ end }}}}"


def _guards(keys: Sequence[str]) -> str:
    """A version of the secret that lacks a wanted key must not replace a good file."""
    return "".join(
        f'{{{{ if not (sprig_hasKey .Data.data "{key}") }}}}{{{{ sprig_fail "key missing" }}}}{{{{ end }}}}'
        for key in keys
    )


def _body(credential: CredentialFile) -> str:
    values = {key: f'{{{{ index .Data.data "{key}" | toUnescapedJSON }}}}' for key in credential.keys}
    if credential.format is FileFormat.RAW:
        return f'{{{{ index .Data.data "{credential.keys[0]}" }}}}'
    if credential.format is FileFormat.DOTENV:
        if not values:
            return "{{ range $key, $value := .Data.data }}{{ $key }}={{ $value | toUnescapedJSON }}\n{{ end }}"
        return "".join(f"{key}={value}\n" for key, value in values.items())
    if not values:
        return "{{ .Data.data | toUnescapedJSON }}"
    return "{" + ",".join(f'"{key}":{value}' for key, value in values.items()) + "}"
