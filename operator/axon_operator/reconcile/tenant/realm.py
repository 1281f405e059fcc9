"""Stages of the Keycloak realm: contents, suspension, teardown."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from axon_operator.api.identity import IdentityProvider, Ldap
from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.api.tenant import DeletionPolicy, TenantSpec
from axon_operator.backends.errors import ReconcileError, Terminal, Transient, Waiting
from axon_operator.backends.keycloak.paths import is_segment
from axon_operator.backends.keycloak.port import Keycloak
from axon_operator.domain.credential import Credential
from axon_operator.domain.names import CREDENTIAL_MARK, REALM_OWNER_ATTRIBUTE, REALM_RETAINED_ATTRIBUTE, TenantNames
from axon_operator.domain.platform import Platform
from axon_operator.domain.resources import TENANT, RealmPath, RealmResource
from axon_operator.domain.tenant import realm as desired
from axon_operator.domain.tenant.marks import realm_mark
from axon_operator.domain.values import as_planned
from axon_operator.reconcile.common import (
    Assumed,
    attempt,
    look_at_credential,
    not_allowed,
    realm_changes,
    with_live_attributes,
)
from axon_operator.reconcile.engine.plan import (
    Backends,
    Change,
    RealmAdopt,
    RealmCreate,
    RealmCredential,
    RealmDelete,
    RealmGrant,
    RealmLogout,
    RealmUpdate,
    RealmWithdraw,
    Stage,
)
from axon_operator.reconcile.tenant.seen import (
    JUST_ADOPTED,
    JUST_MADE,
    RealmSeen,
    TenantSeen,
    known,
    require_unrecorded,
)

_SESSIONS_ENDED = "notBefore"
"""Field of a realm: since when its tokens count. Keycloak sets it when all sessions are ended."""


_LDAP = ""
"""In place of an alias, for the directory."""
_ROLES = ("roles",)
_ROLES_BY_ID = ("roles-by-id",)
"""Where a role is removed: Keycloak takes any character in a role's name."""
_GROUPS = ("groups",)
_SCOPES = ("client-scopes",)
_SCOPE_LISTS = {"defaultClientScopes": "default-client-scopes", "optionalClientScopes": "optional-client-scopes"}
"""Field of a client: the part of its path under which the scopes are added and removed."""


def look_at_realm(
    to: Backends, names: TenantNames, cluster: str, spec: TenantSpec, platform: Platform, *, leaving: bool
) -> RealmSeen:
    """Reads the realm, and what it holds unless it is to be deleted."""
    keycloak = to.keycloak
    seen = RealmSeen(keycloak.read(RealmPath(names.realm)), {})
    if seen.realm is None and not leaving:
        statuses = (tenant.get("status") or {} for tenant in to.kubernetes.list(TENANT, ""))
        return replace(seen, realms=sum("realm" in status for status in statuses))
    if not seen.mark.is_of(names.uid, cluster) or leaving or spec.suspended:
        return seen
    contents = {r.at: keycloak.read(r.at) for r in _single(names, spec, platform)}
    client = desired.users_client(names)
    providers = spec.identity.identity_providers
    wanted = [_ROLES, _GROUPS, desired.BROWSER_FLOW, desired.INSTANCES, _shown_roles(client)]
    wanted += [_mappers_of(provider) for provider in providers]
    if any(_scope_differences(client, contents[client.at])):
        wanted.append(_SCOPES)
    lists = {collection: keycloak.list(RealmPath(names.realm, collection)) for collection in wanted}
    credentials = {
        p.alias: attempt(partial(look_at_credential, to.kubernetes, desired.credential(names, p.oidc, platform)))
        for p in providers
        if p.oidc and p.oidc.host in platform.allowed_hosts
    }
    directory = spec.identity.ldap
    contents[desired.ldap_at(names)] = keycloak.read(desired.ldap_at(names))
    if directory is None or directory.host not in platform.allowed_hosts:
        return RealmSeen(seen.realm, contents, lists, credentials)
    credential = desired.ldap_credential(names, directory, platform)
    credentials[_LDAP] = attempt(partial(look_at_credential, to.kubernetes, credential))
    groups = desired.ldap_groups(names, directory)
    if contents[desired.ldap_at(names)] is None:
        return RealmSeen(seen.realm, contents, lists, credentials)
    if groups:
        contents[groups.at] = keycloak.read(groups.at)
    # a directory that hangs must not hide the realm
    problem = attempt(lambda: _ldap_problem(keycloak, names, directory))
    return RealmSeen(seen.realm, contents, lists, credentials, problem)


def _ldap_problem(keycloak: Keycloak, names: TenantNames, directory: Ldap) -> ReconcileError | None:
    probe = desired.ldap_probe(names, directory)
    where = f"{directory.host}:{directory.port}"
    if keycloak.reaches_ldap(names.realm, probe, log_in=True):
        return None
    if keycloak.reaches_ldap(names.realm, probe, log_in=False):
        message = f"The directory {where} refuses bindDN or its password; set spec.identity.ldap.bindDN or Secret {directory.credential_secret_ref.name} right."
        return Terminal(Reason.LDAP_BIND_REFUSED, message)
    message = f"Keycloak cannot reach the directory {where} by {directory.tls}; check host, port, the network from Keycloak's pods, and that Keycloak trusts its certificate."
    return Transient(Reason.LDAP_UNREACHABLE, message)


def identity_stage(seen: TenantSeen, platform: Platform) -> Stage:
    """The realm with its contents; of a suspended tenant disabled, with no session left."""
    reason, message = (
        (Reason.SUSPENDED, "Sessions ended, realm disabled.") if seen.spec.suspended else (Reason.READY, "As planned.")
    )
    if isinstance(seen.keycloak, Assumed):
        return Stage(ConditionType.IDENTITY_READY, reason=reason, message=message)
    names, keycloak = seen.names, known(seen.keycloak)
    planned = desired.realm(names, seen.spec, seen.cluster)
    if keycloak.realm is None:
        _require_room(keycloak, platform)
        whole = desired.whole(names, seen.spec, seen.cluster, platform)
        return Stage(ConditionType.IDENTITY_READY, (RealmCreate(whole),), JUST_MADE)
    if seen.takes_over and seen.takes_over.covers(keycloak.mark):
        # only the mark: that it was closed, if it was, is undone in the same order as after a suspension
        kept = {k: v for k, v in keycloak.realm["attributes"].items() if k != REALM_RETAINED_ATTRIBUTE}
        mark = {"attributes": {**kept, **planned.body["attributes"]}}
        return Stage(ConditionType.IDENTITY_READY, (RealmAdopt(planned.at, mark),), JUST_ADOPTED)
    _require_realm_owner(keycloak, seen)
    if seen.spec.suspended:
        closing = closing_of_realm(names, keycloak.realm)
        return Stage(ConditionType.IDENTITY_READY, closing, reason=reason, message=message)
    changes: list[Change] = []
    if not keycloak.realm.get("enabled"):
        # while it still is disabled, so that no session of before is there when it opens
        changes.append(RealmLogout(names.realm))
    if not as_planned(keycloak.realm, planned.body):
        changes.append(RealmUpdate(planned.at, with_live_attributes(planned.body, keycloak.realm)))
    changes += _client_policies(names, keycloak.realm)
    changes += realm_changes(_single(names, seen.spec, platform), keycloak.contents)
    changes += _users_scopes(names, keycloak)
    changes += _second_factor(names, seen.spec, keycloak)
    problems: list[ReconcileError] = []
    changes += _roles_and_groups(names, seen.spec, keycloak, problems)
    changes += _mappings(names, seen.spec, keycloak, problems)
    changes += _directory(seen, keycloak, platform, problems)
    changes += _providers(names, seen.spec, keycloak, platform, problems)
    return Stage(
        ConditionType.IDENTITY_READY,
        tuple(_that_have_a_path(names, changes, problems)),
        next(iter(sorted(problems, key=lambda p: isinstance(p, Waiting))), None),
        reason=reason,
        message=message,
    )


def _that_have_a_path(
    names: TenantNames, changes: Iterable[Change], problems: list[ReconcileError]
) -> Iterator[Change]:
    """Whoever administers the realm chooses names and ids, and can copy our mark: one that is no part of a path is told,
    without repeating it, and holds nothing else up.
    """
    for change in changes:
        if isinstance(change, RealmUpdate | RealmDelete) and not all(map(is_segment, change.path.segments)):
            message = f"Realm {names.realm} has something with this tenant's mark under a name that the operator cannot ask for; remove it in Keycloak."
            problems.append(Terminal(Reason.CONFLICT, message))
        else:
            yield change


def _single(names: TenantNames, spec: TenantSpec, platform: Platform) -> tuple[RealmResource, ...]:
    """What can be read by a name that is known beforehand."""
    return (*desired.contents(names, platform), desired.otp_action(names, spec.identity.mfa))


def _client_policies(names: TenantNames, realm: Mapping[str, Any]) -> Iterator[Change]:
    """Ours is first and as planned; others' stay, which can only ask for more. Keycloak takes the list as a whole."""
    for path, field, part, ours in (
        (desired.CLIENT_PROFILES, "clientProfiles", "profiles", desired.client_profile()),
        (desired.CLIENT_POLICIES, "clientPolicies", "policies", desired.client_policy()),
    ):
        live = (realm.get(field) or {}).get(part) or ()
        others = [entry for entry in live if entry["name"] != ours["name"]]
        if not as_planned(next((entry for entry in live if entry["name"] == ours["name"]), None), ours):
            yield RealmUpdate(RealmPath(names.realm, path), {part: [ours, *others]})


def _users_scopes(names: TenantNames, keycloak: RealmSeen) -> Iterator[Change]:
    """Scopes of the users' client: an update of the client does not change them (measured)."""
    client = desired.users_client(names)
    idents = {scope["name"]: scope["id"] for scope in keycloak.lists.get(_SCOPES, ())}
    for part, missing, extra in _scope_differences(client, keycloak.contents[client.at]):
        path = (*client.at.segments, part)
        yield from (RealmUpdate(RealmPath(names.realm, (*path, idents[s])), {}) for s in missing if s in idents)
        yield from (RealmDelete(RealmPath(names.realm, (*path, idents[s]))) for s in extra if s in idents)


def _scope_differences(
    client: RealmResource, live: Mapping[str, Any] | None
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Where scopes differ, which are missing there, and which are too many."""
    for field, part in _SCOPE_LISTS.items() if live else ():
        wanted, there = set(client.body[field]), set((live or {}).get(field) or ())
        if wanted != there:
            yield part, sorted(wanted - there), sorted(there - wanted)


def _second_factor(names: TenantNames, spec: TenantSpec, keycloak: RealmSeen) -> Iterator[Change]:
    """Whether the login form asks for a one-time code."""
    wanted = desired.second_factor(spec.identity.mfa)
    for step in keycloak.lists[desired.BROWSER_FLOW]:
        requirement = wanted.get(step["displayName"], step["requirement"])
        if step["requirement"] != requirement:
            path = RealmPath(names.realm, desired.BROWSER_FLOW)
            yield RealmUpdate(path, {**step, "requirement": requirement})


def _roles_and_groups(
    names: TenantNames, spec: TenantSpec, keycloak: RealmSeen, problems: list[ReconcileError]
) -> Iterator[Change]:
    """Made, set right, and removed when they have left the spec; none without an owner mark, whoever's."""
    groups = {group["name"]: group for group in keycloak.lists[_GROUPS]}
    roles = {role["name"]: role for role in keycloak.lists[_ROLES]}
    planned_roles = {role.name: desired.role(names, role) for role in spec.identity.roles}
    planned_groups = {
        group.name: desired.group(names, group, groups.get(group.name, {}).get("id", ""))
        for group in spec.identity.groups
    }
    yield from _owned(planned_roles, roles, problems)
    yield from _owned(planned_groups, groups, problems)
    for by_id, live, planned in ((_ROLES_BY_ID, roles, planned_roles), (_GROUPS, groups, planned_groups)):
        for name, item in live.items():
            if name not in planned and _is_ours(item):
                yield RealmDelete(RealmPath(names.realm, (*by_id, item["id"])))


def _owned(
    planned: Mapping[str, RealmResource],
    live: Mapping[str, Mapping[str, Any]],
    problems: list[ReconcileError],
) -> Iterator[Change]:
    for name, resource in planned.items():
        existing = live.get(name)
        if existing is not None and not _is_ours(existing):
            message = f"Keycloak has {resource.collection}/{name}, which was not made for this tenant; it is not touched. Choose another name, or remove it in Keycloak."
            problems.append(Terminal(Reason.NAME_TAKEN, message))
            continue
        yield from realm_changes((resource,), {resource.at: existing})


def _is_ours(item: Mapping[str, Any]) -> bool:
    """Whoever's mark it is: the realm is the tenant's, and what was adopted with it still names the uid of before."""
    return REALM_OWNER_ATTRIBUTE in (item.get("attributes") or {})


def _mappings(
    names: TenantNames, spec: TenantSpec, keycloak: RealmSeen, problems: list[ReconcileError]
) -> Iterator[Change]:
    """Which roles each group has, and which the tokens of the users' client show: exactly those declared."""
    roles = {role["name"]: role for role in keycloak.lists[_ROLES] if _is_ours(role)}
    groups = {group["name"]: group for group in keycloak.lists[_GROUPS] if _is_ours(group)}
    every = {role["name"]: role for role in keycloak.lists[_ROLES]}
    client = desired.users_client(names)
    shown = {role["name"]: role for role in keycloak.lists[_shown_roles(client)]}
    declared = desired.names_of(spec.identity.roles)
    if set(declared) - roles.keys() or set(desired.names_of(spec.identity.groups)) - groups.keys():
        # Keycloak chooses their ids: they are known when they have been read
        problems.append(JUST_MADE)
    yield from _mapped(RealmPath(names.realm, _shown_roles(client)), declared, shown, roles, every)
    for group in spec.identity.groups:
        if group.name in groups:
            live = groups[group.name]
            path = RealmPath(names.realm, (*_GROUPS, live["id"], "role-mappings", "realm"))
            yield from _mapped(path, group.roles, live.get("realmRoles") or (), roles, every)


def _directory(
    seen: TenantSeen, keycloak: RealmSeen, platform: Platform, problems: list[ReconcileError]
) -> Iterator[Change]:
    """Made, set right and removed; its id is ours, so nothing else can be there."""
    directory, existing = seen.spec.identity.ldap, keycloak.contents[desired.ldap_at(seen.names)]
    if directory is None:
        if existing is not None:
            yield RealmDelete(desired.ldap_at(seen.names))
        return
    try:
        yield from _ldap(seen, directory, keycloak, platform)
    except ReconcileError as error:
        problems.append(error)


def _ldap(seen: TenantSeen, directory: Ldap, keycloak: RealmSeen, platform: Platform) -> Iterator[Change]:
    names = seen.names
    resource = desired.ldap(names, directory)
    existing = keycloak.contents[resource.at]
    if directory.host not in platform.allowed_hosts:
        if existing and existing["config"].get("enabled") != ["false"]:
            # nobody is asked about at a host that is not allowed any more; imported users stay, and cannot log in
            yield RealmUpdate(resource.at, {**existing, "config": {**existing["config"], "enabled": ["false"]}})
        raise not_allowed("The directory's", directory.host)
    version = known(keycloak.credentials[_LDAP])
    attributes = (keycloak.realm or {}).get("attributes") or {}
    written = existing is None or not as_planned(existing, resource.body) or attributes.get(CREDENTIAL_MARK) != version
    if written:
        whole = replace(resource, body=with_live_attributes(resource.body, existing or {}))
        credential = desired.ldap_credential(names, directory, platform)
        yield RealmCredential(whole, existing is not None, desired.LDAP_SECRET, credential, component=True)
        if attributes.get(CREDENTIAL_MARK) != version:
            # behind the credential: after a crash between the two it is written once more
            attributes = {**attributes, **desired.marks(names, seen.spec, seen.cluster), CREDENTIAL_MARK: version}
            yield RealmUpdate(RealmPath(names.realm), {"attributes": attributes})
    groups = desired.ldap_groups(names, directory)
    if groups:
        yield from realm_changes((groups,), keycloak.contents)
    if written:
        # whether Keycloak can read the directory with this, the next pass finds out
        raise JUST_MADE
    if keycloak.ldap:
        raise keycloak.ldap


def _providers(
    names: TenantNames, spec: TenantSpec, keycloak: RealmSeen, platform: Platform, problems: list[ReconcileError]
) -> Iterator[Change]:
    """Made, set right with their mappers, and removed when they have left the spec; others' are left alone."""
    live = {provider["alias"]: provider for provider in keycloak.lists[desired.INSTANCES]}
    wanted = {provider.alias: provider for provider in spec.identity.identity_providers}
    for alias, provider in wanted.items():
        try:
            yield from _provider(names, provider, live.get(alias), keycloak, platform)
        except ReconcileError as error:
            problems.append(error)
    for alias, existing in live.items():
        if alias not in wanted and _is_our_provider(existing):
            yield RealmDelete(RealmPath(names.realm, (*desired.INSTANCES, alias)))


def _provider(
    names: TenantNames,
    provider: IdentityProvider,
    existing: Mapping[str, Any] | None,
    keycloak: RealmSeen,
    platform: Platform,
) -> Iterator[Change]:
    if existing is not None and not _is_our_provider(existing):
        message = f"Realm {names.realm} has an identity provider {provider.alias} that was not made for this tenant; it is not touched. Choose another alias, or remove it in Keycloak."
        raise Terminal(Reason.NAME_TAKEN, message)
    resource = desired.provider(names, provider)
    host = _host(provider)
    if host not in platform.allowed_hosts:
        if existing and existing.get("enabled"):
            # nobody logs in through a host that is not allowed any more; who is linked to it stays so
            off = {**resource.body, "enabled": False}
            yield RealmUpdate(resource.at, with_live_attributes(off, existing))
        raise not_allowed(f"Identity provider {provider.alias}'s", host)
    if provider.oidc is None:
        yield from realm_changes((resource,), {resource.at: existing})
    else:
        credential = desired.credential(names, provider.oidc, platform)
        yield from _with_credential(resource, existing, credential, known(keycloak.credentials[provider.alias]))
    live = {mapper["id"]: mapper for mapper in keycloak.lists[_mappers_of(provider)]}
    planned = {str(r.body["id"]): r for r in desired.provider_mappers(names, provider)}
    # those of others too: whoever adds one here gives roles to whom they like
    mappers = RealmPath(names.realm, _mappers_of(provider))
    yield from (RealmDelete(RealmPath(names.realm, (*mappers.segments, i))) for i in live if i not in planned)
    yield from realm_changes(planned.values(), {r.at: live.get(i) for i, r in planned.items()})


def _with_credential(
    resource: RealmResource, existing: Mapping[str, Any] | None, credential: Credential, version: str
) -> Iterator[Change]:
    """Written when anything but the credential differs, and when another version of its Secret was written."""
    config = {**resource.body["config"], CREDENTIAL_MARK: version}
    if existing is None or not as_planned(existing, {**resource.body, "config": config}):
        whole = replace(resource, body=with_live_attributes(resource.body, existing or {}))
        yield RealmCredential(whole, existing is not None, desired.PROVIDER_SECRET, credential)


def _host(provider: IdentityProvider) -> str:
    spoken = provider.oidc or provider.saml
    if spoken is None:
        raise Terminal(Reason.INVALID_SPEC, f"Identity provider {provider.alias} has neither oidc nor saml; give one.")
    return spoken.host


def _is_our_provider(provider: Mapping[str, Any]) -> bool:
    return REALM_OWNER_ATTRIBUTE in (provider.get("config") or {})


def _mappers_of(provider: IdentityProvider) -> tuple[str, ...]:
    return (*desired.INSTANCES, provider.alias, "mappers")


def _require_room(keycloak: RealmSeen, platform: Platform) -> None:
    if keycloak.realms >= platform.realm_cap:
        message = f"This installation has {keycloak.realms} realms and allows {platform.realm_cap}. Delete a Tenant, or raise realmCap of the operator's chart once you know that Keycloak can hold more."
        raise Terminal(Reason.REALM_LIMIT, message)


def _mapped(
    path: RealmPath,
    wanted: Iterable[str],
    there: Iterable[str],
    ours: Mapping[str, Mapping[str, Any]],
    every: Mapping[str, Mapping[str, Any]],
) -> Iterator[Change]:
    missing, extra = sorted(set(wanted) - set(there)), sorted(set(there) - set(wanted))
    if grants := tuple({"id": ours[name]["id"], "name": name} for name in missing if name in ours):
        yield RealmGrant(path, grants)
    if withdrawals := tuple({"id": every[name]["id"], "name": name} for name in extra if name in every):
        yield RealmWithdraw(path, withdrawals)


def _shown_roles(client: RealmResource) -> tuple[str, ...]:
    return (*client.at.segments, "scope-mappings", "realm")


def identity_teardown(seen: TenantSeen) -> Stage:
    """The realm is deleted with all that it holds; or, if it is to be retained, closed."""
    keycloak = known(seen.keycloak)
    if keycloak.realm is None:
        return Stage(ConditionType.IDENTITY_READY)
    if not keycloak.mark.is_of(seen.names.uid, seen.cluster):
        where, mark = f"Realm {seen.names.realm}", f"attribute {REALM_OWNER_ATTRIBUTE}"
        require_unrecorded(seen, "realm", where, mark)
        return Stage(ConditionType.IDENTITY_READY)
    if seen.spec.deletion_policy is DeletionPolicy.RETAIN or keycloak.mark.retained_at:
        return _identity_retained(seen, keycloak.realm)
    return Stage(ConditionType.IDENTITY_READY, (RealmDelete(RealmPath(seen.names.realm)),))


def closing_of_realm(names: TenantNames, realm: Mapping[str, Any]) -> tuple[Change, ...]:
    """Disabled, then without sessions; nothing that a spec says is part of it, so that nothing in one can stop it."""
    if not realm.get("enabled") and realm.get(_SESSIONS_ENDED):
        return ()
    # the time that ending the sessions sets: as long as it is missing, that is still to be done
    return (RealmUpdate(RealmPath(names.realm), {"enabled": False, _SESSIONS_ENDED: 0}), RealmLogout(names.realm))


def _identity_retained(seen: TenantSeen, realm: Mapping[str, Any]) -> Stage:
    """Disabled, then without sessions, then marked: what carries the mark is closed."""
    names, at = seen.names, RealmPath(seen.names.realm)
    changes: list[Change] = []
    if not realm_mark(realm).retained_at:
        changes += closing_of_realm(names, realm)
        mark = {"attributes": {REALM_RETAINED_ATTRIBUTE: seen.deleted_at}}
        changes.append(RealmUpdate(at, with_live_attributes(mark, realm)))
    message = (
        f"Realm {names.realm} stays, disabled and without sessions; its mark names the Tenant's uid ({names.uid})."
    )
    return Stage(ConditionType.IDENTITY_READY, tuple(changes), reason=Reason.RETAINED, message=message)


def _require_realm_owner(keycloak: RealmSeen, seen: TenantSeen) -> None:
    if not keycloak.mark.is_of(seen.names.uid, seen.cluster):
        message = f"Realm {seen.names.realm} exists and was not made for this tenant; it is not touched. Rename the Tenant, remove the realm, or adopt it as docs/operations.md says."
        raise Terminal(Reason.NAME_TAKEN, message)
