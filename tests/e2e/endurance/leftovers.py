"""What there is of runtimes and bindings in OpenBao and in the database."""

from collections.abc import Callable
from typing import Final

from e2e.support.house import House


def left(house: House, kind: str) -> list[str]:
    """Names of all of a kind that a tenant has."""
    return KINDS[kind](house)


def _listed(folder: str, beginning: str = "") -> Callable[[House], list[str]]:
    def names(house: House) -> list[str]:
        return [n for n in house.cluster.openbao.names(house.vault, folder) if n.startswith(beginning)]

    return names


def _logins_of_runtimes(house: House) -> list[str]:
    """Names by which OpenBao knows who has logged in: aliases of the mount of runtimes, or of one that is gone."""
    listed = house.cluster.openbao.admin("LIST", "identity/entity-alias/id", namespace=house.vault)
    known: dict[str, dict[str, str]] = listed["data"]["key_info"] if listed else {}
    return sorted(entry["name"] for entry in known.values() if entry.get("mount_path") != "auth/keycloak/")


def _nameless_entities(house: House) -> list[str]:
    """Entities that stand for nobody."""
    listed = house.cluster.openbao.admin("LIST", "identity/entity/id", namespace=house.vault)
    known: dict[str, dict[str, object]] = listed["data"]["key_info"] if listed else {}
    return sorted(str(entry["name"]) for entry in known.values() if not entry.get("aliases"))


KINDS: Final[dict[str, Callable[[House], list[str]]]] = {
    "leases of accounts": _listed("sys/leases/lookup/database/creds"),
    "leases of certificates": _listed("sys/leases/lookup/pki/issue"),
    "logins of runtimes": _listed("sys/leases/lookup/auth/k8s/login"),
    "roles of the database engine": _listed("database/roles"),
    "accounts in PostgreSQL": lambda house: sorted(house.database.accounts(house.tenant)),
    "roles of the certificate authority": _listed("pki/roles"),
    "generated values": _listed("kv/metadata/generated"),
    "policies of runtimes": _listed("sys/policies/acl", "rt-"),
    "login roles of runtimes": _listed("auth/k8s/role"),
    "keys of runtimes": _listed("transit/keys", "rt-"),
    "entries of runtimes for users": _listed("kv/metadata/runtimes"),
    "grants": _listed("kv/metadata/grants"),
    "records of pods": _listed("runtime-status"),
    "aliases of runtimes": _logins_of_runtimes,
    "entities without an alias": _nameless_entities,
}
