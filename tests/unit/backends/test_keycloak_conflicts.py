"""A conflict in Keycloak: whose is what is there?"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Terminal, Waiting
from axon_operator.backends.keycloak.adapter import KeycloakAdmin, KeycloakSettings
from axon_operator.domain.resources import RealmPath

from .wire import Reply, Seen, Wire, serving

CLIENTS = RealmPath("axon-acme", ("clients",))
BODY = {"id": "6a8f", "clientId": "rt-agent-0123456789"}


@pytest.fixture
def wire() -> Iterator[Wire]:
    with serving(lambda _: Reply(500)) as running:
        yield running


@pytest.fixture
def keycloak(wire: Wire, tmp_path: Path) -> KeycloakAdmin:
    token = tmp_path / "token"
    token.write_text("a.jwt.x")
    return KeycloakAdmin(KeycloakSettings(wire.url, None, token, timeout=2))


def conflicting(*, read: int) -> Callable[[Seen], Reply]:
    def answer(request: Seen) -> Reply:
        if request.path.endswith("/token"):
            return Reply(200, {"access_token": "t", "expires_in": 60})
        return Reply(409) if request.method == "POST" else Reply(read, {})

    return answer


def test_a_foreign_client_of_that_name_is_told_once_the_own_id_is_known_absent(
    wire: Wire, keycloak: KeycloakAdmin
) -> None:
    wire.answer = conflicting(read=404)
    with pytest.raises(Terminal) as failed:
        keycloak.create(CLIENTS, BODY)
    assert failed.value.reason is Reason.NAME_TAKEN
    assert "rt-agent-0123456789" in failed.value.message
    assert wire.seen[-1].path == "/admin/realms/axon-acme/clients/6a8f"


def test_ones_own_client_made_by_a_pass_that_was_cut_off_is_waited_for(wire: Wire, keycloak: KeycloakAdmin) -> None:
    wire.answer = conflicting(read=200)
    with pytest.raises(Waiting):
        keycloak.create(CLIENTS, BODY)
