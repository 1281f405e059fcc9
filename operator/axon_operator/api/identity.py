"""A Tenant's identity section: its Keycloak realm."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from axon_operator.api.base import DNS_LABEL, ApiModel, CredentialRef, Duration, HostName, Port, cel, keyed

OWN_PROVIDER = "kubernetes"
"""Alias of the identity provider that stands for the cluster itself."""

_BUILT_IN_ROLES = ("offline_access", "uma_authorization", "admin", "create-realm")

RealmName = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_]*[A-Za-z0-9])?$", min_length=1, max_length=63)]
"""Name of a role or group: letters, digits, inner '-' and '_'."""


def _bounded(low: str, high: str) -> dict[str, Any]:
    return cel(
        f"duration(self) >= duration('{low}') && duration(self) <= duration('{high}')",
        f"must be between {low} and {high}",
    )


def _ordered(small: str, large: str) -> dict[str, Any]:
    return {
        "rule": f"!has(self.{small}) || !has(self.{large}) || duration(self.{small}) <= duration(self.{large})",
        "message": f"{small} is longer than {large}; lower the first or raise the second",
    }


def _mapped(field: str, known: str) -> dict[str, Any]:
    return {
        "rule": "!has(self.identityProviders) || self.identityProviders.all(p, !has(p.mappers)"
        f" || p.mappers.all(m, !has(m.{field})"
        f" || (has(self.{known}) && self.{known}.exists(known, known.name == m.{field}))))",
        "message": f"a mapper names a {field} that is not in {known}; add it there or change the mapper",
    }


class Sessions(ApiModel):
    """How long logins in the tenant's realm last."""

    model_config = ConfigDict(
        json_schema_extra={"x-kubernetes-validations": [_ordered("offlineIdleTimeout", "offlineMaxLifespan")]}
    )

    access_token_lifespan: Duration = Field(
        default="2m", description="Lifetime of an access token, 10s to 2m.", json_schema_extra=_bounded("10s", "2m")
    )
    idle_timeout: Duration = Field(
        default="30m",
        description="A session unused for this long ends, 1m to 24h.",
        json_schema_extra=_bounded("1m", "24h"),
    )
    max_lifespan: Duration = Field(
        default="10h",
        description="A session ends after this long in any case, 1m to 168h.",
        json_schema_extra=_bounded("1m", "168h"),
    )
    offline_idle_timeout: Duration | None = Field(
        default=None,
        description="The same as idleTimeout for offline sessions, 1m to 720h; as idleTimeout if not set.",
        json_schema_extra=_bounded("1m", "720h"),
    )
    offline_max_lifespan: Duration | None = Field(
        default=None,
        description="The same as maxLifespan for offline sessions, 1m to 2160h; as maxLifespan if not set.",
        json_schema_extra=_bounded("1m", "2160h"),
    )
    refresh_token_rotation: bool = Field(
        default=False,
        description=(
            "A refresh token can be used once only; a second use ends the session. Off, because programs that refresh"
            " in parallel lose their session that way."
        ),
    )


class BruteForce(ApiModel):
    """What happens after wrong passwords."""

    model_config = ConfigDict(json_schema_extra={"x-kubernetes-validations": [_ordered("waitIncrement", "maxWait")]})

    max_failures: Annotated[int, Field(ge=1, le=100)] = Field(
        default=5, description="Failures after which the user has to wait."
    )
    wait_increment: Duration = Field(
        default="1m",
        description="How much longer the wait becomes each time, 1s to 24h.",
        json_schema_extra=_bounded("1s", "24h"),
    )
    max_wait: Duration = Field(
        default="15m", description="The longest wait, 1s to 168h.", json_schema_extra=_bounded("1s", "168h")
    )
    reset_after: Duration = Field(
        default="12h",
        description="Failures are forgotten after this long, 1m to 720h.",
        json_schema_extra=_bounded("1m", "720h"),
    )
    permanent_lockout: bool = Field(
        default=False,
        description="Disable the user instead, until an administrator enables it. Whoever knows a name can then lock it out.",
    )


class PasswordPolicy(ApiModel):
    """What passwords must be like. Passwords of LDAP and of identity providers follow their own rules."""

    min_length: Annotated[int, Field(ge=8, le=128)] = Field(default=12, description="Least number of characters.")
    digits: Annotated[int, Field(ge=0, le=16)] = Field(default=0, description="Least number of digits.")
    upper_case: Annotated[int, Field(ge=0, le=16)] = Field(default=0, description="Least number of capital letters.")
    lower_case: Annotated[int, Field(ge=0, le=16)] = Field(default=0, description="Least number of small letters.")
    special_chars: Annotated[int, Field(ge=0, le=16)] = Field(default=0, description="Least number of other signs.")
    not_username: bool = Field(default=True, description="Must not be the user's name.")
    not_email: bool = Field(default=True, description="Must not be the user's e-mail address.")
    history: Annotated[int, Field(ge=0, le=24)] = Field(
        default=5, description="Number of former passwords that may not be taken again."
    )
    expire_days: Annotated[int, Field(ge=0, le=3650)] = Field(
        default=0, description="Days after which a new one must be chosen; 0: never."
    )


class Mfa(StrEnum):
    """Whether a second factor is asked for."""

    NONE = "None"
    REQUIRED = "Required"


class Role(ApiModel):
    """A role of the realm."""

    name: RealmName = Field(
        description="Name of the role, as it stands in tokens.",
        json_schema_extra=cel(
            f"!(self in {list(_BUILT_IN_ROLES)}) && !self.startsWith('default-roles-')",
            "this role is Keycloak's own; choose another name",
        ),
    )
    description: str = Field(default="", description="For people.", max_length=255)


class Group(ApiModel):
    """A group of the realm, at the top level."""

    name: RealmName = Field(description="Name of the group; in tokens with a slash before it.")
    roles: list[RealmName] = Field(
        default_factory=list, description="Roles that its members have; each must be in `roles`.", max_length=16
    )


UrlPath = Annotated[str, Field(pattern=r"^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?$", max_length=256)]
"""The path of an address; no query, no '..', no escapes."""


DistinguishedName = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z][A-Za-z0-9-]*=[A-Za-z0-9 ._@-]+(,[A-Za-z][A-Za-z0-9-]*=[A-Za-z0-9 ._@-]+)*$", max_length=512
    ),
]
"""A distinguished name such as ou=people,dc=acme,dc=example; no escapes."""

AttributeName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]*$", min_length=1, max_length=64)]
"""Name of an LDAP attribute or object class."""


class LdapTls(StrEnum):
    """How the connection is encrypted."""

    LDAPS = "LDAPS"
    START_TLS = "StartTLS"


class Ldap(ApiModel):
    """A directory whose users are the realm's; it is only read."""

    host: HostName = Field(description="Its host, which must be on the operator's list of allowed hosts.")
    port: Port = Field(default=636, description="Its port.")
    tls: LdapTls = Field(
        default=LdapTls.LDAPS, description="LDAPS from the first byte, or StartTLS; never unencrypted."
    )
    users_dn: DistinguishedName = Field(alias="usersDN", description="Below it are the users.")
    groups_dn: DistinguishedName | None = Field(
        default=None, alias="groupsDN", description="Below it are the groups; without it none are taken over."
    )
    bind_dn: DistinguishedName = Field(alias="bindDN", description="As whom Keycloak reads.")
    credential_secret_ref: CredentialRef = Field(description="Where that one's password is.")
    username_attribute: AttributeName = Field(default="uid", description="Holds the user's name.")
    uuid_attribute: AttributeName = Field(default="entryUUID", description="Holds the user's unchangeable id.")
    user_object_class: AttributeName = Field(default="inetOrgPerson", description="Object class of users.")
    group_object_class: AttributeName = Field(default="groupOfNames", description="Object class of groups.")
    member_attribute: AttributeName = Field(default="member", description="Holds the members' names in a group.")
    sync_interval: Duration = Field(
        default="1h",
        description="How often all users are compared, 5m to 168h.",
        json_schema_extra=_bounded("5m", "168h"),
    )


class Oidc(ApiModel):
    """An OpenID Connect provider; always https, and its tokens' signatures are checked."""

    host: HostName = Field(description="Its host, which must be on the operator's list of allowed hosts.")
    port: Port = Field(default=443, description="Its port.")
    issuer_path: UrlPath = Field(default="", description="Path of its issuer, for example /realms/corp.")
    authorization_path: UrlPath = Field(description="Path of its authorization endpoint.", min_length=1)
    token_path: UrlPath = Field(description="Path of its token endpoint.", min_length=1)
    keys_path: UrlPath = Field(description="Path of its keys (jwks_uri).", min_length=1)
    client_id: str = Field(
        alias="clientID",
        description="The id that it gave to this realm as its client.",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$",
        max_length=255,
    )
    credential_secret_ref: CredentialRef = Field(description="Where the secret of that client is.")


class Saml(ApiModel):
    """A SAML 2.0 provider; always https, and signed assertions are demanded."""

    host: HostName = Field(description="Its host, which must be on the operator's list of allowed hosts.")
    port: Port = Field(default=443, description="Its port.")
    sign_on_path: UrlPath = Field(description="Path of its single sign-on service.", min_length=1)
    entity_id: str = Field(
        alias="entityID",
        description="Its entity id.",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$",
        max_length=255,
    )
    signing_certificate: str = Field(
        description="The certificate with which it signs: base64 in one line, without BEGIN and END.",
        pattern=r"^[A-Za-z0-9+/]+={0,2}$",
        min_length=64,
        max_length=4096,
    )


class Mapper(ApiModel):
    """Whom a login through the provider makes a member of a group, or gives a role."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                {"rule": "has(self.group) != has(self.role)", "message": "name either a group or a role"},
                {
                    "rule": "has(self.claim) == has(self.value)",
                    "message": "claim and value belong together; leave both out to mean everyone",
                },
            ]
        }
    )

    group: RealmName | None = Field(default=None, description="A group of `groups`.")
    role: RealmName | None = Field(default=None, description="A role of `roles`.")
    claim: str | None = Field(
        default=None,
        description="Only who has this claim (SAML: attribute) in the provider's answer …",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$",
        max_length=255,
    )
    value: str | None = Field(
        default=None, description="… with this value.", pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@ -]*$", max_length=255
    )


class IdentityProvider(ApiModel):
    """A provider through which people can log in to the realm."""

    model_config = ConfigDict(
        json_schema_extra=cel("has(self.oidc) != has(self.saml)", "a provider speaks either oidc or saml; give one")
    )

    alias: str = Field(
        description="Its name in the realm and in the address to which it sends people back.",
        pattern=DNS_LABEL,
        max_length=40,
        json_schema_extra=cel(
            f"self != '{OWN_PROVIDER}'", f"{OWN_PROVIDER} stands for the cluster; choose another alias"
        ),
    )
    display_name: str | None = Field(
        default=None, description="Its name on the login page.", min_length=1, max_length=64
    )
    oidc: Oidc | None = Field(default=None, description="It speaks OpenID Connect.")
    saml: Saml | None = Field(default=None, description="It speaks SAML 2.0.")
    mappers: list[Mapper] = Field(
        default_factory=list, description="What its users become here, decided anew at each login.", max_length=32
    )


Time = Annotated[
    str, Field(pattern=r"^[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]Z$", max_length=32)
]
"""A point in time, UTC."""

EVERYBODY = "*"
"""Instead of a username in a logout."""


class Logout(ApiModel):
    """Sessions that are to end now."""

    user: str = Field(
        description="Username in the realm, or * for everybody.",
        min_length=1,
        max_length=255,
        pattern=r"^[^\x00-\x1f\x7f]+$",
    )
    trigger: str = Field(
        description="Any new value ends the sessions once more, for example the time.",
        min_length=1,
        max_length=64,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9:._+-]*$",
    )


class LogoutStatus(ApiModel):
    """Sessions that were ended."""

    user: str = Field(description="As in the spec.", max_length=255)
    trigger: str = Field(description="The trigger that this answers.", max_length=64)
    subject: str | None = Field(default=None, description="The user's id in the realm.", max_length=64)
    ended_at: Time = Field(description="When nothing was left of the sessions.")
    readmitted_at: Time | None = Field(
        default=None,
        description="When OpenBao began to accept logins again: behind the end of the last access token of before.",
    )


class Identity(ApiModel):
    """The tenant's Keycloak realm."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "!has(self.groups) || self.groups.all(g, !has(g.roles)"
                    " || g.roles.all(r, has(self.roles) && self.roles.exists(known, known.name == r)))",
                    "message": "a group has a role that is not in roles; add it there or remove it from the group",
                },
                _mapped("group", "groups"),
                _mapped("role", "roles"),
            ]
        }
    )

    sessions: Sessions = Field(default_factory=Sessions, description="How long logins last.")
    brute_force: BruteForce = Field(default_factory=BruteForce, description="What happens after wrong passwords.")
    password_policy: PasswordPolicy = Field(default_factory=PasswordPolicy, description="What passwords must be like.")
    mfa: Mfa = Field(
        default=Mfa.REQUIRED,
        description=(
            "Required: everyone who logs in with a password also needs a one-time code, and sets that up at the next"
            " login. None: only who has set one up. For users of an identity provider, its own rules count after"
            " their first login."
        ),
    )
    roles: list[Role] = Field(
        default_factory=list,
        description="Roles of the realm. One that leaves the list is deleted.",
        max_length=64,
        json_schema_extra=keyed("name"),
    )
    groups: list[Group] = Field(
        default_factory=list,
        description="Groups of the realm. One that leaves the list is deleted; its members stay.",
        max_length=64,
        json_schema_extra=keyed("name"),
    )
    ldap: Ldap | None = Field(default=None, description="A directory whose users are the realm's.")
    identity_providers: list[IdentityProvider] = Field(
        default_factory=list,
        description="Providers through which people can log in. One that leaves the list is deleted.",
        max_length=8,
        json_schema_extra=keyed("alias"),
    )
    logout: list[Logout] = Field(
        default_factory=list,
        description="Forced logouts: ends sessions in Keycloak, offline sessions too, and logins to OpenBao.",
        max_length=32,
        json_schema_extra=cel(
            "self.all(x, self.exists_one(y, y.user.lowerAscii() == x.user.lowerAscii()))",
            "one entry for each user; change its trigger instead",
        ),
    )
