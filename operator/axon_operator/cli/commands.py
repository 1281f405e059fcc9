"""The commands: their words, and what they do. Parser and reference page are made from the one list at the end."""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from axon_operator.api.identity import EVERYBODY
from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.cli import doctor
from axon_operator.cli.bindings import BINDING_COMMANDS
from axon_operator.cli.cluster import Cluster, CommandError, missing
from axon_operator.cli.edits import LOGOUT, SUSPENDED, edit, logged_out, switched
from axon_operator.cli.grammar import FORCE, OUTPUT, Argument, Command, a_tenant, now, patience, say
from axon_operator.cli.secret.commands import SECRET_COMMANDS
from axon_operator.cli.tree import home, table, trees
from axon_operator.domain.manifests import conditions_of
from axon_operator.domain.resources import BINDING, RUNTIME, TENANT, Manifest, Ref

_POLL: Final = 0.5
_PATIENCE: Final = 120
"""Seconds for which `logout --wait` waits."""


def _status(cluster: Cluster, options: argparse.Namespace) -> int:
    if options.tenant is None:
        tenants, namespace = cluster.list(TENANT), ""
    else:
        tenants = [_tenant(cluster, options.tenant)]
        namespace = home(tenants[0])
    nodes = trees(tenants, cluster.list(RUNTIME, namespace), cluster.list(BINDING, namespace))
    if options.output == "json":
        say(json.dumps([node.to_json() for node in nodes], indent=2))
    elif nodes:
        say(*table(nodes))
    else:
        say("There is no Tenant.")
    return 0


def _tenant(cluster: Cluster, name: str) -> Manifest:
    at = Ref(TENANT, "", name)
    live = cluster.get(at)
    if live is None:
        raise missing(at)
    return live


def _suspend(cluster: Cluster, options: argparse.Namespace) -> int:
    changed = edit(cluster, Ref(TENANT, "", options.tenant), switched(suspended=True), SUSPENDED, force=options.force)
    say(f"Tenant {options.tenant} {'is being suspended' if changed else 'is suspended already'}.")
    return 0


def _resume(cluster: Cluster, options: argparse.Namespace) -> int:
    changed = edit(cluster, Ref(TENANT, "", options.tenant), switched(suspended=False), SUSPENDED, force=options.force)
    say(f"Tenant {options.tenant} {'is being resumed' if changed else 'is not suspended'}.")
    return 0


def _logout(cluster: Cluster, options: argparse.Namespace) -> int:
    if (options.user is None) != options.all:
        raise CommandError("name one user, or --all for everybody")
    user = EVERYBODY if options.all else options.user
    trigger = now()
    started = time.monotonic()
    edit(cluster, Ref(TENANT, "", options.tenant), logged_out(user, trigger), LOGOUT, force=options.force)
    who = "everybody" if options.all else user
    if not options.wait:
        say(f"The sessions of {who} in Tenant {options.tenant} are being ended.")
        return 0
    _until_ended(cluster, options.tenant, user, trigger, until=started + options.timeout)
    say(f"The sessions of {who} in Tenant {options.tenant} ended after {time.monotonic() - started:.1f} s.")
    return 0


def _until_ended(cluster: Cluster, tenant: str, user: str, trigger: str, *, until: float) -> None:
    while True:
        live = _tenant(cluster, tenant)
        if has_ended(live, user, trigger):
            return
        why = what_is_missing(live)
        if why.reason == Reason.USER_NOT_FOUND and f"no user {user};" in why.message:
            raise CommandError(why.message)
        if time.monotonic() > until:
            raise CommandError(f"the sessions have not ended yet; it goes on. {why.message}".strip())
        time.sleep(_POLL)


def has_ended(live: Manifest, user: str, trigger: str) -> bool:
    """Whether the operator has recorded that this very logout is done."""
    done = (live.get("status") or {}).get("logouts") or ()
    return any((entry["user"], entry["trigger"]) == (user, trigger) for entry in done)


@dataclass(frozen=True, slots=True)
class Why:
    """Why sessions have not ended."""

    reason: str
    message: str


def what_is_missing(live: Manifest) -> Why:
    """What the condition says, if it speaks of the spec that is there."""
    conditions = conditions_of(live)
    for condition in conditions:
        current = condition["observedGeneration"] == live["metadata"]["generation"]
        if condition["type"] == ConditionType.SESSIONS_ENDED and current:
            return Why(condition["reason"], condition["message"])
    return Why("", "The operator has not looked at it yet: see kubectl axon doctor.")


def _doctor(cluster: Cluster, options: argparse.Namespace) -> int:
    findings = []
    for finding in doctor.examine(cluster, options.operator_namespace):
        findings.append(finding)
        if options.output != "json":
            say(finding.line())
    if options.output == "json":
        say(json.dumps([finding.to_json() for finding in findings], indent=2))
    return 0 if all(finding.ok for finding in findings) else 1


_TENANT: Final = Argument(("tenant",), "name of the Tenant", {"metavar": "TENANT", "type": a_tenant})
_ANY_TENANT: Final = Argument(
    ("tenant",),
    "only this Tenant; all of them if it is left out",
    {"metavar": "TENANT", "nargs": "?", "type": a_tenant},
)

GLOBAL: Final = (
    Argument(("--kubeconfig",), "file with clusters and logins; as kubectl finds it if left out", {"metavar": "FILE"}),
    Argument(("--context",), "which of its contexts; the current one if left out", {"metavar": "NAME"}),
)

COMMANDS: Final[Sequence[Command]] = (
    Command(
        "status",
        "what is ready, and why not",
        "Shows Tenants, below each its runtimes, below those their bindings, with what the condition `Ready` of each says.",
        (_ANY_TENANT, OUTPUT),
        _status,
    ),
    Command(
        "suspend",
        "switch an organization off",
        "Sets `spec.suspended` of the Tenant: its network is closed, its sessions and credentials end, its pods go."
        " `kubectl axon status` shows how far that is.",
        (_TENANT, FORCE),
        _suspend,
    ),
    Command(
        "resume",
        "switch it on again",
        "Takes `spec.suspended` back.",
        (_TENANT, FORCE),
        _resume,
    ),
    Command(
        "logout",
        "end the sessions of a user, or of everybody",
        "Writes an entry into `spec.identity.logout` of the Tenant: sessions in Keycloak and logins to OpenBao end."
        " A former entry of the same user is replaced, others' stay.",
        (
            _TENANT,
            Argument(("user",), "username in the tenant's realm", {"metavar": "USER", "nargs": "?"}),
            Argument(("--all",), "everybody", {"action": "store_true"}),
            Argument(("--wait",), "until the sessions have ended; says how long it took", {"action": "store_true"}),
            patience(_PATIENCE),
            FORCE,
        ),
        _logout,
    ),
    Command(
        "doctor",
        "whether the installation is whole",
        "Looks at the CustomResourceDefinitions, the operator's pods, whether one of them leads, the admission policies,"
        " and lists the Tenants that are not ready. Exit code 1 if something is wrong, or may not be looked at."
        " It needs rights to read all of that, in the operator's namespace too.",
        (
            Argument(
                ("--operator-namespace",),
                "where the operator is; `axon-system` if left out",
                {"metavar": "NAMESPACE", "default": "axon-system"},
            ),
            OUTPUT,
        ),
        _doctor,
    ),
    *BINDING_COMMANDS,
    *SECRET_COMMANDS,
)
