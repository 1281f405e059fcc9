"""What a binding becomes in OpenBao, and how the sidecar fetches it: one function for each question.

For the sources that are made for a binding (accounts, certificates, generated values), each generation is an **issue**
with a name of its own, so that one can be taken back while the next is served. Of an account that OpenBao keeps there is
only one password for all; there an issue is a note that a binding's pods were given it, and goes when it was changed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.resources import files
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from axon_operator.api.secretbinding import Charset, SecretBindingSpec, Source
from axon_operator.domain import binding as bindings
from axon_operator.domain.agent import CredentialFile, Folder, templates
from axon_operator.domain.agent.templates import Fetch
from axon_operator.domain.binding import Binding, Surroundings, database_of, fixed_keys, located, wanted_keys
from axon_operator.domain.names import (
    ACCOUNTS,
    DATABASE_MOUNT,
    GENERATED,
    KV_MOUNT,
    PKI_MOUNT,
    TRANSIT_MOUNT,
    RuntimeNames,
    TenantNames,
)
from axon_operator.domain.proxy import Route, secret_template
from axon_operator.domain.resources import VaultPath, VaultResource
from axon_operator.domain.rotation import Generation
from axon_operator.domain.tenant.databases import KEPT
from axon_operator.domain.tenant.vault import AUTHORITY
from axon_operator.domain.values import seconds

CREDENTIAL_MODE: Final = "0440"


class Engine(StrEnum):
    """In which engine of OpenBao an issue is."""

    DATABASE = "database"
    PKI = "pki"
    GENERATED = "generated"
    KEPT = "kept"
    """Accounts of databases whose passwords OpenBao keeps: who was given them is noted in the KV store."""

    @property
    def folder(self) -> str:
        """Where its name is listed, and what it hangs on: deleted last."""
        return _FOLDERS[self]

    @property
    def behind(self) -> int:
        """Parts of its issues' names before that of the runtime: a database's connection, and an account's role."""
        return {Engine.DATABASE: 1, Engine.KEPT: 2}.get(self, 0)

    @property
    def leases(self) -> str:
        """The prefix of its leases; empty if it gives none."""
        return {Engine.DATABASE: f"{DATABASE_MOUNT}/creds", Engine.PKI: f"{PKI_MOUNT}/issue"}.get(self, "")

    @property
    def lookup(self) -> str:
        """Where OpenBao lists by which issues it has given something that is still good."""
        return f"sys/leases/lookup/{self.leases}"


_FOLDERS: Final = {
    Engine.DATABASE: f"{DATABASE_MOUNT}/roles",
    Engine.PKI: f"{PKI_MOUNT}/roles",
    Engine.GENERATED: f"{KV_MOUNT}/metadata/{GENERATED}",
    Engine.KEPT: f"{KV_MOUNT}/metadata/{ACCOUNTS}",
}


def engines_of(source: Source) -> tuple[Engine, ...]:
    """Where there can be issues of a source, whatever the Tenant says of its role; none if its owner keeps it."""
    if source.database:
        return (Engine.DATABASE, Engine.KEPT)
    if source.pki:
        return (Engine.PKI,)
    return (Engine.GENERATED,) if source.generated else ()


def is_of(engine: Engine, name: str, names: RuntimeNames) -> bool:
    """Whether a name that an engine lists is of an issue of this runtime; that of a database has its connection first."""
    return name.split(".", engine.behind)[-1].startswith(names.issues)


def numbers(listed: Iterable[str], series: str) -> list[int]:
    """The generations in a list of names that are of one binding."""
    ends = (name.rpartition(series) for name in listed)
    return [int(end) for _, found, end in ends if found and end.isdecimal()]


@dataclass(frozen=True, slots=True)
class Issued:
    """A binding that is delivered, with all that its credential depends on."""

    binding: Binding
    generation: Generation
    around: Surroundings
    kv_path: str
    """Below the KV mount; of an account that OpenBao keeps its whole path; empty for a source that nobody else keeps."""
    version: int
    """Of that secret; 0 if it is not known or there is none."""

    @property
    def spec(self) -> SecretBindingSpec:
        """Of the binding."""
        return self.binding.spec

    @property
    def engine(self) -> Engine | None:
        """None for a source that is handed on as its owner keeps it."""
        if self.account:
            return Engine.KEPT
        return next(iter(engines_of(self.spec.source)), None)

    @property
    def account(self) -> str:
        """The name under which OpenBao keeps the account; empty for another source."""
        folder, _, name = self.kv_path.rpartition("/")
        return name if folder == KEPT else ""

    @property
    def name(self) -> str:
        """Of the issue, as it stands in OpenBao; for a database its connection comes first."""
        issue = self.around.names.issue(self.binding.name, self.binding.uid, self.generation.number)
        if self.account:
            return f"{self.account}.{issue}"
        return f"{self.spec.source.database.connection}.{issue}" if self.spec.source.database else issue

    @property
    def spiffe_id(self) -> str:
        """The identity of the runtime's pods."""
        return f"spiffe://{self.around.trust_domain}/tenant/{self.around.tenant.tenant}/runtime/{self.around.names.runtime}"


def rules(issued: Issued, name: str) -> tuple[str, ...]:
    """What the runtime's policy allows for it; `name`: of the issue, which may be an earlier one than the current."""
    source = issued.spec.source
    if issued.account:
        return (_rule(f"{_PASSWORDS}/{issued.account}", "read"),)
    if source.database:
        # without the renewal of its own leases, which end all the same, the agent makes accounts without pause (measured)
        return (_rule(f"{DATABASE_MOUNT}/creds/{name}", "read"), _rule("sys/leases/renew", "update"))
    if source.pki:
        return (_rule(f"{PKI_MOUNT}/issue/{name}", "update"),)
    if source.generated:
        return (_rule(f"{KV_MOUNT}/data/{GENERATED}/{name}", "read"),)
    decrypt = (_rule(f"{TRANSIT_MOUNT}/decrypt/{issued.around.names.principal}", "update"),) if source.grant else ()
    return (_rule(f"{KV_MOUNT}/data/{issued.kv_path}", "read"), *decrypt)


_PASSWORDS: Final = f"{DATABASE_MOUNT}/static-creds"
"""Where those are read that OpenBao keeps."""


def _rule(path: str, capability: str) -> str:
    return f'path "{path}" {{ capabilities = ["{capability}"] }}'


def fetch(issued: Issued) -> Fetch:
    """How the sidecar fetches it."""
    source, keys = issued.spec.source, wanted_keys(issued.spec)
    if source.database and (found := database_of(source, issued.around.databases)):
        database, _ = found
        if issued.account:
            where = (database.host, database.port, database.database)
            return templates.kept_account(f"{_PASSWORDS}/{issued.account}", issued.version, *where)
        return templates.account(issued.name, database.host, database.port, database.database)
    if source.pki:
        return templates.certificate(issued.name, issued.spiffe_id)
    if source.generated:
        return templates.kv(f"{GENERATED}/{issued.name}", ())
    if source.grant:
        context = issued.around.consent.context(source.grant)
        return templates.grant(issued.kv_path, issued.around.names.principal, context, keys)
    return templates.kv(issued.kv_path, keys)


def route(issued: Issued) -> Route | None:
    """Where the proxy sends it; None for another delivery."""
    to = issued.spec.delivery.proxy
    if to is None:
        return None
    # the same through all generations
    origin = f"{issued.kv_path or issued.name.rpartition('.')[0]}#{to.key}"
    return Route(issued.binding.name, to.host, to.port, to.local_port, to.header, to.prefix, origin)


def credential_file(issued: Issued) -> CredentialFile:
    """The file that the sidecar publishes for it."""
    delivery, found = issued.spec.delivery, fetch(issued)
    lease = f"{found.opening}{{{{ .LeaseDuration }}}}{found.closing}" if found.leased else ""
    if delivery.file:
        # a generated value is the one that there is, so it can be written raw
        keys = fixed_keys(issued.spec.source) if issued.spec.source.generated else found.keys
        text = templates.file_text(delivery.file, keys)
        return CredentialFile(Folder.SECRETS, delivery.file.path, found.around(text), delivery.file.mode, lease)
    if delivery.env:
        text = templates.env_text(delivery.env)
        return CredentialFile(Folder.ENV, issued.binding.name, found.around(text), CREDENTIAL_MODE, lease)
    if delivery.proxy and (through := route(issued)):
        text = secret_template(through, f'index $d "{delivery.proxy.key}"')
        return CredentialFile(Folder.PROXY, through.file, found.around(text), CREDENTIAL_MODE, lease)
    raise ValueError("the CRD schema guarantees one delivery")


def resources(issued: Iterable[Issued]) -> tuple[VaultResource, ...]:
    """What must stand in OpenBao before the runtime's policy names it."""
    found = (r for i in issued for r in _resources(i))
    return tuple({r.at: r for r in found}.values())


def _resources(issued: Issued) -> tuple[VaultResource, ...]:
    source = issued.spec.source
    if source.database and not issued.account:
        return (_database_role(issued),)
    if source.pki:
        return (VaultResource(_at(issued, f"{PKI_MOUNT}/roles/{issued.name}"), _certificates(issued)),)
    if source.generated:
        charset, length = source.generated.charset, source.generated.length
        at = _at(issued, f"sys/policies/password/{password_policy(charset, length)}")
        return (VaultResource(at, {"policy": _password_policy(charset, length)}),)
    return ()


def _database_role(issued: Issued) -> VaultResource:
    """Accounts that are members of the roles that the Tenant names, and nothing else."""
    found = database_of(issued.spec.source, issued.around.databases)
    connection, members = (found[0].name, found[1].member_of or ()) if found else ("", [])
    ttl = seconds(issued.spec.ttl)
    body = {
        "db_name": connection,
        "creation_statements": "CREATE ROLE \"{{name}}\" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'"
        f" IN ROLE {', '.join(_quoted(name) for name in members)}",
        "revocation_statements": _REVOCATION,
        "default_ttl": ttl,
        "max_ttl": ttl,
    }
    return VaultResource(_at(issued, f"{DATABASE_MOUNT}/roles/{issued.name}"), body)


def _quoted(name: str) -> str:
    return f'"{name}"'


_REVOCATION: Final = files(__package__).joinpath("revocation.sql").read_text()
"""Ends sessions and takes all rights with no more than CREATEROLE; the plugin's own needs a superuser, and lives on
without one (measured)."""


def as_written(at: VaultPath, live: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """A resource in the form in which it is written; OpenBao shows statements as lists, without the line's end."""
    if live is None or not at.path.startswith(f"{DATABASE_MOUNT}/roles/"):
        return live
    planned = {"creation_statements": "", "revocation_statements": "\n"}
    texts = {name: live.get(name) or [] for name in planned}
    return {**live, **{n: t[0] + planned[n] if len(t) == 1 else t for n, t in texts.items()}}


def _certificates(issued: Issued) -> dict[str, Any]:
    """Which certificates there are: for the runtime's SPIFFE id, and no other name."""
    ttl = seconds(issued.spec.ttl)
    return {
        "issuer_ref": AUTHORITY,
        # each certificate is a lease: revoked by the name of the issue, without that a serial number is kept
        "generate_lease": True,
        "no_store": False,
        "allowed_uri_sans_template": False,
        "allowed_uri_sans": [issued.spiffe_id],
        "allowed_domains": [],
        "allow_any_name": False,
        "allow_localhost": False,
        "allow_bare_domains": False,
        "allow_subdomains": False,
        "allow_glob_domains": False,
        "allow_wildcard_certificates": False,
        "allow_ip_sans": False,
        "allowed_other_sans": [],
        "allowed_user_ids": [],
        "allowed_serial_numbers": [],
        "require_cn": False,
        # of the names that are allowed there is none, so a common name cannot be one either
        "cn_validations": ["email", "hostname"],
        "key_type": "ec",
        "key_bits": 256,
        "key_usage": ["DigitalSignature"],
        "ext_key_usage": ["ServerAuth", "ClientAuth"],
        "server_flag": True,
        "client_flag": True,
        "code_signing_flag": False,
        "email_protection_flag": False,
        "basic_constraints_valid_for_non_ca": True,
        "ttl": ttl,
        "max_ttl": ttl,
        # else whoever asks may name any day, whatever max_ttl says
        "not_after_bound": "forbid",
        "not_before_bound": "forbid",
    }


def password_policy(charset: Charset, length: int) -> str:
    """Name of the policy by which OpenBao generates a value."""
    return f"axon-{charset.lower()}-{length}"


_CHARSETS: Final[Mapping[Charset, str]] = {
    Charset.ALPHANUMERIC: "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
    Charset.PRINTABLE: "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~",
}


def _password_policy(charset: Charset, length: int) -> str:
    return f'length = {length}\nrule "charset" {{\n  charset = "{_CHARSETS[charset]}"\n}}\n'


def _at(issued: Issued, path: str) -> VaultPath:
    return VaultPath(issued.around.tenant.vault_namespace, path)


def generated_at(tenant: TenantNames, name: str, what: str = "data") -> VaultPath:
    """Where a generated value is written (`data`), and what tells of it (`metadata`)."""
    return VaultPath(tenant.vault_namespace, f"{KV_MOUNT}/{what}/{GENERATED}/{name}")


def note(issued: Issued) -> VaultResource:
    """That the binding's pods are given the password of an account which OpenBao keeps; it holds nothing secret."""
    at = _at(issued, f"{KV_MOUNT}/data/{ACCOUNTS}/{issued.name}")
    return VaultResource(at, {"data": {"account": issued.account}, "options": {"cas": 0}})


def account_of(name: str) -> str:
    """Of a note: the name under which OpenBao keeps the account."""
    return ".".join(name.split(".", Engine.KEPT.behind)[: Engine.KEPT.behind])


def is_given(policy: str, engine: Engine, name: str) -> bool:
    """Whether a policy lets what stands under the name of an issue be fetched."""
    return f'/{account_of(name) if engine is Engine.KEPT else name}"' in policy


def policy_path(issued: Issued) -> VaultPath:
    """Where OpenBao generates the value of a `generated` source."""
    source = issued.spec.source.generated
    name = password_policy(source.charset, source.length) if source else ""
    return _at(issued, f"sys/policies/password/{name}/generate")


def issued(
    ready: Iterable[Binding], generations: Mapping[str, Generation], found: bindings.Found, around: Surroundings
) -> tuple[Issued, ...]:
    """The bindings that are delivered, with what their credentials depend on."""

    def of(binding: Binding) -> Issued:
        path = located(binding.spec.source, around, found)
        secret = found.get(path) if path else None
        return Issued(binding, generations[binding.name], around, path or "", secret.version if secret else 0)

    return tuple(of(binding) for binding in ready)


@dataclass(frozen=True, slots=True)
class ToldBinding:
    """What the runtime's ConfigMap tells of a binding that is delivered."""

    generation: Generation
    kv: str = ""
    version: int = 0


@dataclass(frozen=True, slots=True)
class Told:
    """What the runtime's ConfigMap tells the next pass, and those of the bindings."""

    bindings: dict[str, ToldBinding] = field(default_factory=dict)
    """By name, those that are delivered."""
    engines: tuple[Engine, ...] = ()
    """Those that may hold something of the runtime."""
    asks: bool = False
    """Users are told of the runtime, because a binding asks for something of theirs."""

    @property
    def generations(self) -> dict[str, Generation]:
        """The generations that are current, by the names of their bindings."""
        return {name: told.generation for name, told in self.bindings.items()}

    @property
    def secrets(self) -> dict[str, tuple[str, int]]:
        """Where in the KV store the secrets are that are kept there, and their versions, by the names of bindings."""
        return {name: (told.kv, told.version) for name, told in self.bindings.items() if told.kv}

    def to_json(self) -> str:
        """As it stands in the ConfigMap."""
        return _TOLD.dump_json(self).decode()


_TOLD: Final = TypeAdapter(Told)
_UNTOLD: Final = Told(engines=tuple(Engine))


def read_told(text: str | None) -> Told:
    """What stands in the ConfigMap. If it is not there, or makes no sense, anything may be anywhere."""
    try:
        return _TOLD.validate_json(text) if text else _UNTOLD
    except ValidationError:
        return _UNTOLD


def told(delivered: Sequence[Issued], engines: Iterable[Engine], *, asks: bool = False) -> Told:
    """What the ConfigMap is to tell; `engines`: those that still hold anything of the runtime."""
    # in an order of its own: that in which bindings are found is no change
    known = {
        i.binding.name: ToldBinding(i.generation, i.kv_path, i.version)
        for i in sorted(delivered, key=lambda i: i.binding.name)
    }
    used = {i.engine for i in delivered if i.engine} | set(engines)
    return Told(known, tuple(sorted(used, key=lambda e: e.name)), asks)
