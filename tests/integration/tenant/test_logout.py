"""Forced logouts, with real tokens of Keycloak and OpenBao."""

import datetime
import time
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from axon_operator.domain.names import USERS_CLIENT
from axon_operator.domain.resources import TENANT, Ref
from axon_operator.reconcile.common import utc_now
from bench.life import Life
from integration.tenant.conftest import NewTenant
from integration.tenant.people import Person, Realm, Session, log_in

GOAL_SECONDS = 5.0
PORTAL = "portal"
"""A client that gives offline tokens."""
MINE = "kv/data/users/{}/note"


@dataclass(frozen=True)
class LoggedIn:
    """All that somebody holds who is logged in."""

    person: Person
    tokens: dict[str, Any]
    offline: dict[str, Any]
    session: Session

    @classmethod
    def of(cls, person: Person) -> "LoggedIn":
        person.realm.client(PORTAL)
        tokens, offline = person.tokens(), person.tokens(PORTAL, scope="openid offline_access")
        status, answer = log_in(person.realm.tenant, tokens["access_token"])
        assert status == 200, answer
        return cls(person, tokens, offline, Session(person.realm.tenant, answer["auth"]["client_token"]))

    def alive(self) -> dict[str, bool]:
        """Which of it still opens something."""
        realm, tenant = self.person.realm, self.person.realm.tenant
        ca = str(tenant.settings.keycloak_ca_file)
        bearer = {"Authorization": f"Bearer {self.tokens['access_token']}"}

        def refreshed(client: str, tokens: dict[str, Any]) -> bool:
            form = {"grant_type": "refresh_token", "client_id": client, "refresh_token": tokens["refresh_token"]}
            url = f"{realm.url}/protocol/openid-connect/token"
            return requests.post(url, data=form, verify=ca, timeout=30).status_code == 200

        userinfo = f"{realm.url}/protocol/openid-connect/userinfo"
        return {
            "OpenBao's token": self.session.call("POST", MINE.format(self.person.sub), {"data": {"a": 1}})[0] == 200,
            "a login to OpenBao with the access token": log_in(tenant, self.tokens["access_token"])[0] == 200,
            "the access token": requests.get(userinfo, headers=bearer, verify=ca, timeout=30).status_code == 200,
            "the refresh token": refreshed(USERS_CLIENT, self.tokens),
            "the offline token": refreshed(PORTAL, self.offline),
        }


@pytest.fixture
def acme(new_tenant: NewTenant) -> Life:
    made = new_tenant({"identity": {"mfa": "None"}})
    made.settle()
    return made


def end(tenant: Life, *users: str, trigger: str) -> float:
    """Asks for it; seconds until it is done."""
    logouts = [{"user": user, "trigger": trigger} for user in users]
    started = time.monotonic()
    tenant.edit(TENANT, tenant.names.tenant, {"identity": {"logout": logouts}})
    tenant.settle()
    return time.monotonic() - started


def recorded(tenant: Life) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tenant.kube.get(Ref(TENANT, "", tenant.names.tenant))["status"].get("logouts", [])
    return found


def test_all_that_a_user_holds_is_dead_and_others_notice_nothing(acme: Life) -> None:
    realm = Realm(acme)
    alice, bob = (LoggedIn.of(realm.user(name)) for name in ("alice", "bob"))
    assert all(alice.alive().values()), alice.alive()
    seconds = end(acme, "alice", trigger="1")
    assert not any(alice.alive().values()), alice.alive()
    assert all(bob.alive().values()), bob.alive()
    assert seconds < GOAL_SECONDS, f"it took {seconds:.1f} s"
    # a new session is possible at once; OpenBao waits until no token of before is good
    again = alice.person.tokens()
    assert log_in(acme, again["access_token"])[0] != 200

    acme.clock = lambda: utc_now() + datetime.timedelta(minutes=3)
    acme.settle(again=True)
    assert log_in(acme, alice.person.tokens()["access_token"])[0] == 200
    assert not alice.alive()["OpenBao's token"]
    assert recorded(acme)[0]["readmittedAt"]
    assert acme.settle(again=True).writes == ()


def test_a_token_that_was_never_shown_to_openbao_buys_no_login(acme: Life) -> None:
    carol = Realm(acme).user("carol")
    tokens = carol.tokens()
    end(acme, "carol", trigger="1")
    assert log_in(acme, tokens["access_token"])[0] != 200


def test_everybody_is_out_and_comes_back_later(acme: Life) -> None:
    realm = Realm(acme)
    alice, bob = (LoggedIn.of(realm.user(name)) for name in ("alice", "bob"))
    seconds = end(acme, "*", trigger="1")
    for person in (alice, bob):
        assert not any(person.alive().values()), person.alive()
    assert seconds < GOAL_SECONDS, f"it took {seconds:.1f} s"
    assert acme.settle(again=True).writes == ()

    acme.clock = lambda: utc_now() + datetime.timedelta(minutes=3)
    acme.settle(again=True)
    assert log_in(acme, alice.person.tokens()["access_token"])[0] == 200
    assert not alice.alive()["OpenBao's token"]
    assert acme.settle(again=True).writes == ()
