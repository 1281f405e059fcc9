"""What a Tenant takes over of a lost one of its name, because an administrator said so.

The OpenBao namespace decides: it is marked first, and nothing else is taken over before its mark is the Tenant's.
It cannot be renamed, so the Tenant lives on in it, under the name that was made from another uid.
"""

from dataclasses import replace

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Terminal
from axon_operator.backends.kubernetes.port import Kubernetes
from axon_operator.backends.vault.port import Vault
from axon_operator.domain.names import ADOPT_ANNOTATION, TenantNames
from axon_operator.domain.resources import TENANT, Manifest, VaultPath
from axon_operator.domain.tenant.claim import Claim, asks_to_adopt, claim_of
from axon_operator.domain.tenant.marks import Mark, vault_mark
from axon_operator.reconcile.common import deleting


def look_for_claim(kubernetes: Kubernetes, live: Manifest, cluster: str) -> Claim | Terminal | None:
    """What the Tenant claims, or why it may not.

    None where nothing is claimed, for a Tenant that is going, and for one that has an OpenBao namespace of its own:
    it never changes into another one.
    """
    status = live.get("status") or {}
    settled_elsewhere = "vaultNamespace" in status and "adoptedUID" not in status
    if not asks_to_adopt(live) or deleting(live) or settled_elsewhere:
        return None
    if "realm" in status and "adoptedUID" not in status:
        message = f"This Tenant has a realm of its own already, so it can take over nothing. Delete it, and create it again with the annotation {ADOPT_ANNOTATION}."
        return Terminal(Reason.CONFLICT, message)
    claim = claim_of(live, cluster)
    if claim is None:
        message = f"The annotation {ADOPT_ANNOTATION} has to be the uid of a lost Tenant, with another cluster's uid and a slash before it if it was there."
        return Terminal(Reason.INVALID_SPEC, message)
    if any(other["metadata"]["uid"] == claim.uid for other in kubernetes.list(TENANT, "")):
        return Terminal(Reason.NAME_TAKEN, f"The annotation {ADOPT_ANNOTATION} names a Tenant that lives.")
    return claim


def find_home(vault: Vault, names: TenantNames, cluster: str, claim: Claim) -> TenantNames:
    """With the OpenBao namespace that the Tenant is to take over, or has taken over before its status said so.

    Raises:
        Terminal: there is none, or the Tenant has made one of its own.
    """
    if not vault.supports_namespaces():
        return names
    marks = _marks(vault)
    for mark in marks:
        if mark.is_of(names.uid, cluster):
            if mark.home:
                return replace(names, home=mark.home)
            message = f"This Tenant has an OpenBao namespace of its own already ({names.vault_namespace}), so it can take over none. Delete it, and create it again with the annotation {ADOPT_ANNOTATION}."
            raise Terminal(Reason.CONFLICT, message)
    for mark in marks:
        if claim.covers(mark) and mark.tenant == names.tenant:
            return replace(names, home=mark.home or mark.owner)
    message = f"No OpenBao namespace has a mark that names the uid and the cluster of the annotation {ADOPT_ANNOTATION} and this Tenant's name; correct the annotation, or take it off."
    raise Terminal(Reason.NAME_TAKEN, message)


def _marks(vault: Vault) -> list[Mark]:
    """Of all OpenBao namespaces that bear the name that goes with their mark."""
    names = [key.rstrip("/") for key in vault.list(VaultPath("", "sys/namespaces"))]
    marks = [(name, vault_mark(vault.read(VaultPath("", f"sys/namespaces/{name}")))) for name in names]
    return [mark for name, mark in marks if mark.owner and name == mark.vault_namespace]
