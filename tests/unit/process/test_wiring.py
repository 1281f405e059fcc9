"""Which parts there are, by the settings."""

from pathlib import Path

import pytest
from kubernetes.config import kube_config

from axon_operator.process.settings import Settings
from axon_operator.process.wiring import build
from unit.process.test_main import GOOD, KUBECONFIG


@pytest.mark.parametrize(("role", "rounds"), [("", []), ("axon-audit", ["AuditWatch"])])
def test_nobody_looks_at_audit_devices_without_a_role_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: str, rounds: list[str]
) -> None:
    (tmp_path / "ca.crt").write_text("")
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
    monkeypatch.chdir(tmp_path)
    for name, value in {**GOOD, "VAULT_AUDIT_ROLE": role}.items():
        monkeypatch.setenv(f"AXON_{name}", value)
    operator = build(Settings())
    assert [type(each).__name__ for each in operator.rounds] == ["Sweeper", "GrantWatch", *rounds]
    assert operator.stop(0)
