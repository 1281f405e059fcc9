"""A Tenant's status alone tells what is wrong with an installation or a Tenant, and what to do about it."""

import json
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

from axon_operator.domain.resources import TENANT, Manifest
from axon_testbed.layout import REPOSITORY
from bench.bed import Bed
from bench.life import Controllers, Life, NotSettledError
from bench.tap import Tap
from integration.tenant.conftest import NewTenant
from integration.tenant.setups import SETUPS, Setup, Site
from servers.slapd import Slapd

HEADING: Final = "## What a Tenant's status says about a broken set-up"
_PATIENCE: Final = 120.0
_FOREIGN: Final = re.compile(
    # stack traces, names of libraries and their errors, servers' own texts
    r"Traceback|File \"|\bline \d+|Exception|urllib3|\brequests\.|\bhvac\b|\bpydantic\b|ConnectionPool|Max retries"
    r"|SSLError|CERTIFICATE_VERIFY|\[?[Ee]rrno|ConnectionError|invalid_client|error_description|permission denied"
    r"|org\.keycloak|\bjava\.|exceeded quota|is forbidden"
    # tokens, and addresses with somebody's credentials
    r"|eyJ[\w-]{8}|\b(?:hvs|hvb|s|b)\.[A-Za-z0-9]{20,}|://[^/\s\"]*@"
)


def conditions(tenant: Life) -> dict[str, dict[str, Any]]:
    status = tenant.objects()[0].get("status") or {}
    return {c["type"]: c for c in status.get("conditions") or ()}


def shown(tenant: Life) -> Manifest:
    """The Tenant as `kubectl get -o yaml` shows it."""
    live = tenant.objects()[0]
    return {**live, "metadata": {k: v for k, v in live["metadata"].items() if k != "managedFields"}}


def tells(found: dict[str, dict[str, Any]], setup: Setup) -> bool:
    """Whether the condition is there as the table says it, to the letter, and is the one that `Ready` repeats."""
    told, ready = found.get(setup.condition) or {}, found.get("Ready") or {}
    expected = (setup.status, setup.reason, setup.reason)
    return (told.get("status"), told.get("reason"), ready.get("reason")) == expected and setup.says in told["message"]


def work_until_told(tenant: Life, setup: Setup) -> dict[str, dict[str, Any]]:
    """One process of the operator goes on until the status says it."""
    controllers = Controllers(tenant, Tap())
    controllers.resync(TENANT)
    deadline = time.monotonic() + _PATIENCE
    while True:
        with suppress(NotSettledError):
            controllers.settle(0.5)
        found = conditions(tenant)
        if tells(found, setup):
            return found
        assert time.monotonic() < deadline, json.dumps(found, indent=1)


def secrets_of(servers: Bed, slapd: Slapd) -> list[str]:
    settings = servers.settings
    tokens = [file.read_text().strip() for file in (settings.vault_token_file, settings.keycloak_token_file)]
    return [*tokens, slapd.reader_password, "not-the-readers", servers.kube.admin_token]


@pytest.mark.parametrize("setup", SETUPS, ids=lambda setup: setup.wrong)
def test_the_status_alone_says_what_is_wrong_and_what_to_do(
    servers: Bed, new_tenant: NewTenant, slapd: Slapd, tmp_path: Path, setup: Setup
) -> None:
    tenant = new_tenant({})
    with setup.breaks(Site(servers, tenant, slapd, tmp_path)):
        found = work_until_told(tenant, setup)
        # the line that `kubectl get axt -o wide` shows says the same
        assert setup.says in found["Ready"]["message"]
        assert all(c["message"].endswith((".", ".)")) for c in found.values())
        text = json.dumps(shown(tenant))
        assert _FOREIGN.findall(text) == []
        assert [secret for secret in secrets_of(servers, slapd) if secret in text] == []
    tenant.settle(again=True)
    repaired = conditions(tenant)
    assert (repaired["Ready"]["status"], repaired["Ready"]["reason"]) == ("True", "Ready")
    assert {c["type"] for c in repaired.values() if c["status"] != "True"} == set()
    assert not repaired.keys() & {"Stalled", "Reconciling"}


@pytest.mark.parametrize(
    "text",
    [
        "HTTPSConnectionPool(host='x', port=1): Max retries exceeded",
        'Traceback (most recent call last): File "x.py", line 1',
        "https://admin:secret@openbao:8200",
        "Bearer eyJhbGciOiJSUzI1NiJ9.e30.x",
        "hvs.CAESIJ1v0nXbXq3yqUO1aRmGh4",
        'pods "x" is forbidden: exceeded quota: axon-quota',
    ],
)
def test_foreign_words_would_be_found(text: str) -> None:
    assert _FOREIGN.search(text)


def test_the_documentation_lists_exactly_these() -> None:
    page = (REPOSITORY / "docs" / "failure-modes.md").read_text()
    section = page.partition(f"{HEADING}\n")[2].partition("\n## ")[0]
    _, _, *rows = [line for line in section.splitlines() if line.startswith("|")]
    assert rows == [setup.row() for setup in SETUPS]
