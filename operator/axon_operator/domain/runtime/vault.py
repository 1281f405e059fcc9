"""What a runtime has in OpenBao: policy, login, what users need who grant to it, records of its pods."""

import re
from collections.abc import Iterable, Sequence

from axon_operator.domain import issue
from axon_operator.domain.consent import UID
from axon_operator.domain.names import (
    DIRECTORY,
    KV_MOUNT,
    RUNTIME_AUTH_MOUNT,
    STATUS_MOUNT,
    TRANSIT_MOUNT,
    RuntimeNames,
    TenantNames,
)
from axon_operator.domain.resources import Manifest, VaultPath, VaultResource
from axon_operator.domain.runtime import VAULT_AUDIENCE, Runtime, login_ttl

RECORDS_AT_ONCE = 50
"""Records of pods that one pass removes."""


def vault_policy(runtime: Runtime) -> VaultResource:
    """The runtime's one policy: the union of its bindings.

    One policy, because a changed body works at once for tokens already issued, while a changed list
    of policies does not.
    """
    named = ((b, name) for b in runtime.bindings for name in (b.name, *runtime.lingering.get(b.binding.name, ())))
    rules = [
        *sorted({rule for b, name in named for rule in issue.rules(b, name)}),
        f'path "{STATUS_MOUNT}/{runtime.names.principal}/+" {{ capabilities = ["create", "update"] }}',
        'path "auth/token/renew-self" { capabilities = ["update"] }',
        'path "auth/token/revoke-self" { capabilities = ["update"] }',
    ]
    return VaultResource(_vault_path(runtime.names, runtime.tenant, "policy"), {"policy": "\n".join(rules) + "\n"})


def narrowed_policy(runtime: Runtime, live: str) -> VaultResource:
    """Of the policy that is there, what is still wanted."""
    planned = vault_policy(runtime)
    wanted = frozenset(planned.body["policy"].splitlines())
    return VaultResource(planned.at, {"policy": "".join(f"{r}\n" for r in live.splitlines() if r in wanted)})


def before_grants(runtime: Runtime) -> tuple[VaultResource, ...]:
    """What users need who are to grant something to the runtime; nothing where no binding asks for that.

    The key with which they encrypt it, and what they are told of the runtime. Both must be there before there is a grant.
    """
    if runtime.consent is None:
        return ()
    at = transit_key(runtime.names, runtime.tenant)
    key = {"type": "aes256-gcm96"}
    # what must never be sent is compared all the same
    never = {"exportable": False, "allow_plaintext_backup": False, "derived": False}
    entry = {
        "uid": runtime.names.uid,
        "principal": runtime.names.principal,
        "revision": runtime.consent.revision,
        "program": runtime.consent.program,
    }
    return (
        VaultResource(at, {**key, **never}, fixed=True, maker=VaultResource(at, key)),
        VaultResource(directory_path(runtime.names, runtime.tenant), {"data": entry}),
    )


def directory_path(names: RuntimeNames, tenant: TenantNames, what: str = "data") -> VaultPath:
    """Where users read of the runtime (`data`), and what is removed with it (`metadata`)."""
    return VaultPath(tenant.vault_namespace, f"{KV_MOUNT}/{what}/{DIRECTORY}/{names.runtime}")


def vault_role(runtime: Runtime, service_account_uid: str) -> VaultResource:
    """Who may log in: exactly this service account, by subject and by uid."""
    ttl = login_ttl(runtime)
    body = {
        "role_type": "jwt",
        "user_claim": "sub",
        "bound_audiences": [VAULT_AUDIENCE],
        "bound_subject": runtime.names.subject,
        # a JSON pointer; a service account re-created under the same name has another uid
        "bound_claims": {"/kubernetes.io/serviceaccount/uid": [service_account_uid]},
        "allowed_redirect_uris": [],
        "token_policies": [runtime.names.principal],
        "token_no_default_policy": True,
        "token_type": "service",  # batch tokens cannot be revoked
        "token_ttl": ttl,
        "token_max_ttl": ttl,
        # without these a token is still accepted 60 s after its expiry
        "clock_skew_leeway": -1,
        "expiration_leeway": -1,
    }
    return VaultResource(_vault_path(runtime.names, runtime.tenant, "role"), body)


def vault_policy_path(names: RuntimeNames, tenant: TenantNames) -> VaultPath:
    """Where its policy is."""
    return _vault_path(names, tenant, "policy")


def vault_refs(names: RuntimeNames, tenant: TenantNames) -> tuple[VaultPath, ...]:
    """What a runtime has in OpenBao, in the order in which it is removed: no new logins, then no rights."""
    return (_vault_path(names, tenant, "role"), vault_policy_path(names, tenant))


def vault_refs_of(runtime: Runtime) -> tuple[VaultPath, ...]:
    """All that is planned for it in OpenBao, to be read and compared."""
    planned = (*issue.resources(runtime.bindings), *before_grants(runtime))
    return (*vault_refs(runtime.names, runtime.tenant), *(r.at for r in planned))


def login_mount(tenant: TenantNames) -> VaultPath:
    """The auth mount at which its pods log in."""
    return VaultPath(tenant.vault_namespace, f"sys/auth/{RUNTIME_AUTH_MOUNT}")


def entity_path(tenant: TenantNames, entity: str) -> VaultPath:
    """By which OpenBao remembers somebody who has logged in."""
    return VaultPath(tenant.vault_namespace, f"identity/entity/id/{entity}")


def vault_leftovers(names: RuntimeNames, tenant: TenantNames) -> tuple[VaultPath, ...]:
    """What it can have in OpenBao beside its issues and records, in the order in which it is removed."""
    return (*vault_refs(names, tenant), transit_key(names, tenant), directory_path(names, tenant))


def transit_key(names: RuntimeNames, tenant: TenantNames) -> VaultPath:
    """With which users encrypt what they grant to it."""
    return VaultPath(tenant.vault_namespace, f"{TRANSIT_MOUNT}/keys/{names.principal}")


def served_path(names: RuntimeNames, tenant: TenantNames, pod_uid: str = "") -> VaultPath:
    """Where pods record the revision that they serve: the folder, or one pod's entry."""
    folder = f"{STATUS_MOUNT}/{names.principal}"
    return VaultPath(tenant.vault_namespace, f"{folder}/{pod_uid}" if pod_uid else folder)


def _vault_path(names: RuntimeNames, tenant: TenantNames, what: str) -> VaultPath:
    folder = {"policy": "sys/policies/acl", "role": f"auth/{RUNTIME_AUTH_MOUNT}/role"}[what]
    return VaultPath(tenant.vault_namespace, f"{folder}/{names.principal}")


def stale_records(recorded: Iterable[str], pods: Sequence[Manifest]) -> tuple[str, ...]:
    """Pod uids with a record of a served revision, whose pods are gone; at most `RECORDS_AT_ONCE`.

    Pods choose the names of their records: what is no uid is left alone, and goes with the tenant.
    """
    living = {pod["metadata"]["uid"] for pod in pods}
    stale = sorted(uid for uid in set(recorded) - living if re.fullmatch(UID, uid))
    return tuple(stale[:RECORDS_AT_ONCE])
