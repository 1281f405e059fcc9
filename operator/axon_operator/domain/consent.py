"""Consent: what users grant to, where they put it, and for which revision of a runtime it is good.

A grant is good for a runtime, whatever becomes of it, or for one revision only: then another image or command, another
way out of its network, or another thing that a binding puts into it, asks again. OpenBao enforces it, because the
policy of the runtime's pods names the folder of the current revision and no other.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from axon_operator.api.secretbinding import USER_ID, GrantSource, SecretBindingSpec
from axon_operator.api.tenant import EgressRule
from axon_operator.api.workflowruntime import WorkflowRuntimeSpec
from axon_operator.domain.names import GRANTS, PROGRAM_ANNOTATION
from axon_operator.domain.resources import Manifest

REVISION = r"[0-9a-f]{64}"
"""A whole SHA-256: whoever writes specs must not find two programs with one revision."""
UID = USER_ID.strip("^$")
"""Kubernetes' have the form of Keycloak's."""
_FOLDER = re.compile(rf"({UID})(?:\.({REVISION}))?")


def program(spec: WorkflowRuntimeSpec, bindings: Mapping[str, SecretBindingSpec]) -> str:
    """What a user consents to, as canonical JSON: what runs, how it is started, where it may connect to.

    Args:
        spec: of the runtime.
        bindings: of the runtime, by name. What one of them opens, the program may use for all; a file or a variable
            can be code; and how the grant itself is delivered says who gets to see it.
    """
    document = {
        "image": spec.image,
        "command": spec.command,
        "args": spec.args,
        "env": {v.name: v.value for v in spec.env},
        "connections": sorted({f"{c.runtime}:{c.port}" for c in spec.connections}),
        "egress": _egress(spec.egress),
        "bindings": {
            name: {"source": b.source.to_json(), "delivery": b.delivery.to_json(), "egress": _egress(b.egress)}
            for name, b in bindings.items()
        },
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def digest(document: str) -> str:
    """The revision that such a document describes."""
    return hashlib.sha256(document.encode()).hexdigest()


def revision(spec: WorkflowRuntimeSpec, bindings: Mapping[str, SecretBindingSpec]) -> str:
    """Which revision a runtime with these bindings is."""
    return digest(program(spec, bindings))


def _egress(rules: Iterable[EgressRule]) -> list[str]:
    return sorted({f"{r.cidr} {','.join(str(port) for port in sorted(set(r.ports)))}" for r in rules})


@dataclass(frozen=True, slots=True)
class GrantFolder:
    """The first part of a grant's path: a runtime, in any revision or in one."""

    uid: str
    revision: str = ""

    def __str__(self) -> str:
        return f"{self.uid}.{self.revision}" if self.revision else self.uid

    @classmethod
    def parse(cls, segment: str) -> "GrantFolder | None":
        """None if it is none: users can write there under any name."""
        found = _FOLDER.fullmatch(segment)
        return cls(found[1], found[2] or "") if found else None

    def of(self, user: str) -> str:
        """All that a user has granted there, below the KV mount."""
        return f"{GRANTS}/{self}/{user}"


def runtime_of(grant: str) -> str | None:
    """The uid of the runtime for which a path below the folder of grants is, whatever follows it; None if for none."""
    uid = grant.partition("/")[0].partition(".")[0]
    return uid if re.fullmatch(UID, uid) else None


def context(tenant: str, user: str, path: str, runtime_uid: str) -> bytes:
    """What a grant is encrypted with, beside the key: it is worth nothing in another place. No part contains a bar."""
    return "|".join((tenant, user, path, runtime_uid)).encode()


def started(spec: WorkflowRuntimeSpec) -> str:
    """What runs and how it is started, as it stands on the pods that the operator makes of it."""
    parts = {"image", "command", "args", "env"}
    return digest(spec.model_dump_json(include=parts))


def runs(pod: Manifest, spec: WorkflowRuntimeSpec) -> bool:
    """Whether the workload of a pod is the program that a spec describes, started in the same way."""
    return bool((pod["metadata"].get("annotations") or {}).get(PROGRAM_ANNOTATION) == started(spec))


@dataclass(frozen=True, slots=True)
class Consent:
    """Where grants to one runtime are, as it is now."""

    tenant: str
    runtime_uid: str
    revision: str
    program: str = ""
    """The document of which the revision is the digest, for users to see what they consent to."""
    tied: bool = True
    """Whether grants for the revision count: not while pods of another one run, whose sidecars have the same rights."""

    def paths(self, grant: GrantSource) -> tuple[str, ...]:
        """Where the grant can be, below the KV mount: for this revision only, or for the runtime."""
        folders = GrantFolder(self.runtime_uid, self.revision), GrantFolder(self.runtime_uid)
        tied, free = (f"{folder.of(grant.user)}/{grant.path}" for folder in folders)
        return (tied, free) if self.tied else (free,)

    def context(self, grant: GrantSource) -> str:
        """What the grant is bound to, in base64."""
        return base64.b64encode(context(self.tenant, grant.user, grant.path, self.runtime_uid)).decode()
