"""What the API server writes into our objects by itself, by kind.

Kinds that are listed are compared exactly: what is neither planned nor here was put there by somebody.
Kinds that are not (Namespace, ServiceAccount) are shared: other controllers keep fields of their own in them.
`tests/integration/api/test_defaults.py` holds this table against a real API server.
"""

from collections.abc import Mapping, Sequence
from typing import Any

ANY: Sequence[Any] = ()

_POD = ".spec.template.spec"
_PROBE = {
    ".timeoutSeconds": (1,),
    ".periodSeconds": (10,),
    ".successThreshold": (1,),
    ".failureThreshold": (3,),
    ".httpGet.scheme": ("HTTP",),
}
_CONTAINER: Mapping[str, Sequence[Any]] = {
    ".terminationMessagePath": ("/dev/termination-log",),
    ".terminationMessagePolicy": ("File",),
    ".imagePullPolicy": ("IfNotPresent", "Always"),
    ".resources": ({},),
    ".ports.protocol": ("TCP",),
    ".env.valueFrom.fieldRef.apiVersion": ("v1",),
    **{
        f".{probe}{field}": values
        for probe in ("startupProbe", "readinessProbe", "livenessProbe")
        for field, values in _PROBE.items()
    },
}

SERVERS_FIELDS: Mapping[str, Mapping[str, Sequence[Any]]] = {
    "NetworkPolicy": {},
    "RoleBinding": {},
    "ResourceQuota": {},
    "LimitRange": {},
    "ConfigMap": {},
    "Service": {
        ".spec.clusterIP": ANY,
        ".spec.clusterIPs": ANY,
        ".spec.ipFamilies": ANY,
        ".spec.ipFamilyPolicy": ANY,
        ".spec.internalTrafficPolicy": ("Cluster",),
        ".spec.sessionAffinity": ("None",),
    },
    "Deployment": {
        ".spec.progressDeadlineSeconds": (600,),
        ".spec.revisionHistoryLimit": (10,),
        # `kubectl rollout restart`, which the operations guide tells people to use
        ".spec.template.metadata.annotations.kubectl.kubernetes.io/restartedAt": ANY,
        f"{_POD}.restartPolicy": ("Always",),
        f"{_POD}.dnsPolicy": ("ClusterFirst",),
        f"{_POD}.schedulerName": ("default-scheduler",),
        # the old name of serviceAccountName; the server keeps the two equal
        f"{_POD}.serviceAccount": ANY,
        **{
            f"{_POD}.{group}{field}": values
            for group in ("initContainers", "containers")
            for field, values in _CONTAINER.items()
        },
    },
}

IMMUTABLE: Mapping[str, tuple[str, ...]] = {"RoleBinding": ("roleRef",), "Deployment": ("spec", "selector")}
"""Where a difference can only be set right by making the object anew."""
