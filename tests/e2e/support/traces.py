"""What the three systems keep: etcd's raw bytes, events, logs, metrics, audit logs. Looks for values, counts writes."""

import base64
import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e2e.support import operator
from e2e.support.cluster import Cluster
from e2e.support.kubectl import Json
from e2e.support.settings import ADMIN, OPERATOR, OPERATOR_NAMESPACE, OPERATOR_USER
from e2e.support.shell import CommandError
from e2e.support.waiting import WaitedTooLongError, until_true

KUBERNETES_AUDIT = "/var/log/kubernetes/audit.log"
VAULT_AUDIT = "/openbao/audit/audit.log"
PKI = "/etc/kubernetes/pki/etcd"
ETCDCTL = (
    "etcdctl",
    "--endpoints=https://127.0.0.1:2379",
    f"--cacert={PKI}/ca.crt",
    f"--cert={PKI}/server.crt",
    f"--key={PKI}/server.key",
)
WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


# -- looking for a value


def encodings(value: str) -> tuple[bytes, ...]:
    """The value as it may stand in a file: plain, in hexadecimal, and in base64 at each of the three offsets."""
    raw = value.encode()
    shifted = (base64.b64encode(b"\0" * shift + raw) for shift in range(3))
    # the first and last characters of base64 also depend on the neighbours of the value
    return (raw, raw.hex().encode(), *(text[4:-4] for text in shifted))


def contains(haystack: bytes, value: str) -> bool:
    """Whether the value occurs, in any encoding."""
    return any(needle in haystack for needle in encodings(value))


def etcd(cluster: Cluster) -> dict[str, bytes]:
    """Every key that etcd holds now, with its raw value."""
    pods = cluster.kubectl.items("-n", "kube-system", "pods", "-l", "component=etcd")
    name = pods[0]["metadata"]["name"]
    dump = cluster.kubectl("-n", "kube-system", "exec", name, "--", *ETCDCTL, "get", "", "--prefix", "-w", "json")
    pairs = json.loads(dump)["kvs"]
    return {base64.b64decode(p["key"]).decode(): base64.b64decode(p.get("value", "")) for p in pairs}


def etcd_keys_with(cluster: Cluster, value: str) -> list[str]:
    """The keys of etcd under which the value stands."""
    return sorted(key for key, stored in etcd(cluster).items() if contains(stored, value))


def etcd_files_with(cluster: Cluster, value: str) -> list[str]:
    """The files of etcd in which the value stands: they also hold overwritten and deleted objects, until compaction."""
    needles = " ".join(f"-e {needle.decode()}" for needle in encodings(value))
    result = cluster.node.run(f"grep -l -a -F {needles} /var/lib/etcd/member/snap/db /var/lib/etcd/member/wal/*.wal")
    if result.code > 1:
        raise AssertionError(f"could not search etcd's files: {result.output}")
    return result.stdout.split()


def events(cluster: Cluster) -> str:
    """All Kubernetes Events."""
    return cluster.kubectl("get", "events", "-A", "-o", "json")


def metrics(cluster: Cluster) -> str:
    """What the leader exports now: it makes the passes."""
    return metrics_of(cluster, operator.pod_of(operator.holder(cluster)))


def metrics_of(cluster: Cluster, pod: str) -> str:
    """What one of the operator's pods exports now."""
    return cluster.operator_http(pod).request("GET", "metrics").text


def audit_lines(text: str) -> list[Json]:
    """The lines of the audit stream in the operator's output; each must be whole."""
    return [json.loads(line) for line in _whole_lines(text) if line.startswith('{"audit"')]


def log_lines(text: str) -> list[Json]:
    """The lines of the operator's log in its output."""
    return [json.loads(line) for line in _whole_lines(text) if line.startswith("{") and '"event"' in line]


def _whole_lines(text: str) -> list[str]:
    """The last line may still be on its way."""
    return text.split("\n")[:-1]


def operator_streams(cluster: Cluster) -> dict[str, list[str]]:
    """The operator's output by stream, which only the container runtime's own files tell apart."""
    files = f"/var/log/pods/{OPERATOR_NAMESPACE}_{OPERATOR}-*/operator/*.log"
    streams: dict[str, list[str]] = {"stdout": [], "stderr": []}
    for entry in _whole_lines(cluster.node.sh(f"cat {files}")):
        _, stream, _, line = entry.split(" ", 3)
        streams[stream].append(line)
    return streams


class OperatorLog:
    """Keeps the operator's whole output (log and audit stream), of all its pods: the kubelet keeps only those of a container's last two runs."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._folder = tempfile.TemporaryDirectory(prefix="axon-operator-log-")
        self._stop = threading.Event()
        self._followers: dict[str, subprocess.Popen[bytes]] = {}
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def text(self) -> str:
        """All of it until now, one pod after the other."""
        time.sleep(2)  # the last lines, and those of a new pod, are on their way
        return "".join(file.read_text(errors="replace") for file in sorted(Path(self._folder.name).iterdir()))

    def close(self) -> None:
        """Ends the collection."""
        self._stop.set()
        self._thread.join()
        for follower in self._followers.values():
            follower.terminate()

    def _follow(self) -> None:
        while not self._stop.is_set():
            with suppress(CommandError):  # the API server may be away for a moment
                for pod in operator.pods(self._cluster):
                    self._follow_pod(pod["metadata"]["name"])
            self._stop.wait(1)

    def _follow_pod(self, name: str) -> None:
        # following ends with each run of the container; what is then read twice does no harm
        if name not in self._followers or self._followers[name].poll() is not None:
            command = self._cluster.kubectl.command("-n", OPERATOR_NAMESPACE, "logs", "--follow", "--tail=-1", name)
            with (Path(self._folder.name) / name).open("ab") as output:
                self._followers[name] = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.DEVNULL
                )


# -- counting writes


@dataclass(frozen=True)
class Write:
    """A change that someone made in one of the three systems."""

    system: str
    what: str
    pod: str = field(default="", compare=False)
    """Where it came from: the pod's name in Kubernetes, its address in the others."""


class WriteCounter:
    """The operator's writes in the three systems since it was made, from their own audit logs."""

    def __init__(self, cluster: Cluster, *realms: str) -> None:
        self._cluster = cluster
        self._realms = realms
        self._kubernetes = cluster.node.size(KUBERNETES_AUDIT)
        self._vault = vault_audit_size(cluster)
        self._keycloak = int(time.time() * 1000)

    def writes(self) -> list[Write]:
        """All of them but the lease and the logins."""
        return [*self._kubernetes_writes(), *self._vault_writes(), *self._keycloak_writes()]

    def writes_of(self, pod: Json) -> list[Write]:
        """Those that one of the operator's pods made, the lease's included."""
        leases = [_api_call(e) for e in self._lease_calls() if e["verb"] in WRITES]
        here = {pod["metadata"]["name"], pod["status"]["podIP"]}
        return [write for write in (*self.writes(), *leases) if write.pod in here]

    def reads(self) -> list[Write]:
        """The operator's reads of OpenBao and Kubernetes: proof that the logs see it at work."""
        vault = [_vault_call(e) for e in self._vault_calls() if e["request"]["operation"] in {"read", "list"}]
        kubernetes = [_api_call(e) for e in self._kubernetes_calls() if e["verb"] in {"get", "list"}]
        return [*vault, *kubernetes]

    def _kubernetes_calls(self) -> Iterator[Json]:
        """Without what is done by the clock and for no object: the lease, and the looks at what the canary reports."""
        return (e for e in self._operator_calls() if not _is_lease(e) and not _is_look_at_the_canary(e))

    def _lease_calls(self) -> Iterator[Json]:
        return (e for e in self._operator_calls() if _is_lease(e))

    def _operator_calls(self) -> Iterator[Json]:
        lines = self._cluster.node.read_from(KUBERNETES_AUDIT, self._kubernetes).splitlines()
        entries = (json.loads(line) for line in lines if line.endswith("}"))
        return (e for e in entries if e["stage"] == "ResponseComplete" and e["user"]["username"] == OPERATOR_USER)

    def _kubernetes_writes(self) -> list[Write]:
        return [_api_call(e) for e in self._kubernetes_calls() if e["verb"] in WRITES]

    def _vault_calls(self) -> Iterator[Json]:
        return (e for e in vault_requests(self._cluster, self._vault) if _is_operator(e.get("auth", {})))

    def _vault_writes(self) -> list[Write]:
        return [_vault_call(e) for e in self._vault_calls() if e["request"]["operation"] in WRITES]

    def _keycloak_writes(self) -> list[Write]:
        found: list[Write] = []
        for realm in self._realms:
            answer = self._cluster.keycloak.admin("GET", f"{realm}/admin-events?max=10000")
            events: list[Json] = answer["items"] if answer else []
            recent = (e for e in events if e["time"] >= self._keycloak and not self._is_ours(e))
            found += (_realm_change(e, realm) for e in recent)
        return found

    def _is_ours(self, event: Json) -> bool:
        return bool(event["authDetails"]["userId"] == self._admin_user)

    @property
    def _admin_user(self) -> str:
        clients = self._cluster.keycloak.admin("GET", f"master/clients?clientId={ADMIN}")
        if not clients:
            raise AssertionError(f"no client {ADMIN} in the master realm")
        user = self._cluster.keycloak.admin("GET", f"master/clients/{clients['items'][0]['id']}/service-account-user")
        if not user:
            raise AssertionError(f"{ADMIN} has no service account")
        return str(user["id"])


def vault_audit_size(cluster: Cluster) -> int:
    """Length of OpenBao's audit log now."""
    return int(vault_sh(cluster, f"wc -c <{VAULT_AUDIT}"))


def vault_requests(cluster: Cluster, offset: int) -> Iterator[Json]:
    """What OpenBao was asked since its audit log had that length."""
    lines = vault_sh(cluster, f"tail -c +{offset + 1} {VAULT_AUDIT}").splitlines()
    entries = (json.loads(line) for line in lines if line.endswith("}"))
    return (e for e in entries if e["type"] == "request")


def vault_sh(cluster: Cluster, script: str) -> str:
    """What a shell script prints in OpenBao's own container."""
    pods = cluster.kubectl.items("-n", "openbao", "pods", "-l", "app.kubernetes.io/name=openbao")
    name = pods[0]["metadata"]["name"]
    return cluster.kubectl("-n", "openbao", "exec", name, "--", "sh", "-c", script)


def _is_operator(auth: Json) -> bool:
    metadata: dict[str, Any] = auth.get("metadata") or {}
    return metadata.get("role") == OPERATOR


def _is_lease(entry: Json) -> bool:
    return bool(entry.get("objectRef", {}).get("resource") == "leases")


def _is_look_at_the_canary(entry: Json) -> bool:
    return bool(entry["verb"] == "get" and entry.get("objectRef", {}).get("name", "").startswith("axon-canary-"))


def _api_call(entry: Json) -> Write:
    (pod,) = entry["user"].get("extra", {}).get("authentication.kubernetes.io/pod-name", [""])
    return Write("Kubernetes", f"{entry['verb']} {entry['requestURI']}", pod)


def _vault_call(entry: Json) -> Write:
    request = entry["request"]
    what = f"{request['operation']} {request.get('namespace', {}).get('path', '')}{request['path']}"
    return Write("OpenBao", what, request.get("remote_address", ""))


def _realm_change(event: Json, realm: str) -> Write:
    what = f"{event['operationType']} {event['resourceType']} in {realm}"
    return Write("Keycloak", what, event["authDetails"].get("ipAddress", ""))


def settled(cluster: Cluster, *realms: str, quiet: float = 3, timeout: float = 60) -> None:
    """Waits until the operator has made no write for a while."""

    def silent() -> bool:
        counter = WriteCounter(cluster, *realms)
        time.sleep(quiet)
        return not counter.writes()

    try:
        until_true("the operator comes to rest", silent, timeout=timeout, every=0)
    except WaitedTooLongError as error:
        raise AssertionError(f"the operator keeps writing: {WriteCounter(cluster, *realms).writes()}") from error
