"""Where the suite finds the cluster, and the names that the test bed and the operator agreed on."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
CACHE = Path(os.environ.get("AXON_CACHE") or "~/.cache/axon-operator").expanduser()
KUBECONFIG = (
    Path(os.environ.get("KUBECONFIG") or "~/.kube/config").expanduser()
    if os.environ.get("AXON_TESTBED") == "existing"
    else CACHE / "kubeconfig"
)
"""The shell's own cluster only if that is asked for: the suite deletes things."""

CHART = REPOSITORY / "charts" / "axon-operator"
SAMPLES = REPOSITORY / "manifests" / "samples"

OPERATOR_NAMESPACE = "axon-system"
OPERATOR = "axon-operator"
OPERATOR_USER = f"system:serviceaccount:{OPERATOR_NAMESPACE}:{OPERATOR}"
TESTBED_NAMESPACE = "axon-testbed"
ADMIN = "testbed-admin"
DATABASE_ADDRESS = "203.0.113.10"
"""For which the test bed has made a certificate; on the sample Tenants' list of what may be reached."""

VAULT_PARENT = "axon"
VAULT_AUDIENCE = "openbao"
KEYCLOAK_URL = "https://keycloak.keycloak.svc.cluster.local:8443"


def program(name: str) -> str:
    """The pinned binary of the test bed if it is there, else whatever the PATH has."""
    pinned = CACHE / "bin" / name
    return str(pinned) if pinned.exists() else name
