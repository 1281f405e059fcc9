"""The CRDs are complete, bounded and what the models say. Whether the API server accepts them, and what
it then refuses, is tested against a real one in tests/integration/api/test_crds.py."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ConfigDict, Field

from axon_operator.api import crds
from axon_operator.api.base import ApiModel, cel
from axon_operator.api.identity import Sessions
from axon_operator.api.reasons import ConditionType
from axon_operator.api.tenant import TenantSpec

MAX_BYTES = 256 * 1024
"""`kubectl apply` keeps the whole object in an annotation, which may not be larger."""

KINDS = pytest.mark.parametrize("kind", crds.KINDS, ids=lambda kind: kind.name)


def _schema(kind: crds.Kind) -> dict[str, Any]:
    schema: dict[str, Any] = crds.crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def _nodes(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from _nodes(child, f"{path}.{name}")
    if "items" in node:
        yield from _nodes(node["items"], f"{path}[]")


def _fields(kind: crds.Kind) -> Iterator[tuple[str, dict[str, Any]]]:
    """Spec and status; metadata is the API server's own."""
    for part in {"spec", "status"} & _schema(kind)["properties"].keys():
        yield from _nodes(_schema(kind)["properties"][part], part)


def test_the_committed_files_are_current() -> None:
    assert crds.stale(crds.outputs(), crds.ROOT) == []


def test_check_names_the_stale_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--root", str(tmp_path)]
    assert crds.generate(crds.outputs(), "axon_operator.api.crds", arguments) == 0
    assert crds.generate(crds.outputs(), "axon_operator.api.crds", [*arguments, "--check"]) == 0
    capsys.readouterr()

    (tmp_path / "crds/axonos.ai_tenants.yaml").write_text("changed by hand")

    assert crds.generate(crds.outputs(), "axon_operator.api.crds", [*arguments, "--check"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "not current: crds/axonos.ai_tenants.yaml; run python -m axon_operator.api.crds"
    ]
    assert (tmp_path / "crds/axonos.ai_tenants.yaml").read_text() == "changed by hand"


@KINDS
def test_every_field_has_a_description(kind: crds.Kind) -> None:
    silent = [path for path, node in _fields(kind) if not node.get("description") and not path.endswith("[]")]
    assert silent == []


@KINDS
def test_every_string_and_list_is_bounded(kind: crds.Kind) -> None:
    """The API server refuses CEL rules over unbounded fields, and nobody may store a huge object."""
    unbounded = [
        path
        for path, node in _fields(kind)
        if (node["type"] == "array" and "maxItems" not in node)
        or (node["type"] == "string" and not {"maxLength", "enum"} & node.keys() and node.get("format") != "date-time")
    ]
    assert unbounded == []


@KINDS
def test_the_schema_is_structural(kind: crds.Kind) -> None:
    forbidden = {"$ref", "$defs", "anyOf", "title", "additionalProperties", "const", "uniqueItems"}
    for path, node in _nodes(_schema(kind)):
        assert "type" in node, path
        assert not forbidden & node.keys(), path
        assert node.get("default", ...) is not None, path


@KINDS
def test_no_reference_names_a_namespace(kind: crds.Kind) -> None:
    assert [path for path, _ in _nodes(_schema(kind)["properties"]["spec"]) if path.endswith("amespace")] == []


@KINDS
def test_kubectl_apply_has_room(kind: crds.Kind) -> None:
    assert len(crds.to_yaml(crds.crd(kind)).encode()) < MAX_BYTES


@KINDS
def test_columns_read_fields_that_exist(kind: crds.Kind) -> None:
    known = {path for path, _ in _nodes(_schema(kind))}
    for column in kind.columns:
        if column.path.startswith(".metadata.") or "conditions[?" in column.path:
            continue
        assert column.path in known, column.name
    assert ([column.name for column in kind.columns][:2] == ["Ready", "Reason"]) is (kind.status is not None)


def test_a_kind_that_nobody_reports_on_has_no_status() -> None:
    (version,) = crds.crd(crds.GOVERNANCE_PROFILE)["spec"]["versions"]
    assert "subresources" not in version
    assert "status" not in _schema(crds.GOVERNANCE_PROFILE)["properties"]


@pytest.mark.parametrize("kind", [kind for kind in crds.KINDS if kind.status], ids=lambda kind: kind.name)
def test_conditions_are_a_map_by_type(kind: crds.Kind) -> None:
    conditions = _schema(kind)["properties"]["status"]["properties"]["conditions"]
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert conditions["maxItems"] >= len(ConditionType)


def test_the_scale_subresource_reads_fields_that_exist() -> None:
    known = {path for path, _ in _nodes(_schema(crds.WORKFLOW_RUNTIME))}
    assert crds.WORKFLOW_RUNTIME.scale is not None
    assert set(crds.WORKFLOW_RUNTIME.scale.values()) <= known


def test_defaults_reach_nested_objects() -> None:
    """An empty spec, defaulted as the API server does it, is the spec that the operator assumes."""

    def defaulted(node: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
        for name, child in node.get("properties", {}).items():
            if name not in value and "default" in child:
                value[name] = child["default"]
            if isinstance(value.get(name), dict):
                value[name] = defaulted(child, dict(value[name]))
        return value

    stored = defaulted(_schema(crds.TENANT)["properties"]["spec"], {})
    assert stored["identity"]["sessions"] == Sessions().to_json()
    assert TenantSpec.model_validate(stored) == TenantSpec()


class _Inner(ApiModel):
    """Inner."""

    model_config = ConfigDict(json_schema_extra=cel("has(self.a)", "from the model"))

    a: str | None = Field(default=None, description="A.", max_length=1)
    b: str = Field(description="B.", max_length=1)


class _Outer(ApiModel):
    """Outer."""

    inner: _Inner | None = Field(
        default=None,
        description="The field's own words.",
        json_schema_extra=cel("self == oldSelf", "from the field"),
    )


def test_rules_of_model_and_field_are_both_kept() -> None:
    inner = crds.structural(_Outer)["properties"]["inner"]
    assert inner["description"] == "The field's own words."
    assert [rule["message"] for rule in inner["x-kubernetes-validations"]] == [
        "from the model",
        "from the field",
    ]
    assert "default" not in inner, "a default that lacks a required field would be refused"


@KINDS
def test_fields_of_a_newer_version_are_ignored(kind: crds.Kind) -> None:
    """A rollback keeps the newer CRDs, and with them objects that hold more than this version knows."""
    required: dict[str, Any] = {"image": "registry.example/agent:1"} if kind is crds.WORKFLOW_RUNTIME else {}
    if kind is crds.SECRET_BINDING:
        required = {"runtimeRef": {"name": "agent", "newer": 1}, "source": {"newer": {}}, "delivery": {"newer": {}}}
    newer = kind.spec.model_validate({**required, "newer": {"nested": [1]}})
    assert "newer" not in str(newer.to_json())


@KINDS
def test_the_chart_keeps_the_crd_on_uninstall(kind: crds.Kind) -> None:
    text = (crds.ROOT / "charts/axon-operator/templates/crds" / kind.file_name).read_text()
    lines = text.splitlines()
    assert lines[1] == "{{- if .Values.crds.enabled }}"
    assert lines[-1] == "{{- end }}"
    packaged = yaml.safe_load("\n".join(lines[2:-1]))
    assert packaged["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert packaged == yaml.safe_load((crds.ROOT / "crds" / kind.file_name).read_text())
