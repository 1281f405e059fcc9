"""The tenant's namespace in OpenBao, with the rights of one user, for one command."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from axon_operator.cli.cluster import CommandError, ConflictError, ForbiddenError
from axon_operator.cli.grammar import tell
from axon_operator.cli.secret.http import Answer, Server
from axon_operator.cli.secret.place import Place
from axon_operator.domain.names import USER_AUTH_MOUNT
from axon_operator.domain.tenant.vault import USER

_CHANGED_MEANWHILE = "check-and-set parameter did not match the current version"


class RefusedError(CommandError):
    """OpenBao refuses what it was given."""


class OpenBao:
    """Logged in while it is entered; its token is never written anywhere, and revoked at the end."""

    def __init__(self, place: Place, access_token: str) -> None:
        self._server = Server("OpenBao", f"{place.openbao}/v1", place.ca)
        self._headers = {"X-Vault-Namespace": place.namespace}
        self._access_token = access_token

    def __enter__(self) -> "OpenBao":
        """Raises CommandError: the login is refused."""
        body = {"role": USER, "jwt": self._access_token}
        answer = self._server.send("POST", f"auth/{USER_AUTH_MOUNT}/login", headers=self._headers, json=body)
        match answer.body:
            case {"auth": {"client_token": str(token)}} if answer.ok:
                self._headers["X-Vault-Token"] = token
                return self
        if answer.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}:
            raise CommandError(
                "OpenBao does not accept the login: the access token is expired or not for OpenBao, "
                "or --tenant, --keycloak and --namespace do not belong together"
            )
        raise _error(answer, "log in")

    def __exit__(self, *_: object) -> None:
        try:
            ended = self._send("POST", "auth/token/revoke-self").ok
        except CommandError:
            ended = False
        if not ended:
            tell("The login to OpenBao could not be ended; it ends by itself within ten minutes.")

    def read(self, path: str) -> Mapping[str, Any] | None:
        """The `data` that is there, or None."""
        answer = self._send("GET", path)
        if answer.status == HTTPStatus.NOT_FOUND:
            # of a version that was deleted there is data about it
            return answer.body.get("data")
        return self._data(answer, "read")

    def list(self, path: str) -> list[str]:
        """The names there; those of folders end with a slash."""
        answer = self._send("LIST", path)
        if answer.status == HTTPStatus.NOT_FOUND:
            return []
        return [str(key) for key in self._data(answer, "list").get("keys") or ()]

    def write(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """The `data` of the answer.

        Raises:
            ConflictError: somebody else was faster.
            ForbiddenError: it is not the user's to write.
            RefusedError: it does not accept what it was given.
        """
        answer = self._send("POST", path, body)
        if answer.status == HTTPStatus.BAD_REQUEST:
            if any(_CHANGED_MEANWHILE in str(error) for error in answer.body.get("errors") or ()):
                raise ConflictError("the secret is being changed by somebody else at the same time; try again")
            raise RefusedError("OpenBao refuses the request")
        return self._data(answer, "write")

    def delete(self, path: str) -> None:
        """Whatever is there, if anything is."""
        self._data(self._send("DELETE", path), "delete")

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        return self._server.send(method, path, headers=self._headers, json=body)

    def _data(self, answer: Answer, verb: str) -> Mapping[str, Any]:
        if not answer.ok:
            raise _error(answer, verb)
        return answer.body.get("data") or {}


def _error(answer: Answer, verb: str) -> CommandError:
    match answer.status:
        case HTTPStatus.FORBIDDEN:
            return ForbiddenError(f"OpenBao does not let you {verb} this; your rights may have just changed: try again")
        case HTTPStatus.TOO_MANY_REQUESTS:
            return CommandError("the tenant sends OpenBao more requests than it may; try again in a moment")
        case HTTPStatus.SERVICE_UNAVAILABLE:
            return CommandError("OpenBao is sealed, or the Tenant is suspended; ask your administrator")
        case _:
            return CommandError(f"OpenBao answers with code {answer.status} ({verb}); try again")
