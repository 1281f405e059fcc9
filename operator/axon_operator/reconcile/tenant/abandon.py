"""Deletions that an administrator lets end without OpenBao or Keycloak."""

from dataclasses import dataclass, replace
from typing import Final

from axon_operator.domain.names import ABANDON_ANNOTATION, TenantNames
from axon_operator.domain.resources import Manifest, RealmPath
from axon_operator.domain.tenant.vault import namespace_path
from axon_operator.reconcile.engine.plan import RealmAbandon, Stage, System, VaultAbandon

_WORDS: Final = {System.OPENBAO: "OpenBao", System.KEYCLOAK: "Keycloak"}
"""The systems that can be given up, and what people call them."""


@dataclass(frozen=True, slots=True)
class Abandoned:
    """What the annotation says."""

    systems: frozenset[System] = frozenset()
    unknown: bool = False
    """It names something that is none of them."""


def abandoned(live: Manifest) -> Abandoned:
    """Reads the annotation of a Tenant: names of systems, with commas between them."""
    text = (live["metadata"].get("annotations") or {}).get(ABANDON_ANNOTATION, "")
    words = {word.strip() for word in text.split(",")} - {""}
    return Abandoned(frozenset(system for system in _WORDS if system in words), bool(words - set(_WORDS)))


def abandonable(stage: Stage, system: System, names: TenantNames, said: Abandoned) -> Stage:
    """The stage of a teardown, given up if it fails and the administrator has said so, else with how to say so."""
    if system in said.systems:
        vault, realm = VaultAbandon(namespace_path(names)), RealmAbandon(RealmPath(names.realm))
        return replace(stage, abandons=vault if system is System.OPENBAO else realm)
    value = ",".join(sorted({*said.systems, system}))
    remedy = f"To delete without {_WORDS[system]}, set the Tenant's annotation {ABANDON_ANNOTATION} to {value}."
    if said.unknown:
        remedy += " What it says now names something else than openbao and keycloak."
    return replace(stage, remedy=remedy)
