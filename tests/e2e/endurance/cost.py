"""What an idle pod costs: memory and CPU of its sidecars, and what it asks of OpenBao."""

import datetime
import json
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import yaml

from axon_testbed.progress import step
from bench.report import Row
from e2e.endurance.consumer import WAITING
from e2e.endurance.options import Options
from e2e.support import operator, samples
from e2e.support.cluster import binding_ref, runtime_ref
from e2e.support.house import House
from e2e.support.kubectl import Json
from e2e.support.settings import CHART, OPERATOR, OPERATOR_NAMESPACE
from e2e.support.traces import vault_audit_size, vault_requests

NAME: Final = "cost"
_PODS: Final = 5
"""Of each of the two runtimes."""
_SETTLE: Final = 60.0
"""Seconds until what a start costs is over."""
_INTERVAL: Final = "AXON_AGENT_RENDER_INTERVAL"
_PROXY: Final = {"host": "api.example", "localPort": 8085, "key": "key", "prefix": "Bearer "}
_HOUR: Final = 3600.0


@dataclass(frozen=True)
class _Usage:
    """Of one container, at one time."""

    at: float
    cpu: float
    """Seconds since its start."""
    memory: float
    """MiB that no file backs."""


def run(house: House, options: Options) -> Iterator[Row]:
    """Of a pod with a file, and of one with a proxy, each of one binding, at the chart's default interval."""
    with _default_interval(house) as interval:
        with step(f"cost: start two runtimes of {_PODS} pods, and let them rest"):
            plain, proxied = (
                _start(house, "plain", samples.file("key.json")),
                _start(house, "proxied", {"proxy": _PROXY}),
            )
            time.sleep(_SETTLE)
        first, offset, began = _usages(house), vault_audit_size(house.cluster), time.monotonic()
        with step(f"cost: {options.minutes:g} minutes of rest"):
            time.sleep(options.minutes * 60)
        last, asked_for = _usages(house), vault_requests(house.cluster, offset)
        hours = (time.monotonic() - began) / _HOUR
    asked = Counter(str(entry["request"].get("remote_address", "")) for entry in asked_for)
    for what, pods, containers in (("file", plain, ("credentials",)), ("proxy", proxied, ("credentials", "proxy"))):
        for container in containers:
            yield from _spent(
                f"{container}, of a pod with one {what}", [(p["metadata"]["uid"], container) for p in pods], first, last
            )
        calls = sum(asked[p["status"]["podIP"]] for p in pods)
        note = f"{calls} in {hours * 60:.1f} min by {len(pods)} pods, looking every {interval} s"
        yield Row(
            NAME, f"requests to OpenBao, each pod with one {what}", calls / hours / len(pods), "an hour", None, note
        )


def _spent(
    what: str,
    containers: list[tuple[str, str]],
    first: dict[tuple[str, str], _Usage],
    last: dict[tuple[str, str], _Usage],
) -> Iterator[Row]:
    memory = [last[c].memory for c in containers]
    cpu = [(last[c].cpu - first[c].cpu) / (last[c].at - first[c].at) * 1000 for c in containers]
    for kind, values, unit in (("anonymous memory", memory, "MiB"), ("CPU", cpu, "m")):
        note = f"mean of {len(values)} pods, highest {max(values):.1f} {unit}"
        yield Row(NAME, f"{what}: {kind}", sum(values) / len(values), unit, None, note)


def _start(house: House, runtime: str, delivery: Json) -> list[Json]:
    """A runtime with one binding, and its pods."""
    house.cluster.write_secret(house.tenant, f"idle/{runtime}", key=secrets.token_hex(8))
    house.declare(runtime, image=samples.image(), args=[WAITING], replicas=0)
    house.cluster.kubectl.apply(
        samples.binding(
            house.tenant,
            runtime,
            runtimeRef={"name": runtime},
            source=samples.kv(f"idle/{runtime}", "key"),
            delivery=delivery,
        )
    )
    house.edit(runtime_ref(house.tenant, runtime), replicas=_PODS)
    house.cluster.wait_ready(runtime_ref(house.tenant, runtime), binding_ref(house.tenant, runtime))
    pods = house.cluster.pods(house.tenant, runtime)
    assert len(pods) == _PODS, f"{len(pods)} pods"
    return pods


def _usages(house: House) -> dict[tuple[str, str], _Usage]:
    """By uid of the pod and name of the container, as the kubelet tells."""
    (node,) = house.cluster.kubectl.items("nodes")
    path = f"/api/v1/nodes/{node['metadata']['name']}/proxy/stats/summary"
    pods: list[Json] = json.loads(house.cluster.kubectl("get", "--raw", path))["pods"]
    return {
        (pod["podRef"]["uid"], container["name"]): _usage(container)
        for pod in pods
        for container in pod.get("containers", ())
        if "cpu" in container and "memory" in container
    }


def _usage(container: Json) -> _Usage:
    cpu, memory = container["cpu"], container["memory"]
    at = datetime.datetime.fromisoformat(cpu["time"]).timestamp()
    return _Usage(at, cpu["usageCoreNanoSeconds"] / 1e9, memory["rssBytes"] / 2**20)


@contextmanager
def _default_interval(house: House) -> Iterator[int]:
    """Pods look for new versions as often as the chart says; the tests' own values make them look more often."""
    interval: int = yaml.safe_load((CHART / "values.yaml").read_text())["agent"]["renderInterval"]
    before = _set_interval(house, str(interval))
    try:
        yield interval
    finally:
        _set_interval(house, before)


def _set_interval(house: House, seconds: str) -> str:
    """What it was before."""
    kubectl, deployment = house.cluster.kubectl, f"deployment/{OPERATOR}"
    (container,) = kubectl.need("-n", OPERATOR_NAMESPACE, deployment)["spec"]["template"]["spec"]["containers"]
    before = next(str(v["value"]) for v in container["env"] if v["name"] == _INTERVAL)
    kubectl("-n", OPERATOR_NAMESPACE, "set", "env", deployment, f"{_INTERVAL}={seconds}")
    operator.wait_running(house.cluster)
    return before
