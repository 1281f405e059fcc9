"""Real processes of the operator before a real API server, with the rights they have in the cluster: one leads, one
stands by. OpenBao and Keycloak are away, so what can be seen of the work is a Tenant's namespace."""

import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from axon_testbed.layout import MANIFESTS
from e2e.support.kubectl import Json, Kubectl
from e2e.support.waiting import Unmet, until, until_true
from servers.processes import free_port

INSTALL = MANIFESTS / "install"
NAMESPACE = "axon-system"
LEASE_SECONDS = 15
TAKEN_OVER_SECONDS = 20
HANDED_OVER_SECONDS = 5


class Process:
    """One process of the operator, as its pod would run it."""

    def __init__(self, folder: Path, kubeconfig: Path, settings: dict[str, str]) -> None:
        self.pod = f"pod-{secrets.token_hex(3)}"
        self._port = free_port()
        self._log = folder / f"{self.pod}.log"
        environment = {**os.environ, **settings, "KUBECONFIG": str(kubeconfig), "AXON_PORT": str(self._port)}
        with self._log.open("wb") as log:
            self.running = subprocess.Popen(
                [sys.executable, "-c", "from axon_operator.handlers import main; main()"],
                env={**environment, "AXON_POD_NAME": self.pod},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def probe(self, path: str) -> str | None:
        """What the process answers; None if it does not answer with 200."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/{path}", timeout=2) as answer:
                return str(answer.read().decode())
        except OSError:
            return None

    def wait_ready(self) -> None:
        """Leading or not."""
        until_true(f"{self.pod} is ready", lambda: self.probe("readyz") is not None, timeout=30, every=0.1)

    def leads(self) -> bool:
        """By its own metric."""
        return "axon_operator_leader 1.0" in (self.probe("metrics") or "")

    def log(self) -> str:
        """All that it said."""
        return self._log.read_text(errors="replace")


@pytest.fixture(scope="module")
def processes(kubeconfig: Path) -> Iterator[list[Process]]:
    """Those that were started; ended at last."""
    started: list[Process] = []
    yield started
    for process in started:
        process.running.kill()
        process.running.wait()


@pytest.fixture
def pair(kubectl: Kubectl, kubeconfig: Path, processes: list[Process]) -> tuple[Process, Process]:
    """A leader and a warm standby."""
    living = [p for p in processes if p.running.poll() is None]
    while len(living) < 2:
        living.append(Process(kubeconfig.parent, kubeconfig, settings(kubeconfig.parent)))
        processes.append(living[-1])
        living[-1].wait_ready()

    def found() -> tuple[Process, Process]:
        leaders = [p for p in living if p.leads()]
        if len(leaders) != 1 or not holder(kubectl).startswith(leaders[0].pod):
            raise Unmet(f"{[p.pod for p in leaders]} lead, {holder(kubectl)!r} holds the lease")
        (standby,) = (p for p in living if p is not leaders[0])
        return leaders[0], standby

    return until("one of two leads", found, timeout=LEASE_SECONDS + 15)


def settings(folder: Path) -> dict[str, str]:
    """The environment that the chart gives, with backends that are away."""
    documents = yaml.safe_load_all((INSTALL / "operator.yaml").read_text(encoding="utf-8"))
    pod = next(
        d["spec"]["template"]["spec"]
        for d in documents
        if d and (d["kind"], d["metadata"]["name"]) == ("Deployment", "axon-operator")
    )
    given = {v["name"]: v["value"] for v in pod["containers"][0]["env"] if "value" in v}
    (folder / "ca.crt").write_text("")
    nowhere = {"AXON_VAULT_ADDRESS": "https://127.0.0.1:1", "AXON_KEYCLOAK_URL": "https://127.0.0.1:1"}
    files = {name: str(folder / "ca.crt") for name in given if name.endswith("_CA_FILE")}
    return {**given, **nowhere, **files, "AXON_OPERATOR_NAMESPACE": NAMESPACE}


def lease(kubectl: Kubectl) -> Json:
    """The spec of the operator's Lease."""
    found: Json = kubectl.need("-n", NAMESPACE, "lease", "axon-operator")["spec"]
    return found


def holder(kubectl: Kubectl) -> str:
    """Who holds it."""
    found = kubectl.get("-n", NAMESPACE, "lease", "axon-operator")
    return str((found or {}).get("spec", {}).get("holderIdentity", ""))


def works(kubectl: Kubectl) -> float:
    """Applies a Tenant; returns when its namespace is there, with the seconds that took."""
    name, began = f"t-{secrets.token_hex(3)}", time.monotonic()
    kubectl.apply({"apiVersion": "axonos.ai/v1alpha1", "kind": "Tenant", "metadata": {"name": name}, "spec": {}})
    until_true(
        f"namespace of {name}", lambda: kubectl.get("namespace", f"axon-{name}") is not None, timeout=40, every=0.2
    )
    return time.monotonic() - began


def test_of_two_one_leads_and_both_are_ready(kubectl: Kubectl, pair: tuple[Process, Process]) -> None:
    leader, standby = pair
    works(kubectl)
    assert standby.probe("livez")
    assert standby.probe("readyz")
    assert "axon_operator_leader 0.0" in (standby.probe("metrics") or "")
    until_true("the end of the leader's pass", lambda: '"changed"' in leader.log())
    assert '"changed"' not in standby.log(), "the standby worked"


def test_after_kill_9_the_standby_leads_and_works(kubectl: Kubectl, pair: tuple[Process, Process]) -> None:
    leader, standby = pair
    leader.running.kill()
    seconds = works(kubectl)
    print(f"the standby worked {seconds:.1f} s after the kill")
    assert standby.leads()
    assert seconds <= TAKEN_OVER_SECONDS


def test_a_frozen_leader_is_followed_and_ends_when_it_thaws(kubectl: Kubectl, pair: tuple[Process, Process]) -> None:
    leader, standby = pair
    leader.running.send_signal(signal.SIGSTOP)
    seconds = works(kubectl)
    print(f"the standby worked {seconds:.1f} s after the freeze")
    assert seconds <= TAKEN_OVER_SECONDS
    before = len(leader.log())
    leader.running.send_signal(signal.SIGCONT)
    assert leader.running.wait(5) == 1
    said = leader.log()[before:]
    assert "no longer leads" in said
    assert '"changed"' not in said
    assert standby.leads()


def test_a_leader_that_is_told_to_end_hands_over(kubectl: Kubectl, pair: tuple[Process, Process]) -> None:
    leader, standby = pair
    transitions, began = lease(kubectl)["leaseTransitions"], time.monotonic()
    leader.running.terminate()

    def handed_over() -> None:
        if not holder(kubectl).startswith(standby.pod):
            raise Unmet(holder(kubectl))

    until("the standby holds the lease", handed_over, timeout=30, every=0.1)
    seconds = time.monotonic() - began
    print(f"handed over {seconds:.1f} s after SIGTERM")
    assert seconds <= HANDED_OVER_SECONDS
    assert leader.running.wait(10) == 0
    assert lease(kubectl)["leaseTransitions"] == transitions + 1
    works(kubectl)


def test_a_leader_whose_lease_is_deleted_ends(kubectl: Kubectl, pair: tuple[Process, Process]) -> None:
    leader, _ = pair
    kubectl("-n", NAMESPACE, "delete", "lease", "axon-operator")
    assert leader.running.wait(10) == 1
