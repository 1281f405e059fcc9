"""`kubectl axon secret`: the commands, their words, and what they do."""

import argparse
import getpass
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from axon_operator.cli.cluster import Cluster, CommandError
from axon_operator.cli.grammar import OUTPUT, Argument, Command, Group, say, tell
from axon_operator.cli.secret.kept import kept
from axon_operator.cli.secret.login import Realm, user_of
from axon_operator.cli.secret.openbao import OpenBao
from axon_operator.cli.secret.paths import Owner, Runtime, a_runtime, a_secret_path, is_key
from axon_operator.cli.secret.place import PLACE, Place, place_of
from axon_operator.cli.secret.store import Secrets
from axon_operator.cli.secret.terminal import on_output, outlined, visible
from axon_operator.domain.consent import GrantFolder
from axon_operator.domain.names import TenantNames
from axon_operator.domain.resources import BINDING

_STDIN: Final = "-"
_LONGEST_NAME: Final = 40
_NOTHING_KEPT: Final = (
    "a login cannot be kept: XDG_RUNTIME_DIR names no folder that is yours alone. Each command logs in for itself"
)


# -- logging in


def _login(cluster: Cluster, options: argparse.Namespace) -> int:
    place = place_of(cluster, options)
    if options.token_file:
        raise CommandError("--token-file is for the other commands: an access token is too short-lived to keep")
    realm = Realm(place.realm, place.ca)
    _ensure_kept(realm)
    tokens = realm.by_browser() if options.browser else realm.by_device()
    with OpenBao(place, tokens.access), kept(realm.url) as file:
        if file:
            file.write(tokens.refresh)
    say(f"Logged in to Tenant {place.tenant} as user {user_of(tokens.access)}, until kubectl axon secret logout.")
    return 0


def _ensure_kept(realm: Realm) -> None:
    """Raises CommandError: there is no place for a login. Asked first: another command may want it meanwhile."""
    with kept(realm.url) as file:
        if file is None:
            raise CommandError(_NOTHING_KEPT)


def _logout(cluster: Cluster, options: argparse.Namespace) -> int:
    place = place_of(cluster, options)
    realm = Realm(place.realm, place.ca)
    with kept(realm.url) as file:
        refresh = file.read() if file else ""
        if file:
            file.forget()
    if refresh:
        realm.end(refresh)
    say(f"Logged out of Tenant {place.tenant}." if refresh else f"There is no login to Tenant {place.tenant}.")
    return 0


@contextmanager
def _secrets(cluster: Cluster, options: argparse.Namespace) -> Iterator[Secrets]:
    """The user's, logged in for this one command."""
    place = place_of(cluster, options)
    access = _access_token(place, options)
    owner = Owner(place.tenant, user_of(access))
    with OpenBao(place, access) as openbao:
        yield Secrets(openbao, owner)


def _access_token(place: Place, options: argparse.Namespace) -> str:
    if options.token_file:
        return _read(options.token_file).strip()
    realm = Realm(place.realm, place.ca)
    if options.browser:
        return realm.by_browser().access
    with kept(realm.url) as file:
        if file and (refresh := file.read()):
            tokens = realm.renewed(refresh)
            if tokens:
                file.write(tokens.refresh)
                return tokens.access
            file.forget()
            tell("The login that was kept has ended.")
    return realm.by_device().access


# -- the user's own secrets


def _put(cluster: Cluster, options: argparse.Namespace) -> int:
    values = _values(options)
    with _secrets(cluster, options) as secrets:
        version = secrets.put(options.path, values)
        is_granted = version > 1 and any(secrets.granted(options.path))
    tell(f"Secret {options.path} is kept, version {version}.")
    if is_granted:
        tell(
            "Runtimes to which you have allowed it still have the former value: kubectl axon secret list shows them,"
            " kubectl axon secret allow gives them this one."
        )
    return 0


def _values(options: argparse.Namespace) -> dict[str, str]:
    """From arguments, from a file, or from standard input."""
    readers = [options.from_json, options.token_file, *(pair.partition("=")[2] for pair in options.values)]
    if readers.count(_STDIN) > 1:
        raise CommandError("standard input can be read for one thing only")
    values = _from_json(options.from_json) if options.from_json else {}
    for pair in options.values:
        key, equals, value = pair.partition("=")
        if not equals or not is_key(key):
            raise CommandError(
                "write KEY=- to give a value on standard input, or KEY=VALUE; a key is made of letters, digits, '_', '-' and '.'"
            )
        if value == _STDIN:
            values[key] = _typed(key)
        else:
            tell(
                f"The value of {key} is on the command line: in the shell's history, and for other programs to see. {key}=- reads it."
            )
            values[key] = value
    if not values:
        raise CommandError("there is no value; write KEY=- and give it on standard input")
    return values


def _typed(key: str) -> str:
    """From a terminal without showing it, else all of standard input but a last line break."""
    if sys.stdin.isatty():
        return getpass.getpass(f"{key}: ")
    return sys.stdin.read().removesuffix("\n")


def _from_json(name: str) -> dict[str, str]:
    try:
        found = json.loads(_read(name))
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(is_key(k) and isinstance(v, str) for k, v in found.items()):
        raise CommandError("--from-json needs one JSON object with a text for each key")
    return found


def _read(name: str) -> str:
    """A file, or standard input."""
    try:
        return sys.stdin.read() if name == _STDIN else Path(name).read_text(encoding="utf-8")
    except (OSError, ValueError):
        raise CommandError(f"{name} cannot be read") from None


def _get(cluster: Cluster, options: argparse.Namespace) -> int:
    with _secrets(cluster, options) as secrets:
        values = secrets.get(options.path)
    if options.key is None:
        say(on_output(json.dumps(values, indent=2, ensure_ascii=False)))
        return 0
    if options.key not in values:
        raise CommandError(f"secret {options.path} has no key {options.key}; it has {_keys(values)}")
    sys.stdout.write(on_output(values[options.key]))
    return 0


def _keys(values: Mapping[str, str]) -> str:
    return visible(", ".join(sorted(values)))


def _list(cluster: Cluster, options: argparse.Namespace) -> int:
    with _secrets(cluster, options) as secrets:
        paths, grants, known = secrets.paths(), secrets.grants(), {r.uid: r for r in secrets.runtimes()}
    allowed: dict[str, list[dict[str, str]]] = defaultdict(list)
    for grant in grants:
        allowed[grant.path].append(_told(grant.to, known.get(grant.to.uid)))
    rows = [{"path": path, "allowed": allowed[path]} for path in sorted({*paths, *allowed})]
    if options.output == "json":
        say(json.dumps(rows, indent=2))
    elif rows:
        width = max(len("PATH"), *(len(str(row["path"])) for row in rows))
        say(f"{'PATH'.ljust(width)}   ALLOWED TO", *(_row(row, width) for row in rows))
    else:
        say("You have no secret.")
    return 0


def _told(to: GrantFolder, runtime: Runtime | None) -> dict[str, str]:
    """One grant for programs."""
    return {
        "runtime": runtime.name if runtime else "",
        "uid": to.uid,
        **({"revision": to.revision} if to.revision else {}),
    }


def _row(row: Mapping[str, Any], width: int) -> str:
    shown = (
        (g["runtime"] or f"a runtime that is gone ({g['uid']})")
        + (f" (only revision {g['revision']})" if "revision" in g else "")
        for g in row["allowed"]
    )
    return f"{row['path'].ljust(width)}   {', '.join(shown) or '-'}"


def _rm(cluster: Cluster, options: argparse.Namespace) -> int:
    with _secrets(cluster, options) as secrets:
        removed = secrets.remove(options.path)
    tell(f"Secret {options.path} {'is removed, with all that you had allowed of it' if removed else 'was not there'}.")
    return 0


# -- consent


def _allow(cluster: Cluster, options: argparse.Namespace) -> int:
    with _secrets(cluster, options) as secrets:
        values = secrets.get(options.path)
        if options.show:
            # before anything is looked up: without such a binding the directory may not have the runtime
            say(yaml.safe_dump(_binding(secrets.owner, options.path, options.runtime), sort_keys=False).rstrip())
        runtime = secrets.runtime(options.runtime)
        program = runtime.program()
        which = (
            f"this revision, {runtime.revision}, and no other"
            if options.this_revision
            else "every revision: what is shown is how it is now, and its administrator may change all of it"
        )
        tell(
            f"Runtime {runtime.name} of Tenant {secrets.owner.tenant} is to have your secret {options.path}.",
            f"Keys: {_keys(values)}",
            f"For {which}.",
            "",
            *outlined(program, "  "),
            "",
        )
        _ensure_consent(options)
        secrets.allow(options.path, values, runtime, this_revision=options.this_revision)
        tell("Allowed.")
    return 0


def _ensure_consent(options: argparse.Namespace) -> None:
    if options.yes:
        return
    if not sys.stdin.isatty():
        raise CommandError("nobody can be asked here; --yes consents")
    sys.stderr.write("Allow it? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise CommandError("nothing was allowed")


def _binding(owner: Owner, path: str, runtime: str) -> dict[str, Any]:
    """What the tenant's administrator, or the user, applies so that the runtime gets it."""
    name = re.sub(r"[^a-z0-9]+", "-", f"{runtime}-{path}".lower())[:_LONGEST_NAME].strip("-")
    return {
        "apiVersion": BINDING.api_version,
        "kind": BINDING.kind,
        "metadata": {"name": name, "namespace": TenantNames(owner.tenant, "").namespace},
        "spec": {
            "runtimeRef": {"name": runtime},
            "source": {"grant": {"user": owner.sub, "path": path}},
            "delivery": {"file": {"path": f"{name}.json"}},
        },
    }


def _deny(cluster: Cluster, options: argparse.Namespace) -> int:
    with _secrets(cluster, options) as secrets:
        withdrawn = secrets.deny(options.path, secrets.runtime(options.runtime))
    tell(
        f"Runtime {options.runtime} gets secret {options.path} no longer. What it has read, it may remember:"
        " change the value where it is used."
        if withdrawn
        else f"Runtime {options.runtime} was not allowed to have secret {options.path}."
    )
    return 0


# -- words

_PATH: Final = Argument(("path",), "of the secret, such as github/token", {"metavar": "PATH", "type": a_secret_path})
_RUNTIME: Final = Argument(("runtime",), "name of the WorkflowRuntime", {"metavar": "RUNTIME", "type": a_runtime})

_SECRET: Final = Group(
    "secret",
    "your own secrets, and which runtimes may have them",
    "A user's own secrets, encrypted on the user's machine: docs/users-secrets.md tells how. These commands speak to"
    " Keycloak and OpenBao with the user's own login, and need no kubeconfig if `--namespace` is given. These options"
    " stand behind the command.",
    (
        *PLACE,
        Argument(
            ("--browser",), "log in with a browser of this machine, and not with a code", {"action": "store_true"}
        ),
        Argument(
            ("--token-file",),
            "an access token of the realm's client `openbao`, for scripts; `-` is standard input",
            {"metavar": "FILE"},
        ),
    ),
)


SECRET_COMMANDS: Final[Sequence[Command]] = (
    Command(
        "login",
        "log in for the commands that follow",
        "Logs in to Keycloak, and keeps the session's refresh token in `XDG_RUNTIME_DIR`, readable for the user only,"
        " until `logout` or until the session ends. Without it each command logs in for itself.",
        (),
        _login,
        _SECRET,
    ),
    Command(
        "logout",
        "end that login",
        "Ends the session in Keycloak, also for the browser in which it began, and forgets it here.",
        (),
        _logout,
        _SECRET,
    ),
    Command(
        "put",
        "keep values",
        "Sets these values of a secret, and leaves its others as they are. Of two that change a secret at the same time"
        " none is lost.",
        (
            _PATH,
            Argument(
                ("values",),
                "`KEY=-` reads the value from standard input without a last line break, or asks for it at a terminal;"
                " `KEY=VALUE` is for what is no secret",
                {"metavar": "KEY=VALUE", "nargs": "*"},
            ),
            Argument(
                ("--from-json",),
                "a JSON object with a text for each key; `-` is standard input",
                {"metavar": "FILE"},
            ),
        ),
        _put,
        _SECRET,
    ),
    Command(
        "get",
        "show a secret",
        "Decrypts a secret here and prints it as JSON. On a terminal control characters are escaped; a program gets the value"
        " as it is.",
        (_PATH, Argument(("-k", "--key"), "only this value, as it is", {"metavar": "KEY"})),
        _get,
        _SECRET,
    ),
    Command(
        "list",
        "what there is, and who may have it",
        "Lists your secrets, and for each the runtimes to which you have allowed it. Values are not read.",
        (OUTPUT,),
        _list,
        _SECRET,
    ),
    Command(
        "rm",
        "remove a secret",
        "Withdraws all that you have allowed of a secret, then removes it with all its versions.",
        (_PATH,),
        _rm,
        _SECRET,
    ),
    Command(
        "allow",
        "let a runtime have a secret",
        "Shows what the runtime is now (image, command, arguments, environment, connections, egress, and its bindings with"
        " source and delivery), asks, and leaves it a copy that only it can decrypt. Without `--this-revision` an"
        " administrator may change all of that later. A SecretBinding has to ask for the secret first; `--show` prints it."
        " A changed secret has to be allowed anew.",
        (
            _PATH,
            _RUNTIME,
            Argument(
                ("--this-revision",),
                "only as the runtime is now: after a change of anything that is shown it has to be allowed anew",
                {"action": "store_true"},
            ),
            Argument(
                ("--show",), "print a SecretBinding that asks for it, before anything else", {"action": "store_true"}
            ),
            Argument(("-y", "--yes"), "do not ask", {"action": "store_true"}),
        ),
        _allow,
        _SECRET,
    ),
    Command(
        "deny",
        "withdraw that",
        "Removes every copy of the secret that the runtime has, of all revisions: first those that count now.",
        (_PATH, _RUNTIME),
        _deny,
        _SECRET,
    ),
)
