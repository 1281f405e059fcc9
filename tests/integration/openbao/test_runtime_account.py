"""A runtime's service account and its role, made as one step on real servers; the role is the record of the account."""

import copy
import json
import uuid
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from axon_operator.backends.kubernetes.adapter import KubernetesApi
from axon_operator.backends.vault.adapter import OpenBao
from axon_operator.domain.names import TenantNames
from axon_operator.domain.resources import Manifest, ref_of
from axon_operator.domain.runtime import service_account
from axon_operator.domain.runtime.vault import vault_role
from axon_operator.reconcile.engine.plan import Backends, KubeCreateBound, perform
from axon_operator.reconcile.runtime.vault import is_bound
from integration.openbao.tenants import planned_empty, runtime, write
from servers.bao import Bao
from servers.kube import Kube


@pytest.fixture
def kubernetes(kube: Kube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KubernetesApi:
    """The operator's adapter, as administrator."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "clusters": [
            {
                "name": "it",
                "cluster": {
                    "server": f"https://127.0.0.1:{kube.port}",
                    "certificate-authority": str(kube.ca_file),
                },
            }
        ],
        "users": [{"name": "it", "user": {"token": kube.admin_token}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    # the library has read the variable when it was imported
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    return KubernetesApi(timeout=10, connections=1)


def test_the_role_knows_the_account_that_the_operator_made_and_no_copy_of_it(
    kube: Kube, bao: Bao, vault: OpenBao, kubernetes: KubernetesApi
) -> None:
    tenant = TenantNames("phoenix", str(uuid.uuid4()))  # as a label
    kube.service_account(tenant.namespace, "first")  # makes the namespace
    write(vault, planned_empty(tenant))
    of_runtime = runtime(tenant)
    planned, name = service_account(of_runtime), of_runtime.names.principal
    role = vault_role(of_runtime, "").at

    def live() -> Manifest:
        found = kubernetes.get(ref_of(planned))
        assert found is not None
        return found

    def login() -> int:
        jwt = kube.token(tenant.namespace, name, "openbao")
        return bao.log_in(f"axon/{tenant.vault_namespace}", name, jwt)[0]

    create = KubeCreateBound(planned, partial(vault_role, of_runtime))
    perform(create, Backends(kubernetes, vault, cast(Any, None)), lambda _change, _outcome: None)
    assert is_bound(live(), of_runtime, {role: vault.read(role)})
    assert login() == 200

    kube.delete_service_account(tenant.namespace, name)
    kubernetes.create(copy.deepcopy(planned))
    assert live()["metadata"]["labels"] == planned["metadata"]["labels"]
    assert not is_bound(live(), of_runtime, {role: vault.read(role)})
    assert login() in {400, 403}
