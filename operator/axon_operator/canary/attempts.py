"""Every way into a tenant that the canary tries. Each must be refused."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import requests

from axon_operator.canary.stranger import Body, Stranger, concluded
from axon_operator.domain.isolation import Attempt, Result, Target, combined
from axon_operator.domain.names import KV_MOUNT, RUNTIME_AUTH_MOUNT
from axon_operator.domain.resources import RUNTIME
from axon_operator.domain.runtime import VAULT_AUDIENCE

_NEW_POD: Final = 5.0
"""Seconds in which every policy about it has arrived everywhere."""
_KEYLESS: Final = "fetching keys"
_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def visit(stranger: Stranger, target: Target, issuer: str) -> dict[Attempt, Result]:
    """All that can be tried in a tenant. `issuer`: of its realm, which is the audience of tokens for it."""
    tries: Mapping[Attempt, Callable[[], Result]] = {
        Attempt.SECRETS: partial(_list, stranger, f"/api/v1/namespaces/{target.namespace}/secrets"),
        Attempt.RUNTIMES: partial(
            _list, stranger, f"/apis/{RUNTIME.api_version}/namespaces/{target.namespace}/{RUNTIME.plural}"
        ),
        Attempt.TOKENS: partial(_take_tokens, stranger, target),
        Attempt.NETWORK: partial(_knock, stranger, target),
        Attempt.LOGIN: partial(_log_in, stranger, target),
        Attempt.READ: partial(_read, stranger, target),
        Attempt.CLIENT: partial(_pose_as_client, stranger, target, issuer),
        Attempt.USER: partial(_pose_as_user, stranger, target, issuer),
    }
    return {attempt: tries[attempt]() for attempt in Attempt if attempt in target.attempts}


def _list(stranger: Stranger, path: str) -> Result:
    return _by_kubernetes(stranger.kubernetes("GET", f"{path}?limit=1"))


def _take_tokens(stranger: Stranger, target: Target) -> Result:
    """RBAC refuses, and behind it an admission policy. An account that is gone is no refusal, and no crossing."""
    accounts = f"/api/v1/namespaces/{target.namespace}/serviceaccounts"
    wanted = {"spec": {"audiences": [VAULT_AUDIENCE], "expirationSeconds": 600}}
    return combined(
        _by_kubernetes(stranger.kubernetes("POST", f"{accounts}/{account}/token", json=wanted))
        for account in target.accounts
    )


def _knock(stranger: Stranger, target: Target) -> Result:
    """Where it gets through, once more a little later: some network plugins close a new pod a moment after its start."""
    result = _knock_everywhere(stranger, target)
    if result is not Result.CROSSED:
        return result
    time.sleep(_NEW_POD)
    return _knock_everywhere(stranger, target)


def _knock_everywhere(stranger: Stranger, target: Target) -> Result:
    with ThreadPoolExecutor(len(target.addresses)) as at_once:
        return combined(at_once.map(stranger.knock, target.addresses))


def _log_in(stranger: Stranger, target: Target) -> Result:
    jwt = stranger.token(VAULT_AUDIENCE)
    if jwt is None:
        return Result.UNDECIDED
    path = f"auth/{RUNTIME_AUTH_MOUNT}/login"
    return combined(
        _by_openbao(stranger.openbao("POST", target.vault_namespace, path, json={"role": role, "jwt": jwt}))
        for role in target.accounts
    )


def _read(stranger: Stranger, target: Target) -> Result:
    """Without a token, for that is what every stranger has."""
    return _by_openbao(stranger.openbao("GET", target.vault_namespace, f"{KV_MOUNT}/metadata/org?list=true"))


def _pose_as_client(stranger: Stranger, target: Target, issuer: str) -> Result:
    """As whichever client accepts it: Keycloak looks for one by the token's subject."""
    jwt = stranger.token(issuer)
    if jwt is None:
        return Result.UNDECIDED
    form = {"grant_type": "client_credentials", "client_assertion_type": _ASSERTION, "client_assertion": jwt}
    return _by_keycloak(stranger.keycloak("POST", target.realm, "protocol/openid-connect/token", data=form))


def _pose_as_user(stranger: Stranger, target: Target, issuer: str) -> Result:
    jwt = stranger.token(issuer)
    if jwt is None:
        return Result.UNDECIDED
    headers = {"Authorization": f"Bearer {jwt}"}
    return _by_keycloak(stranger.keycloak("GET", target.realm, "protocol/openid-connect/userinfo", headers=headers))


def _by_kubernetes(answer: requests.Response | None) -> Result:
    """401 would only say that the canary's own token is no good."""
    return concluded(answer, lambda a, body: a.status_code == 403 and body.get("kind") == "Status")


def _by_openbao(answer: requests.Response | None) -> Result:
    return concluded(
        answer,
        # 400 is also what a mount says that could not fetch the keys for its check, and so has refused nobody
        lambda a, body: (
            a.status_code in {400, 403} and bool(body.get("errors")) and _KEYLESS not in str(body["errors"])
        ),
        # who is let through to nothing is told no reason; an unknown path has one
        lets_through=lambda a, body: a.status_code == 404 and body.get("errors") == [],
    )


def _by_keycloak(answer: requests.Response | None) -> Result:
    """Where it takes bearer tokens, Keycloak refuses in a header and with an empty body."""

    def refuses(a: requests.Response, body: Body) -> bool:
        told = isinstance(body.get("error"), str) or 'error="' in a.headers.get("WWW-Authenticate", "")
        return a.status_code in {400, 401, 403} and told

    return concluded(answer, refuses)
