"""`kubectl axon logout --wait`, while the operator's own controllers do what it asks for."""

import threading
from contextlib import suppress

import pytest

from axon_operator.cli.main import main
from bench.life import Life, NotSettledError
from integration.tenant.conftest import NewTenant


def run(tenant: Life, *arguments: str) -> int:
    """The command as administrator, beside the controllers; its exit code."""
    server = tenant.bed.server
    config = server.kubeconfig("cli", server.kube.admin_token)
    command = ["--kubeconfig", str(config), "logout", tenant.names.tenant, *arguments, "--wait"]
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main(command)))
    thread.start()
    while thread.is_alive():
        with suppress(NotSettledError):
            tenant.settle(patience=0.5)
        thread.join(0.1)
    return codes[0]


def test_it_waits_until_everybody_is_out(new_tenant: NewTenant, capsys: pytest.CaptureFixture[str]) -> None:
    tenant = new_tenant({})
    tenant.settle()
    assert run(tenant, "--all") == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"The sessions of everybody in Tenant {tenant.names.tenant} ended after ")
    assert 0 < float(shown.split()[-2]) < 120
    (done,) = tenant.objects()[0]["status"]["logouts"]
    assert done["user"] == "*"


def test_it_does_not_wait_for_somebody_who_is_not_there(
    new_tenant: NewTenant, capsys: pytest.CaptureFixture[str]
) -> None:
    tenant = new_tenant({})
    tenant.settle()
    assert run(tenant, "nobody") == 1
    assert f"Realm {tenant.names.realm} has no user nobody; correct spec.identity.logout." in capsys.readouterr().err
