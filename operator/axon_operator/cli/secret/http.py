"""Requests to Keycloak and OpenBao as a user sends them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import requests

from axon_operator.cli.cluster import CommandError

_TIMEOUT: Final = (5.0, 30.0)
"""Seconds to connect, and without a byte."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server says: never shown as it is, it could hold what we sent."""

    status: int
    body: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        """Whether it did what it was asked for."""
        return 200 <= self.status < 300


class Server:
    """One server, by TLS under its own name. No redirect is followed, no variable of the environment leads elsewhere."""

    def __init__(self, name: str, url: str, ca: str) -> None:
        """`ca`: file with the authorities of its certificate; empty: the public ones."""
        self._name, self._url, self._ca = name, url, ca
        self._http = requests.Session()
        self._http.trust_env = False

    def send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: object = None,
        form: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request.

        Raises:
            CommandError: there is no answer.
        """
        try:
            response = self._http.request(
                method,
                f"{self._url}/{path}",
                headers=headers,
                json=json,
                data=form,
                verify=self._ca or True,
                allow_redirects=False,
                timeout=_TIMEOUT,
            )
        except (requests.RequestException, OSError):
            why = "does not answer, or did not prove its identity; check its address and --ca"
            raise CommandError(f"{self._name} at {self._url} {why}") from None
        try:
            body = response.json() if response.content else {}
        except ValueError:
            body = {}
        return Answer(response.status_code, body if isinstance(body, dict) else {})
