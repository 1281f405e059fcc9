"""Runs the real helm on the chart."""

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from axon_testbed.layout import REPOSITORY, Layout
from axon_testbed.tools import CLIENT_TOOLS, build_go, debian_binary

CHART = REPOSITORY / "charts" / "axon-operator"

PROFILES = "axonos.ai/v1alpha1/GovernanceProfile"
"""The kind is served already, as from the second installation on."""

Manifest = dict[str, Any]
Helm = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def helm_binary() -> str:
    """$HELM, else the test bed's, else the one in PATH (the same order as in render.sh), else built."""
    layout = Layout.from_environment()
    cached = layout.bin / "helm"
    found = os.environ.get("HELM") or (str(cached) if cached.exists() else shutil.which("helm"))
    if not found:
        # unit tests run before the test bed is up: a bare clone has none yet
        (tool,) = (tool for tool in CLIENT_TOOLS if "helm" in tool.packages)
        build_go(layout, tool)
        found = str(cached)
    return found


@pytest.fixture(scope="session")
def promtool() -> str:
    """Prometheus's own judge of rules: the one in PATH, else Debian's."""
    return shutil.which("promtool") or str(debian_binary(Layout.from_environment(), "prometheus", "promtool"))


@pytest.fixture(scope="session")
def first_helm(helm_binary: str) -> Helm:
    """`helm template` on a cluster that knows none of our kinds, with further arguments; never raises."""

    def template(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [helm_binary, "template", "axon-operator", str(CHART)]
        fixed = ["--namespace", "axon-system", "--kube-version", "1.37.0"]
        return subprocess.run([*command, *fixed, *arguments], capture_output=True, text=True, check=False)

    return template


@pytest.fixture(scope="session")
def helm(first_helm: Helm) -> Helm:
    """The same on a cluster that has the CRDs."""
    return partial(first_helm, "--api-versions", PROFILES)


@pytest.fixture(scope="session")
def chart(helm: Helm) -> list[Manifest]:
    """All objects of the chart with its default values."""
    done = helm()
    assert done.returncode == 0, done.stderr
    return documents(done.stdout)


def documents(text: str) -> list[Manifest]:
    """The objects in a YAML stream."""
    return [document for document in yaml.safe_load_all(text) if document]


def one(manifests: Sequence[Manifest], kind: str, name: str) -> Manifest:
    """The object of that kind and name."""
    (found,) = (m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name)
    return found


def read(path: Path) -> list[Manifest]:
    """The objects in a file."""
    return documents(path.read_text(encoding="utf-8"))
