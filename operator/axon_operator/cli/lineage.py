"""Where one credential comes from, and who holds it: pure but for `look`.

Only Kubernetes is asked. Names in OpenBao are computed by the functions with which the operator makes them.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, TypeVar

from axon_operator.api.reasons import Reason
from axon_operator.api.secretbinding import SecretBindingSpec
from axon_operator.api.tenant import TenantSpec
from axon_operator.api.vault import Database, DatabaseRole
from axon_operator.api.workflowruntime import WorkflowRuntimeSpec
from axon_operator.cli.cluster import Cluster, ForbiddenError, missing
from axon_operator.cli.tree import standing
from axon_operator.domain import issue
from axon_operator.domain.agent import SECRETS_DIR
from axon_operator.domain.binding import Binding, Surroundings, candidates, database_of
from axon_operator.domain.consent import Consent, revision
from axon_operator.domain.issue import Issued
from axon_operator.domain.manifests import conditions_of, container_statuses, runtime_names
from axon_operator.domain.names import (
    KV_MOUNT,
    REVISION_ANNOTATION,
    RUNTIME_AUTH_MOUNT,
    RUNTIME_LABEL,
    RuntimeNames,
    TenantNames,
    tenant_in,
)
from axon_operator.domain.resources import BINDING, CONFIG_MAP, POD, RUNTIME, TENANT, Manifest, Ref
from axon_operator.domain.rotation import Generation
from axon_operator.domain.runtime import told_by

_UNKNOWN: Final = "<generation>"
_PATH: Final = re.compile(r'path "([^"]+)"')
_Read = TypeVar("_Read")


@dataclass(frozen=True, slots=True)
class Seen:
    """What could be read."""

    binding: Manifest
    tenant: Manifest | None = None
    runtime: Manifest | None = None
    siblings: tuple[Manifest, ...] | None = None
    """All bindings of the namespace; None where they may not be listed."""
    config: Manifest | None = None
    pods: tuple[Manifest, ...] | None = None
    """Of the runtime; None where they may not be listed."""
    unread: tuple[str, ...] = ()
    """What is missing, and what is not known because of it."""


def look(cluster: Cluster, at: Ref) -> Seen:
    """Reads what the user may read.

    Raises:
        CommandError: the binding itself cannot be read.
    """
    binding = cluster.get(at)
    if binding is None:
        raise missing(at)
    unread: list[str] = []

    def read(what: Callable[[], _Read], name: str, without: str) -> _Read | None:
        try:
            found = what()
        except ForbiddenError:
            unread.append(f"{name}, which you may not read: {without}")
            return None
        if found is None:
            unread.append(f"{name}, which is not there: {without}")
        return found

    runtime_at = Ref(RUNTIME, at.namespace, binding["spec"]["runtimeRef"]["name"])
    tenant_at = Ref(TENANT, "", tenant_in(at.namespace))
    tenant = read(lambda: cluster.get(tenant_at), str(tenant_at), "what a database role may do")
    runtime = read(lambda: cluster.get(runtime_at), str(runtime_at), "all names in OpenBao")
    listed = read(lambda: cluster.list(BINDING, at.namespace), "the other SecretBindings", "a grant for one revision")
    pods = read(lambda: cluster.list(POD, at.namespace), "the pods", "who holds it, and the images' digests")
    seen = Seen(binding, tenant, runtime, _of(listed, runtime_at.name), pods=_labelled(pods, runtime_at.name))
    if runtime is not None:
        config_at = Ref(CONFIG_MAP, at.namespace, runtime_names(runtime).principal)
        config = read(lambda: cluster.get(config_at), str(config_at), "the generation, and where a grant is")
        seen = replace(seen, config=config)
    return replace(seen, unread=tuple(unread))


def _of(bindings: Sequence[Manifest] | None, runtime: str) -> tuple[Manifest, ...] | None:
    if bindings is None:
        return None
    own = (b for b in bindings if b["spec"]["runtimeRef"]["name"] == runtime)
    return tuple(b for b in own if "deletionTimestamp" not in b["metadata"])


def _labelled(pods: Sequence[Manifest] | None, runtime: str) -> tuple[Manifest, ...] | None:
    if pods is None:
        return None
    return tuple(p for p in pods if (p["metadata"].get("labels") or {}).get(RUNTIME_LABEL) == runtime)


@dataclass(frozen=True, slots=True)
class Image:
    """What a container of a pod was started from."""

    container: str
    image: str
    digest: str
    """As the kubelet tells; empty before the container has started."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A pod of the runtime."""

    name: str
    uid: str
    phase: str
    ready: bool
    told: str | None
    """Which set of credentials it was last told to serve."""
    images: tuple[Image, ...]


@dataclass(frozen=True, slots=True)
class Grant:
    """A user's consent."""

    user: str
    path: str
    revision: str | None
    """Of the runtime as it is now; None where it cannot be computed."""
    found: str
    """`revision`: for this revision only; `any`: for the runtime; `none`: there is none; `unknown`."""


@dataclass(frozen=True, slots=True)
class Trace:
    """The way of one credential."""

    namespace: str
    name: str
    ready: str
    reason: str
    message: str
    revoked: bool
    source: Mapping[str, Any]
    delivery: Mapping[str, Any]
    generation: int | None
    """None where it is not known, or nothing is made for the binding."""
    rotated_at: str | None
    next_rotation: str | None
    expires_at: str | None
    member_of: tuple[str, ...]
    """Roles of the database that the account has."""
    account: str | None
    """That OpenBao keeps, for all pods."""
    grant: Grant | None
    vault_namespace: str | None
    paths: tuple[str, ...]
    """Where the pods read it."""
    made: tuple[str, ...]
    """What the operator made for it."""
    policy: str | None
    rules: tuple[str, ...]
    role: str | None
    subject: str | None
    runtime: str
    image: str | None
    service_account: str | None
    service_account_uid: str | None
    revision: str | None
    serving: int | None
    pods_total: int | None
    pods: tuple[Holder, ...]
    unread: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def trace(seen: Seen) -> Trace:
    """All that follows from what was read."""
    metadata, spec = seen.binding["metadata"], SecretBindingSpec.model_validate(seen.binding["spec"])
    status, told = seen.binding.get("status") or {}, standing(seen.binding)
    names = runtime_names(seen.runtime) if seen.runtime else None
    issued = _issued(seen, spec, names) if names else ()
    rules = [issue.rules(i, name) for i, name in issued]
    known, role = told_by(seen.config).bindings.get(metadata["name"]), _role_of(seen, spec)
    runtime_status = (seen.runtime or {}).get("status") or {}
    consumers = status.get("consumers") or {}
    return Trace(
        namespace=metadata["namespace"],
        name=metadata["name"],
        ready=told.ready,
        reason=told.reason,
        message=told.message,
        revoked=spec.revoked,
        source=spec.source.to_json(),
        delivery=spec.delivery.to_json(),
        generation=known.generation.number or None if known else None,
        rotated_at=status.get("rotatedAt"),
        next_rotation=status.get("nextRotation"),
        expires_at=status.get("expiresAt"),
        member_of=tuple(role.member_of or ()) if role else (),
        account=role.account if role else None,
        grant=_grant(seen, spec),
        vault_namespace=_vault_namespace(seen),
        # what comes after the first rule is needed beside the credential
        paths=tuple(dict.fromkeys(path for first, *_ in rules for path in _PATH.findall(first))),
        made=tuple(f"{i.engine.folder}/{name}" for i, name in issued if i.engine),
        policy=f"sys/policies/acl/{names.principal}" if names else None,
        rules=tuple(sorted({rule for of_one in rules for rule in of_one})),
        role=f"auth/{RUNTIME_AUTH_MOUNT}/role/{names.principal}" if names else None,
        subject=names.subject if names else None,
        runtime=spec.runtime_ref.name,
        image=seen.runtime["spec"]["image"] if seen.runtime else None,
        service_account=names.principal if names else None,
        service_account_uid=runtime_status.get("serviceAccountUID"),
        revision=status.get("revision"),
        serving=consumers.get("ready"),
        pods_total=consumers.get("total"),
        pods=tuple(_holder(pod) for pod in seen.pods or ()),
        unread=seen.unread,
    )


def _issued(seen: Seen, spec: SecretBindingSpec, names: RuntimeNames) -> tuple[tuple[Issued, str], ...]:
    """What is delivered, with its name in OpenBao; more than one where it is not known which.

    Nothing if it is known that it is not delivered.
    """
    metadata, around = seen.binding["metadata"], _around(seen, names)
    binding = Binding(metadata["name"], metadata["uid"], metadata["creationTimestamp"], spec)
    known = told_by(seen.config).bindings.get(binding.name)
    if known and known.generation.uid == binding.uid:
        issued = Issued(binding, known.generation, around, known.kv, known.version)
        return ((issued, issued.name),)
    if spec.revoked or seen.config is not None:
        return ()
    unknown = Generation(binding.uid, 0, None, "")
    places = candidates(spec.source, around) or ("",)
    planned = (Issued(binding, unknown, around, path, 0) for path in places)
    return tuple((issued, f"{issued.name.rpartition('.')[0]}.{_UNKNOWN}") for issued in planned)


def _around(seen: Seen, names: RuntimeNames) -> Surroundings:
    """Only what names and rules depend on."""
    tenant = tenant_in(names.namespace)
    return Surroundings(
        names=names,
        tenant=TenantNames(tenant, ""),
        runtime=_runtime_spec(seen),
        consent=Consent(tenant, names.uid, _revision(seen) or "<revision>"),
        databases=_databases(seen),
        allowed=(),
        cluster_cidrs=(),
        profile=None,
        trust_domain="",
    )


def _runtime_spec(seen: Seen) -> WorkflowRuntimeSpec:
    return WorkflowRuntimeSpec.model_validate((seen.runtime or {})["spec"])


def _revision(seen: Seen) -> str | None:
    """The runtime's, as it counts for consent; None if not all that it depends on is known."""
    if seen.runtime is None or seen.siblings is None:
        return None
    bindings = {b["metadata"]["name"]: SecretBindingSpec.model_validate(b["spec"]) for b in seen.siblings}
    return revision(_runtime_spec(seen), bindings)


def _databases(seen: Seen) -> tuple[Database, ...]:
    return tuple(TenantSpec.model_validate(seen.tenant["spec"]).vault.databases) if seen.tenant else ()


def _role_of(seen: Seen, spec: SecretBindingSpec) -> DatabaseRole | None:
    found = database_of(spec.source, _databases(seen))
    return found[1] if found else None


def _grant(seen: Seen, spec: SecretBindingSpec) -> Grant | None:
    source = spec.source.grant
    if source is None:
        return None
    now = _revision(seen)
    known = told_by(seen.config).bindings.get(seen.binding["metadata"]["name"])
    if known and seen.runtime:
        tied, free = Consent("", seen.runtime["metadata"]["uid"], now or "").paths(source)
        found = {tied: "revision", free: "any"}.get(known.kv, "unknown")
    else:
        found = "none" if standing(seen.binding).reason == Reason.CONSENT_MISSING else "unknown"
    return Grant(source.user, source.path, now, found)


def _vault_namespace(seen: Seen) -> str | None:
    """As the pods are told, with the operator's parent namespace; else as the Tenant's status has it."""
    for pod in seen.pods or ():
        for container in pod["spec"].get("initContainers") or ():
            for variable in container.get("env") or ():
                if variable["name"] == "BAO_NAMESPACE":
                    return str(variable["value"])
    return ((seen.tenant or {}).get("status") or {}).get("vaultNamespace")


def _holder(pod: Manifest) -> Holder:
    metadata, status = pod["metadata"], pod.get("status") or {}
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions_of(pod))
    images = (Image(c["name"], c.get("image", ""), c.get("imageID", "")) for c in container_statuses(pod))
    told = (metadata.get("annotations") or {}).get(REVISION_ANNOTATION)
    return Holder(metadata["name"], metadata["uid"], status.get("phase", "Unknown"), ready, told, tuple(images))


# -- as text

_Line = tuple[str, Sequence[Any]]
"""A text, and the lines below it."""


def shown(found: Trace) -> list[str]:
    """A tree: what it is, and below that each thing with what depends on it."""
    top = f"SecretBinding {found.namespace}/{found.name}: {found.reason or found.ready}. {found.message}"
    facts: list[_Line] = [(text, ()) for text in _facts(found)]
    missing = [f"Not read: {what}." for what in found.unread]
    return [top, *_drawn([*facts, _way(found)], ""), *missing]


def _facts(found: Trace) -> Iterator[str]:
    yield f"source       {_source(found)}"
    if found.grant:
        yield f"consent      {_consent(found.grant)}"
    times = (("made", found.rotated_at), ("next", found.next_rotation), ("the first in a pod ends", found.expires_at))
    made = [f"generation {found.generation}"] if found.generation else []
    if known := [*made, *(f"{what} {at}" for what, at in times if at)]:
        yield f"credential   {', '.join(known)}"
    yield f"delivery     {_delivery(found.delivery)}"
    if found.pods_total is not None:
        yield f"consumers    {found.serving} of {found.pods_total} pods serve the current set, {found.revision or 'unknown'}"


def _source(found: Trace) -> str:
    ((kind, told),) = found.source.items()
    if kind == "database":
        members = f", member of {', '.join(found.member_of)}" if found.member_of else ""
        account = f", account {found.account}" if found.account else ""
        return f"database {told['connection']}, role {told['role']}{members}{account}"
    if kind == "kv":
        return f"the organization's {KV_MOUNT}/org/{told['path']}"
    if kind == "grant":
        return f"{told['path']} of user {told['user']}"
    if kind == "pki":
        return "certificate for the runtime's SPIFFE id"
    return f"generated value, {told['length']} characters, {told['charset']}"


def _consent(grant: Grant) -> str:
    by = {
        "revision": f"given by user {grant.user} for revision {grant.revision} of the runtime only",
        "any": f"given by user {grant.user} for any revision of the runtime",
        "none": f"user {grant.user} has given none to the runtime as it is now",
    }
    return by.get(grant.found, f"of user {grant.user}; whether it is given is not known")


def _delivery(delivery: Mapping[str, Any]) -> str:
    ((kind, told),) = delivery.items()
    if kind == "file":
        return f"file {SECRETS_DIR}/{told['path']}, {told['format']}, mode {told['mode']}"
    if kind == "env":
        return f"variables {', '.join(v['name'] for v in told['variables'])}"
    return f"proxy on port {told['localPort']} to {told['host']}:{told['port']}, header {told['header']}"


def _way(found: Trace) -> _Line:
    if found.policy is None:
        return (f"WorkflowRuntime {found.runtime}: not known", ())
    pods: list[_Line] = [(_pod(pod), [(_image(i), ()) for i in pod.images]) for pod in found.pods]
    uid = f" (uid {found.service_account_uid})" if found.service_account_uid else ""
    account: _Line = (f"service account {found.service_account}{uid}", pods)
    runtime: _Line = (f"WorkflowRuntime {found.runtime}, image {found.image or 'unknown'}", [account])
    role: _Line = (f"login role {found.role}, for {found.subject}", [runtime])
    policy: _Line = (f"policy {found.policy}", [role])
    where = f" in {found.vault_namespace}" if found.vault_namespace else ""
    paths = ", ".join(found.paths) if found.paths else "none: it is not in the policy now"
    return (f"path{where}: {paths}", [policy])


def _pod(pod: Holder) -> str:
    told = f", told to serve {pod.told}" if pod.told else ""
    return f"pod {pod.name}: {pod.phase}, {'ready' if pod.ready else 'not ready'}{told}"


def _image(image: Image) -> str:
    return f"{image.container}: {image.digest or image.image}"


def _drawn(lines: Sequence[_Line], below: str) -> Iterator[str]:
    for number, (text, children) in enumerate(lines, 1):
        last = number == len(lines)
        yield f"{below}{'└─ ' if last else '├─ '}{text}"
        yield from _drawn(children, f"{below}{'   ' if last else '│  '}")
