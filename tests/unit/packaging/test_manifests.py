"""manifests/ installs what the chart installs, and the samples are valid objects."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from axon_operator.api.crds import KINDS
from axon_operator.api.governance import GovernanceProfileSpec
from axon_operator.api.secretbinding import Delivery, SecretBindingSpec, Source
from axon_operator.api.tenant import TenantSpec
from axon_operator.api.workflowruntime import WorkflowRuntimeSpec
from axon_operator.domain.governance import Governed, violations
from axon_operator.domain.names import TenantNames
from axon_testbed.layout import MANIFESTS, REPOSITORY
from unit.packaging.conftest import Manifest, one, read

INSTALL = MANIFESTS / "install"
SAMPLES = MANIFESTS / "samples"


def test_install_is_the_rendered_chart(helm_binary: str) -> None:
    done = subprocess.run(
        [INSTALL / "render.sh", "--check"],
        env={**os.environ, "HELM": helm_binary},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_install_holds_every_object_of_the_chart(chart: list[Manifest]) -> None:
    def identity(manifest: Manifest) -> tuple[str, str]:
        return manifest["kind"], manifest["metadata"]["name"]

    installed = [m for file in ("crds", "operator", "profiles") for m in read(INSTALL / f"{file}.yaml")]
    assert sorted(map(identity, installed)) == sorted(map(identity, chart))


def test_the_namespace_enforces_restricted() -> None:
    (namespace,) = read(INSTALL / "namespace.yaml")
    assert namespace["metadata"]["name"] == "axon-system"
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize(
    "file", sorted(MANIFESTS.glob("**/kustomization.yaml")), ids=lambda file: str(file.parent.relative_to(MANIFESTS))
)
def test_kustomizations_name_files_that_exist(file: Path) -> None:
    (kustomization,) = read(file)
    missing = [name for name in kustomization.get("resources", ()) if not (file.parent / name).exists()]
    assert missing == []


def _samples() -> list[Manifest]:
    files = sorted(SAMPLES.glob("*/*.yaml"))
    return [m for file in files if file.name != "kustomization.yaml" for m in read(file)]


def test_samples_fit_the_models() -> None:
    specs = {kind.name: kind.spec for kind in KINDS}
    seen = [specs[m["kind"]].model_validate(m["spec"]) for m in _samples()]
    assert {type(spec) for spec in seen} == set(specs.values())


def test_sample_workloads_are_in_the_sample_tenants_namespaces() -> None:
    samples = _samples()
    tenants = [m["metadata"]["name"] for m in samples if m["kind"] == "Tenant"]
    assert tenants == ["acme", "globex"]
    namespaces = {TenantNames(tenant, uid="").namespace for tenant in tenants}
    cluster_wide = {kind.name for kind in KINDS if not kind.namespaced}
    assert {m["metadata"]["namespace"] for m in samples if m["kind"] not in cluster_wide} == namespaces


def test_the_samples_keep_to_the_profile_that_their_tenant_names() -> None:
    samples = _samples()
    profile = GovernanceProfileSpec.model_validate(one(samples, "GovernanceProfile", "house")["spec"])
    assert TenantSpec.model_validate(one(samples, "Tenant", "acme")["spec"]).governance.profile == "house"
    governed: dict[str, type[Governed]] = {
        "Tenant": TenantSpec,
        "WorkflowRuntime": WorkflowRuntimeSpec,
        "SecretBinding": SecretBindingSpec,
    }
    specs = [governed[m["kind"]].model_validate(m["spec"]) for m in samples if m["kind"] in governed]
    assert [message for spec in specs for message in violations("house", profile, spec)] == []


def test_the_short_sample_relies_on_defaults() -> None:
    spec = TenantSpec.model_validate(one(_samples(), "Tenant", "globex")["spec"])
    assert spec == TenantSpec(display_name="Globex")


def _documented() -> list[Manifest]:
    page = (REPOSITORY / "docs" / "bindings.md").read_text(encoding="utf-8")
    return [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)]


def test_the_guide_shows_each_source_and_each_delivery_by_what_fits_the_model() -> None:
    specs = [SecretBindingSpec.model_validate(m["spec"]) for m in _documented()]
    assert {kind for spec in specs for kind in spec.source.to_json()} == set(Source.model_fields)
    assert {kind for spec in specs for kind in spec.delivery.to_json()} == set(Delivery.model_fields)
