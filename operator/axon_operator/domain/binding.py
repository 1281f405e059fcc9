"""Which SecretBindings of a runtime can be delivered, and what is wrong with the others."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from axon_operator.api.reasons import Reason
from axon_operator.api.secretbinding import SecretBindingSpec
from axon_operator.api.tenant import EgressRule
from axon_operator.domain.agent import CredentialFile
from axon_operator.domain.network import egress_problem

Keys = frozenset[str] | None
"""Names of the keys of a KV secret, or None if the secret does not exist."""


@dataclass(frozen=True, slots=True)
class Binding:
    """A SecretBinding of the runtime, as far as delivery is concerned."""

    name: str
    created: str
    """RFC 3339; the oldest of two bindings that want the same file gets it."""
    spec: SecretBindingSpec


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a binding is not delivered."""

    reason: Reason
    message: str
    permanent: bool
    """A person must change the binding (or the Tenant); otherwise it is enough that the secret appears."""


def kv_paths(bindings: Iterable[Binding]) -> frozenset[str]:
    """The KV paths whose key names must be known to judge the bindings."""
    return frozenset(b.spec.source.kv.path for b in bindings if b.spec.source.kv)


def assumed_keys(bindings: Iterable[Binding]) -> dict[str, Keys]:
    """The keys of the secrets if all that the bindings want is there."""
    found: dict[str, frozenset[str]] = {}
    for kv in (b.spec.source.kv for b in bindings):
        if kv:
            found[kv.path] = found.get(kv.path, frozenset()) | frozenset(kv.keys)
    return dict(found)


def problems(
    bindings: Sequence[Binding], keys: Mapping[str, Keys], allowed: Sequence[EgressRule], cluster_cidrs: Sequence[str]
) -> dict[str, Problem]:
    """Binding name to problem, for the bindings that cannot be delivered."""
    found: dict[str, Problem] = {}
    taken: dict[str, str] = {}
    for binding in sorted(bindings, key=lambda b: (b.created, b.name)):
        problem = _own_problem(binding, keys, allowed, cluster_cidrs) or _file_conflict(binding, taken)
        if problem:
            found[binding.name] = problem
        elif binding.spec.delivery.file:
            taken[binding.spec.delivery.file.path] = binding.name
    return found


def credential_file(spec: SecretBindingSpec) -> CredentialFile:
    """The file that a binding asks for; the schema has made sure of source and delivery."""
    kv, file = spec.source.kv, spec.delivery.file
    if kv is None or file is None:
        raise ValueError("the CRD schema guarantees source.kv and delivery.file")
    return CredentialFile(file.path, kv.path, tuple(sorted(set(kv.keys))), file.format, file.mode)


def _own_problem(
    binding: Binding, keys: Mapping[str, Keys], allowed: Sequence[EgressRule], cluster_cidrs: Sequence[str]
) -> Problem | None:
    egress = egress_problem(binding.spec.egress, allowed, cluster_cidrs, "spec.egress")
    if egress:
        return Problem(Reason.INVALID_SPEC, egress, permanent=True)
    kv = binding.spec.source.kv
    if kv is None:
        return Problem(Reason.INVALID_SPEC, "spec.source: exactly one source is needed: kv.", permanent=True)
    existing = keys.get(kv.path)
    if existing is None:
        message = f"The secret kv/org/{kv.path} does not exist in the tenant's OpenBao namespace; write it there and delivery follows by itself."
        return Problem(Reason.SOURCE_MISSING, message, permanent=False)
    missing = sorted(set(kv.keys) - existing)
    if missing:
        message = f"The secret kv/org/{kv.path} has no key {', '.join(missing)}; add it in OpenBao or correct spec.source.kv.keys."
        return Problem(Reason.SOURCE_MISSING, message, permanent=False)
    return None


def _file_conflict(binding: Binding, taken: Mapping[str, str]) -> Problem | None:
    file = binding.spec.delivery.file
    if file is None:
        return Problem(Reason.INVALID_SPEC, "spec.delivery: exactly one delivery is needed: file.", permanent=True)
    other = taken.get(file.path)
    if other is None:
        return None
    return Problem(
        Reason.CONFLICT,
        f"The file {file.path} is already delivered by SecretBinding {other}; choose another spec.delivery.file.path.",
        permanent=True,
    )
