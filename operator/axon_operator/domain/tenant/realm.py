"""The tenant's Keycloak realm."""

import json
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Final

from axon_operator.api.identity import (
    OWN_PROVIDER,
    Group,
    Identity,
    IdentityProvider,
    Ldap,
    LdapTls,
    Mapper,
    Mfa,
    Oidc,
    PasswordPolicy,
    Role,
    Saml,
)
from axon_operator.api.tenant import TenantSpec
from axon_operator.domain.credential import Credential
from axon_operator.domain.names import (
    ORGANIZATION_MARK,
    REALM_CLUSTER_ATTRIBUTE,
    REALM_OWNER_ATTRIBUTE,
    REALM_POLICY_ATTRIBUTE,
    USERS_CLIENT,
    TenantNames,
)
from axon_operator.domain.platform import Platform
from axon_operator.domain.resources import RealmPath, RealmResource
from axon_operator.domain.values import seconds

KUBERNETES_IDP = OWN_PROVIDER
OTP_ACTION: Final = "CONFIGURE_TOTP"
"""Keycloak's required action in which a user sets up one-time codes."""

_POLICY: Final = "axon"
"""Name of the client policy and of its profile."""
_REDIRECT: Final = "http://127.0.0.1/callback"
"""Of a program on the user's own machine; Keycloak accepts any port there (RFC 8252)."""


def realm(names: TenantNames, spec: TenantSpec, cluster: str) -> RealmResource:
    """The realm; `cluster`: in which its Tenant is. Every field is spelled out, so that drift in any of them is seen."""
    body = {
        "realm": names.realm,
        "enabled": not spec.suspended,
        "displayName": spec.display_name or names.tenant,
        "sslRequired": "all",
        "registrationAllowed": False,
        "resetPasswordAllowed": False,
        "editUsernameAllowed": False,
        "rememberMe": False,
        "browserFlow": "browser",
        "directGrantFlow": "direct grant",
        "attributes": marks(names, spec, cluster),
        **_sessions(spec.identity),
        **_wrong_passwords(spec.identity),
        "passwordPolicy": password_policy(spec.identity.password_policy),
        **_EVENTS,
    }
    return RealmResource(RealmPath(names.realm), RealmPath(""), body)


def marks(names: TenantNames, spec: TenantSpec, cluster: str) -> dict[str, str]:
    """Whose the realm is, and what becomes of it with its Tenant."""
    organization = {ORGANIZATION_MARK: spec.organization_id} if spec.organization_id else {}
    return {
        REALM_OWNER_ATTRIBUTE: names.uid,
        REALM_CLUSTER_ATTRIBUTE: cluster,
        REALM_POLICY_ATTRIBUTE: spec.deletion_policy.value,
        **organization,
    }


def _sessions(identity: Identity) -> dict[str, Any]:
    sessions = identity.sessions
    return {
        "accessTokenLifespan": seconds(sessions.access_token_lifespan),
        "ssoSessionIdleTimeout": seconds(sessions.idle_timeout),
        "ssoSessionMaxLifespan": seconds(sessions.max_lifespan),
        "offlineSessionIdleTimeout": seconds(sessions.offline_idle_timeout or sessions.idle_timeout),
        "offlineSessionMaxLifespanEnabled": True,
        "offlineSessionMaxLifespan": seconds(sessions.offline_max_lifespan or sessions.max_lifespan),
        # 0: as the session that they belong to
        "clientSessionIdleTimeout": 0,
        "clientSessionMaxLifespan": 0,
        "clientOfflineSessionIdleTimeout": 0,
        "clientOfflineSessionMaxLifespan": 0,
        "revokeRefreshToken": sessions.refresh_token_rotation,
        "refreshTokenMaxReuse": 0,
        "oauth2DeviceCodeLifespan": 600,
        "oauth2DevicePollingInterval": 5,
    }


def _wrong_passwords(identity: Identity) -> dict[str, Any]:
    rules = identity.brute_force
    return {
        "bruteForceProtected": True,
        "bruteForceStrategy": "MULTIPLE",
        "permanentLockout": rules.permanent_lockout,
        "maxTemporaryLockouts": 0,
        "failureFactor": rules.max_failures,
        "waitIncrementSeconds": seconds(rules.wait_increment),
        "maxFailureWaitSeconds": seconds(rules.max_wait),
        "maxDeltaTimeSeconds": seconds(rules.reset_after),
        "quickLoginCheckMilliSeconds": 1000,
        "minimumQuickLoginWaitSeconds": 60,
        "otpPolicyType": "totp",
        "otpPolicyAlgorithm": "HmacSHA1",
        "otpPolicyDigits": 6,
        "otpPolicyPeriod": 30,
        "otpPolicyLookAheadWindow": 1,
        "otpPolicyCodeReusable": False,
    }


_EVENTS: Final[Mapping[str, Any]] = {
    "eventsEnabled": True,
    "eventsExpiration": 30 * 24 * 3600,
    "eventsListeners": ["jboss-logging"],
    # none named: all
    "enabledEventTypes": [],
    "adminEventsEnabled": True,
    "adminEventsDetailsEnabled": True,
}


def password_policy(rules: PasswordPolicy) -> str:
    """In Keycloak's words. What is not asked for is left out."""
    numbers = {
        "length": rules.min_length,
        "digits": rules.digits,
        "upperCase": rules.upper_case,
        "lowerCase": rules.lower_case,
        "specialChars": rules.special_chars,
        "passwordHistory": rules.history,
        "forceExpiredPasswordChange": rules.expire_days,
    }
    flags = {"notUsername": rules.not_username, "notEmail": rules.not_email}
    return " and ".join(
        [
            *(f"{name}({number})" for name, number in numbers.items() if number),
            *(f"{name}(undefined)" for name, wanted in flags.items() if wanted),
        ]
    )


def contents(names: TenantNames, platform: Platform) -> tuple[RealmResource, ...]:
    """What stands in every realm under a name that is known: trust in the cluster's tokens, the users' client."""
    return (own_provider(names, platform), users_client(names))


def own_provider(names: TenantNames, platform: Platform) -> RealmResource:
    """Trust in the cluster's service-account tokens."""
    instances = RealmPath(names.realm, ("identity-provider", "instances"))
    body = {
        "alias": KUBERNETES_IDP,
        "providerId": "kubernetes",
        "enabled": True,
        "config": {"issuer": platform.issuer},
    }
    return RealmResource(RealmPath(names.realm, (*instances.segments, KUBERNETES_IDP)), instances, body)


def users_client(names: TenantNames) -> RealmResource:
    """The client with which people log in to OpenBao from a program of their own: no secret, so PKCE or a device code."""
    ident = _ident(names, "client", USERS_CLIENT)
    body = {
        "id": ident,
        "clientId": USERS_CLIENT,
        "name": "OpenBao",
        "enabled": True,
        "protocol": "openid-connect",
        "publicClient": True,
        "bearerOnly": False,
        "consentRequired": False,
        "standardFlowEnabled": True,
        "implicitFlowEnabled": False,
        "directAccessGrantsEnabled": False,
        "serviceAccountsEnabled": False,
        "fullScopeAllowed": False,
        "redirectUris": [_REDIRECT],
        "webOrigins": [],
        # without the scope `basic` a token has no `sub`
        "defaultClientScopes": ["basic"],
        "optionalClientScopes": [],
        "attributes": {
            "pkce.code.challenge.method": "S256",
            "oauth2.device.authorization.grant.enabled": "true",
            # its own would count in place of the realm's, by which a forced logout reckons
            "access.token.lifespan": "",
        },
        "protocolMappers": [_mapper(names, *mapper) for mapper in _USERS_CLAIMS],
    }
    return RealmResource(RealmPath(names.realm, ("clients", ident)), RealmPath(names.realm, ("clients",)), body)


_USERS_CLAIMS: Final = (
    ("audience", "oidc-audience-mapper", {"included.custom.audience": USERS_CLIENT}),
    ("groups", "oidc-group-membership-mapper", {"claim.name": "groups", "full.path": "true"}),
    (
        "roles",
        "oidc-usermodel-realm-role-mapper",
        {"claim.name": "roles", "jsonType.label": "String", "multivalued": "true"},
    ),
)
"""Name, mapper and settings, in the order of their names."""


def _mapper(names: TenantNames, name: str, mapper: str, settings: Mapping[str, str]) -> dict[str, Any]:
    """In the access token only: an ID token must not pass for one."""
    only_access = {"access.token.claim": "true", "id.token.claim": "false", "userinfo.token.claim": "false"}
    return {
        "id": _ident(names, "mapper", name),
        "name": name,
        "protocol": "openid-connect",
        "protocolMapper": mapper,
        "config": {**settings, **only_access},
    }


CLIENT_PROFILES: Final = ("client-policies", "profiles")
CLIENT_POLICIES: Final = ("client-policies", "policies")


def client_profile() -> dict[str, Any]:
    """What every client must keep to, whoever makes it."""
    redirects = {
        "allow-wildcard-context-path": False,
        "allow-ipv4-loopback-address": True,
        "allow-ipv6-loopback-address": True,
        # together: http to a loopback address only (measured)
        "allow-http-scheme": True,
        "oauth-2-1-compliant": True,
        "allow-private-use-uri-scheme": False,
        "allow-open-redirect": False,
        "allow-permitted-domains": [],
    }
    executors = [
        {"executor": "pkce-enforcer", "configuration": {"auto-configure": True}},
        {"executor": "reject-implicit-grant", "configuration": {"auto-configure": True}},
        # a password sent to a client passes by the second factor
        {"executor": "reject-ropc-grant", "configuration": {"auto-configure": True}},
        {"executor": "secure-redirect-uris-enforcer", "configuration": redirects},
    ]
    return {"name": _POLICY, "description": "Made by axon-operator.", "executors": executors}


def client_policy() -> dict[str, Any]:
    """Applies the profile to all clients."""
    everyone = {"condition": "any-client", "configuration": {"is-negative-logic": False}}
    return {
        "name": _POLICY,
        "description": "Made by axon-operator.",
        "enabled": True,
        "conditions": [everyone],
        "profiles": [_POLICY],
    }


def otp_action(names: TenantNames, mfa: Mfa) -> RealmResource:
    """Whether new users have to set up one-time codes."""
    actions = RealmPath(names.realm, ("authentication", "required-actions"))
    body = {
        "alias": OTP_ACTION,
        "name": "Configure OTP",
        "enabled": True,
        "defaultAction": mfa is Mfa.REQUIRED,
    }
    return RealmResource(RealmPath(names.realm, (*actions.segments, OTP_ACTION)), actions, body)


BROWSER_FLOW: Final = ("authentication", "flows", "browser", "executions")

_SECOND_FACTOR: Final[Mapping[Mfa, Mapping[str, str]]] = {
    Mfa.NONE: {"Browser - Conditional 2FA": "CONDITIONAL", "OTP Form": "ALTERNATIVE"},
    # who has no code yet is led to set it up, also users from before (measured: an alternative form is an error then)
    Mfa.REQUIRED: {"Browser - Conditional 2FA": "REQUIRED", "OTP Form": "REQUIRED"},
}


def second_factor(mfa: Mfa) -> Mapping[str, str]:
    """Of Keycloak's own browser flow: display name of a step -> its requirement."""
    return _SECOND_FACTOR[mfa]


def role(names: TenantNames, wanted: Role) -> RealmResource:
    """A role."""
    roles = RealmPath(names.realm, ("roles",))
    body = {"name": wanted.name, "description": wanted.description, "attributes": owner(names)}
    return RealmResource(RealmPath(names.realm, (*roles.segments, wanted.name)), roles, body)


def group(names: TenantNames, wanted: Group, ident: str = "") -> RealmResource:
    """A group; `ident` is the one that Keycloak gave it."""
    groups = RealmPath(names.realm, ("groups",))
    body = {"name": wanted.name, "attributes": owner(names)}
    return RealmResource(RealmPath(names.realm, (*groups.segments, ident or wanted.name)), groups, body)


def owner(names: TenantNames) -> dict[str, list[str]]:
    """The mark of roles and groups."""
    return {REALM_OWNER_ATTRIBUTE: [names.uid]}


def whole(names: TenantNames, spec: TenantSpec, cluster: str, platform: Platform) -> RealmResource:
    """The realm with all that can be made together with it, in one request: it is there as planned, or not at all."""
    planned, client = realm(names, spec, cluster), users_client(names)
    identity = spec.identity
    inside = {
        "clientProfiles": {"profiles": [client_profile()]},
        "clientPolicies": {"policies": [client_policy()]},
        "identityProviders": [dict(own_provider(names, platform).body)],
        "clients": [dict(client.body)],
        "roles": {"realm": [dict(role(names, wanted).body) for wanted in identity.roles]},
        "groups": [
            {**group(names, wanted).body, "path": f"/{wanted.name}", "realmRoles": list(wanted.roles)}
            for wanted in identity.groups
        ],
        "scopeMappings": [{"client": USERS_CLIENT, "roles": names_of(identity.roles)}],
    }
    return RealmResource(planned.at, planned.collection, {**planned.body, **inside})


_COMPONENTS: Final = ("components",)
LDAP_PURPOSE: Final = "ldap"
LDAP_SECRET: Final = "bindCredential"  # noqa: S105 - the name of a field


def ldap_at(names: TenantNames) -> RealmPath:
    """Where the directory stands, if there is one."""
    return RealmPath(names.realm, (*_COMPONENTS, _ident(names, "component", "ldap")))


def ldap(names: TenantNames, wanted: Ldap) -> RealmResource:
    """The directory, without its credential. Keycloak keeps every setting as a list."""
    starts_tls = wanted.tls is LdapTls.START_TLS
    settings = {
        "enabled": "true",
        "priority": "0",
        "vendor": "other",
        "editMode": "READ_ONLY",
        "importEnabled": "true",
        "syncRegistrations": "false",
        "trustEmail": "false",
        "allowKerberosAuthentication": "false",
        "connectionUrl": f"{'ldap' if starts_tls else 'ldaps'}://{wanted.host}:{wanted.port}",
        "startTls": str(starts_tls).lower(),
        "useTruststoreSpi": "always",
        "authType": "simple",
        "bindDn": wanted.bind_dn,
        "usersDn": wanted.users_dn,
        "searchScope": "2",
        "usernameLDAPAttribute": wanted.username_attribute,
        "rdnLDAPAttribute": wanted.username_attribute,
        "uuidLDAPAttribute": wanted.uuid_attribute,
        "userObjectClasses": wanted.user_object_class,
        "connectionTimeout": "5000",
        "readTimeout": "10000",
        "batchSizeForSync": "1000",
        "fullSyncPeriod": str(seconds(wanted.sync_interval)),
        "changedSyncPeriod": "-1",
    }
    return _component(names, "ldap", "ldap", "org.keycloak.storage.UserStorageProvider", settings)


def ldap_groups(names: TenantNames, wanted: Ldap) -> RealmResource | None:
    """How its groups become the realm's; those of one name become one, so that a declared group gives its roles."""
    if wanted.groups_dn is None:
        return None
    settings = {
        "mode": "READ_ONLY",
        "groups.dn": wanted.groups_dn,
        "groups.path": "/",
        "group.name.ldap.attribute": "cn",
        "group.object.classes": wanted.group_object_class,
        "membership.ldap.attribute": wanted.member_attribute,
        "membership.attribute.type": "DN",
        "membership.user.ldap.attribute": wanted.username_attribute,
        "user.roles.retrieve.strategy": "LOAD_GROUPS_BY_MEMBER_ATTRIBUTE",
        "preserve.group.inheritance": "false",
        "ignore.missing.groups": "false",
        "drop.non.existing.groups.during.sync": "false",
    }
    kind = "org.keycloak.storage.ldap.mappers.LDAPStorageMapper"
    made = _component(names, "groups", "group-ldap-mapper", kind, settings)
    return RealmResource(made.at, made.collection, {**made.body, "parentId": ldap_at(names).segments[-1]})


def _component(
    names: TenantNames, name: str, provider_id: str, kind: str, settings: Mapping[str, str]
) -> RealmResource:
    ident = _ident(names, "component", name)
    config = {key: [value] for key, value in settings.items()}
    body = {"id": ident, "name": name, "providerId": provider_id, "providerType": kind, "config": config}
    return RealmResource(RealmPath(names.realm, (*_COMPONENTS, ident)), RealmPath(names.realm, _COMPONENTS), body)


def ldap_credential(names: TenantNames, wanted: Ldap, platform: Platform) -> Credential:
    """The password with which Keycloak reads the directory."""
    secret = wanted.credential_secret_ref.name
    return Credential(platform.operator_namespace, secret, names.tenant, wanted.host, LDAP_PURPOSE)


def ldap_probe(names: TenantNames, wanted: Ldap) -> dict[str, str]:
    """What Keycloak is asked to try; it takes the password that it has."""
    settings = ldap(names, wanted).body["config"]
    tried = ("connectionUrl", "bindDn", "authType", "useTruststoreSpi", "startTls", "connectionTimeout")
    return {**{key: settings[key][0] for key in tried}, "componentId": ldap_at(names).segments[-1]}


INSTANCES: Final = ("identity-provider", "instances")


def provider(names: TenantNames, wanted: IdentityProvider) -> RealmResource:
    """An identity provider, without its credential. What it says about users is taken anew at each login."""
    instances = RealmPath(names.realm, INSTANCES)
    body = {
        "alias": wanted.alias,
        "displayName": wanted.display_name or wanted.alias,
        "providerId": "oidc" if wanted.oidc else "saml",
        "enabled": True,
        "trustEmail": False,
        "storeToken": False,
        "linkOnly": False,
        "hideOnLogin": False,
        "firstBrokerLoginFlowAlias": "first broker login",
        "config": {
            "syncMode": "FORCE",
            REALM_OWNER_ATTRIBUTE: names.uid,
            **(_oidc(wanted.oidc) if wanted.oidc else {}),
            **(_saml(wanted.saml) if wanted.saml else {}),
        },
    }
    return RealmResource(RealmPath(names.realm, (*INSTANCES, wanted.alias)), instances, body)


def _oidc(wanted: Oidc) -> dict[str, str]:
    address = f"https://{wanted.host}" + ("" if wanted.port == 443 else f":{wanted.port}")
    return {
        "issuer": address + wanted.issuer_path,
        "authorizationUrl": address + wanted.authorization_path,
        "tokenUrl": address + wanted.token_path,
        "jwksUrl": address + wanted.keys_path,
        "useJwksUrl": "true",
        "validateSignature": "true",
        "clientId": wanted.client_id,
        "clientAuthMethod": "client_secret_post",
        "pkceEnabled": "true",
        "pkceMethod": "S256",
        "defaultScope": "openid profile email",
    }


def _saml(wanted: Saml) -> dict[str, str]:
    address = f"https://{wanted.host}" + ("" if wanted.port == 443 else f":{wanted.port}")
    return {
        "idpEntityId": wanted.entity_id,
        "singleSignOnServiceUrl": address + wanted.sign_on_path,
        "signingCertificate": wanted.signing_certificate,
        "validateSignature": "true",
        "wantAssertionsSigned": "true",
        "wantAuthnRequestsSigned": "true",
        "signatureAlgorithm": "RSA_SHA256",
        "postBindingResponse": "true",
        "postBindingAuthnRequest": "true",
        "nameIDPolicyFormat": "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent",
        "principalType": "SUBJECT",
    }


def credential(names: TenantNames, wanted: Oidc, platform: Platform) -> Credential:
    """The secret with which the realm proves itself to the provider."""
    return Credential(
        platform.operator_namespace, wanted.credential_secret_ref.name, names.tenant, wanted.host, PROVIDER_PURPOSE
    )


PROVIDER_PURPOSE: Final = "identity-provider"
PROVIDER_SECRET: Final = "clientSecret"  # noqa: S105 - the name of a field


def provider_mappers(names: TenantNames, wanted: IdentityProvider) -> tuple[RealmResource, ...]:
    """What the provider's users become here."""
    return tuple(_provider_mapper(names, wanted, mapper) for mapper in wanted.mappers)


def _provider_mapper(names: TenantNames, wanted: IdentityProvider, mapper: Mapper) -> RealmResource:
    mappers = RealmPath(names.realm, (*INSTANCES, wanted.alias, "mappers"))
    kind, target = ("group", f"/{mapper.group}") if mapper.group else ("role", str(mapper.role))
    name = " ".join(word for word in (kind, target, mapper.claim, mapper.value) if word)
    ident = _ident(names, "provider mapper", f"{wanted.alias} {name}")
    config = {"syncMode": "FORCE", kind: target}
    mapper_type = f"oidc-hardcoded-{kind}-idp-mapper"
    if mapper.claim:
        protocol, word = ("oidc", "claim") if wanted.oidc else ("saml", "attribute")
        mapper_type = f"{protocol}-advanced-{kind}-idp-mapper"
        config[f"{word}s"] = json.dumps([{"key": mapper.claim, "value": mapper.value}], separators=(",", ":"))
        config[f"are.{word}.values.regex"] = "false"
    body = {
        "id": ident,
        "name": name,
        "identityProviderAlias": wanted.alias,
        "identityProviderMapper": mapper_type,
        "config": config,
    }
    return RealmResource(RealmPath(names.realm, (*mappers.segments, ident)), mappers, body)


def names_of(items: Iterable[Role | Group]) -> list[str]:
    """Their names."""
    return [item.name for item in items]


def _ident(names: TenantNames, kind: str, name: str) -> str:
    """Keycloak honours a chosen id, so a retried creation makes no second one. Ids are unique in the whole server."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "\x1f".join((names.first_uid, kind, name))))
