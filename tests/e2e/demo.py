"""The first path, end to end, from real commands: `make demo`."""

import os
import re
import secrets
import shlex
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from e2e.support import operator, traces
from e2e.support.cluster import (
    Cluster,
    Pod,
    binding_ref,
    realm_issuer,
    runtime_ref,
    tenant_ref,
)
from e2e.support.kubectl import Json, Kubectl
from e2e.support.openbao import tenants_of
from e2e.support.settings import KUBECONFIG, REPOSITORY, SAMPLES, VAULT_AUDIENCE
from e2e.support.tenants import SECRET_FILE, SECRET_KEY, SECRET_PATH
from e2e.support.waiting import Unmet, until

ACME, GLOBEX = "acme", "globex"
EVERYONE = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{}]}
SHOWN_LINES = 24


@dataclass
class Row:
    """A line of the summary."""

    check: str
    expected: str
    seen: str

    @property
    def ok(self) -> bool:
        """Whether it is as it should be."""
        return self.expected == self.seen


@dataclass
class Stage:
    """The terminal, the cluster and the summary. `kubectl` shows what it does, `cluster` looks behind the scenes."""

    cluster: Cluster
    console: Console
    rows: list[Row] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @property
    def kubectl(self) -> Kubectl:
        """kubectl as if someone typed it."""
        return Kubectl(KUBECONFIG, self.echo)

    @property
    def glass(self) -> Kubectl:
        """The same as an administrator who has broken the glass: nobody else gets into a runtime's pod."""
        return self.kubectl.breaking_glass()

    def echo(self, text: str) -> None:
        """A command, or what it printed."""
        if text.startswith("$ "):
            self.console.print(text, style="bold", markup=False, highlight=False, soft_wrap=True)
            return
        lines = text.splitlines()
        hidden = len(lines) - SHOWN_LINES
        shown = lines[:SHOWN_LINES] + ([f"... {hidden} more lines"] if hidden > 0 else [])
        body = textwrap.indent("\n".join(shown), "  ")
        self.console.print(body, style="dim", markup=False, highlight=False, soft_wrap=True)

    def section(self, title: str, why: str = "") -> None:
        """A new chapter."""
        seconds = time.monotonic() - self.began
        self.console.print()
        self.console.rule(f"[bold]{title}[/]  [dim]{seconds:.0f} s[/]", align="left")
        if why:
            self.console.print(why, style="italic", markup=False)

    def expect(self, check: str, expected: str, seen: str) -> None:
        """A check, for the summary."""
        row = Row(check, expected, seen)
        self.rows.append(row)
        mark, style = ("ok", "green") if row.ok else ("DIFFERS", "bold red")
        self.console.print(f"  {mark}: {check}: {seen}", style=style, markup=False, highlight=False)

    def summary(self) -> bool:
        """The table of all checks; whether all are as expected."""
        table = Table(title="What was shown", title_justify="left")
        for column in ("check", "expected", "seen"):
            table.add_column(column, overflow="fold")
        table.add_column("")
        for row in self.rows:
            table.add_row(row.check, row.expected, row.seen, "[green]ok[/]" if row.ok else "[bold red]DIFFERS[/]")
        self.console.print()
        self.console.print(table)
        return all(row.ok for row in self.rows)


# -- setting up


def show_cluster(stage: Stage) -> None:
    """The cluster with both backends."""
    stage.section(
        "A cluster with OpenBao and Keycloak", "No root token and no administrator's password is left in either."
    )
    stage.kubectl("get", "nodes")
    stage.kubectl("get", "pods", "-n", "openbao")
    stage.kubectl("get", "pods", "-n", "keycloak")


def install(stage: Stage) -> None:
    """The operator, from the chart."""
    stage.section(
        "The operator, installed with its chart", "It holds no credential: it logs in with its service account's token."
    )
    command = operator.install(stage.cluster)
    folder = str(stage.cluster.ca.parent)
    told = (
        shlex.join(command[1:]).replace(f"{REPOSITORY}/", "").replace(folder, "…").replace(str(KUBECONFIG.parent), "…")
    )
    stage.echo(f"$ helm {told}")
    stage.kubectl("-n", "axon-system", "get", "deployments,pods")


def remove_earlier_samples(stage: Stage) -> None:
    """What an earlier demo left."""
    refs = [tenant_ref(ACME), tenant_ref(GLOBEX)]
    stage.cluster.kubectl("delete", "tenants.axonos.ai", ACME, GLOBEX, "--ignore-not-found", "--wait=false")
    stage.cluster.wait_gone(*refs)


def apply_samples(stage: Stage, value: str) -> None:
    """Two organizations, a runtime and a credential in each."""
    kubectl = stage.kubectl
    stage.section("Two organizations", "Each gets a namespace, an OpenBao namespace and a Keycloak realm.")
    kubectl("apply", "-k", str((SAMPLES / "tenants").relative_to(REPOSITORY)))
    kubectl("wait", "--for=condition=Ready", "axt", ACME, GLOBEX, "--timeout=180s", timeout=200)
    stage.cluster.break_glass(ACME, GLOBEX)
    stage.section(
        "A credential in each organization's OpenBao",
        f"Written by the organization, at kv/org/{SECRET_PATH}. No Kubernetes object will ever hold it.",
    )
    stage.cluster.write_secret(ACME, SECRET_PATH, **{SECRET_KEY: value})
    stage.cluster.write_secret(GLOBEX, SECRET_PATH, **{SECRET_KEY: f"globex-{secrets.token_hex(12)}"})
    stage.section("A runtime and a binding to that credential in each")
    kubectl("apply", "-k", str((SAMPLES / "workloads").relative_to(REPOSITORY)))
    for tenant in (ACME, GLOBEX):
        where = ("-n", f"axon-{tenant}", "--timeout=180s")
        kubectl("wait", "--for=condition=Ready", "axw/agent", "axsb/billing", *where, timeout=200)


# -- the checks


def all_ready(stage: Stage) -> None:
    """The status of every object."""
    stage.section("The status of every object")
    stage.kubectl("get", "axt,axw,axsb", "-A")
    for tenant in (ACME, GLOBEX):
        for ref in (tenant_ref(tenant), runtime_ref(tenant), binding_ref(tenant)):
            stage.expect(f"{ref} is Ready", "True", stage.cluster.condition(ref, "Ready")["status"])


def credential_is_a_file(stage: Stage, pod: Pod, value: str) -> None:
    """The credential in acme's pod."""
    stage.section(
        "The credential is a file in acme's pod",
        "On a memory volume that the workload can only read. Nobody gets into a pod without breaking the glass: hence --as.",
    )
    shown = in_workload(stage, pod, "cat", f"/var/run/axon/secrets/{SECRET_FILE}")
    stage.expect("acme's pod holds acme's credential", "yes", yes(value in shown))
    volume = in_workload(stage, pod, "grep", "/var/run/axon/secrets", "/proc/mounts")
    stage.expect("on a volume of the kind", "tmpfs", (volume.split() + ["?"] * 3)[2])


def credential_is_in_no_object(stage: Stage, value: str) -> None:
    """The credential in etcd."""
    stage.section("The credential is in no Kubernetes object", "Looked for in the raw bytes of every key in etcd.")
    plant = f"planted-{secrets.token_hex(12)}"
    metadata = {"name": "planted", "namespace": "axon-testbed"}
    stage.cluster.kubectl.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"x": plant}})
    planted = traces.etcd_keys_with(stage.cluster, plant)
    stage.cluster.kubectl("-n", "axon-testbed", "delete", "configmap", "planted")
    stage.expect("the search finds a value planted in a ConfigMap", "yes", yes(bool(planted)))
    keys = traces.etcd_keys_with(stage.cluster, value)
    stage.expect("keys of etcd that contain acme's credential", "none", ", ".join(keys) or "none")


def refused_by_openbao(stage: Stage, pod: Pod) -> None:
    """globex's pod at acme's path."""
    stage.section("globex's pod asks OpenBao for acme's credential", "Logged in as itself, with its own token.")
    for tenant, expected in ((GLOBEX, "allowed"), (ACME, "permission denied")):
        stage.expect(f"globex's pod reads {tenant}'s path", expected, bao_read(stage, pod, tenant))


def bao_read(stage: Stage, pod: Pod, tenant: str) -> str:
    """What OpenBao says to a pod that reads a tenant's secret."""
    namespace = stage.cluster.vault_namespace(tenant)
    script = (
        "BAO_TOKEN=$(bao write -field=token auth/$AUTH_MOUNT/login role=$ROLE jwt=@$JWT) "
        f"bao read -namespace={namespace} -field=metadata kv/data/org/{SECRET_PATH}"
    )
    done = stage.glass.exec(pod.namespace, pod.name, "credentials", "sh", "-c", script)
    if done.ok:
        return "allowed"
    return "permission denied" if "permission denied" in done.output else done.output.strip()


def refused_by_the_network(stage: Stage, attacker: Pod, victim: Pod) -> None:
    """globex's pod at acme's address."""
    stage.section(
        "globex's pod calls acme's pod", "Refused; then with the policies lifted, so that the refusal means something."
    )
    stage.expect("globex's pod reaches acme's pod", "no", yes(shown_reach(stage, attacker, victim)))
    for tenant in (ACME, GLOBEX):
        stage.glass.apply(lifted(tenant))
    reached = eventually(lambda: stage.cluster.reaches(attacker, victim.ip))
    shown_reach(stage, attacker, victim)
    stage.expect("the same with the network policies lifted", "yes", yes(reached))
    for tenant in (ACME, GLOBEX):
        stage.kubectl("-n", f"axon-{tenant}", "delete", "networkpolicy", "lifted")
    refused = eventually(lambda: not stage.cluster.reaches(attacker, victim.ip))
    stage.expect("and with the policies as they were", "no", yes(not refused))


def shown_reach(stage: Stage, attacker: Pod, victim: Pod) -> bool:
    """Whether one pod reaches another, from a command on the screen."""
    url = f"http://{victim.ip}:8080/"
    done = stage.glass.exec(attacker.namespace, attacker.name, "workload", "timeout", "3", "wget", "-qO-", url)
    return done.ok


def lifted(tenant: str) -> Json:
    """A policy that opens a tenant's namespace."""
    metadata = {"name": "lifted", "namespace": f"axon-{tenant}"}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": EVERYONE}


def isolated(stage: Stage) -> None:
    """What the canary found, which has been trying all the while."""
    stage.section(
        "A canary keeps trying to cross into each tenant", "What has just been shown once is proven all the time."
    )
    told = stage.cluster.wait_condition(tenant_ref(ACME), "Isolated", "True", timeout=60)
    jsonpath = "jsonpath={.status.conditions[?(@.type=='Isolated')].message}"
    stage.kubectl("get", "tenant.axonos.ai", ACME, "-o", jsonpath)
    stage.expect("acme's condition Isolated", "True", told["status"])


def refused_by_the_realm(stage: Stage) -> None:
    """globex's token at acme's realm."""
    stage.section("globex's workload logs in to acme's realm", "With the token that its own realm accepts.")
    token = stage.cluster.identity_token(GLOBEX)
    for tenant, expected in ((GLOBEX, "accepted"), (ACME, "refused")):
        answer = stage.cluster.keycloak.login(f"axon-{tenant}", token)
        stage.echo(f"$ POST {realm_issuer(tenant)}/protocol/openid-connect/token")
        stage.echo(f"{answer.status} {answer.body.get('error', 'an access token')}")
        stage.expect(f"{tenant}'s realm and globex's token", expected, {200: "accepted"}.get(answer.status, "refused"))


def rotated(stage: Stage, pod: Pod) -> str:
    """A new version of the credential."""
    stage.section("The credential is rotated in OpenBao", "The pod sees the new one; nothing in it restarts.")
    value = f"acme-{secrets.token_hex(12)}"
    began = time.monotonic()
    stage.cluster.write_secret(ACME, SECRET_PATH, **{SECRET_KEY: value})
    arrived = eventually(lambda: value in (stage.cluster.delivered(pod, SECRET_FILE) or ""))
    stage.console.print(f"  after {time.monotonic() - began:.1f} s:", style="dim")
    in_workload(stage, pod, "cat", f"/var/run/axon/secrets/{SECRET_FILE}")
    stage.kubectl("-n", pod.namespace, "get", "pods")
    stage.expect("the new credential is in the pod", "yes", yes(arrived))
    stage.expect("the pod or a container was restarted", "no", yes(stage.cluster.pod(ACME).identity != pod.identity))
    return value


def suspended_and_resumed(stage: Stage, value: str) -> None:
    """The kill switch."""
    kubectl = stage.kubectl
    stage.section(
        "acme is suspended", "One field: network closed, tokens revoked, OpenBao locked, realm disabled, no pods."
    )
    stage.expect("acme while it runs", "vault: yes, realm: yes, pods: 1", openings(stage))
    switch(kubectl, suspended=True)
    with suppress(AssertionError):
        until("acme suspended", lambda: all_shut(stage), timeout=90)
    kubectl("get", "axt,axw,axsb", "-A")
    stage.expect("acme while it is suspended", "vault: no, realm: no, pods: 0", openings(stage))
    ready = stage.cluster.condition(tenant_ref(GLOBEX), "Ready")["status"]
    stage.expect("globex meanwhile is Ready", "True", ready)
    stage.section("acme is resumed")
    switch(kubectl, suspended=False)
    stage.cluster.wait_ready(tenant_ref(ACME), runtime_ref(ACME), binding_ref(ACME))
    kubectl("get", "axt,axw,axsb", "-A")
    stage.expect("acme after it was resumed", "vault: yes, realm: yes, pods: 1", openings(stage))
    held = stage.cluster.delivered(stage.cluster.pod(ACME), SECRET_FILE) or ""
    stage.expect("its pod holds the credential again", "yes", yes(value in held))


def switch(kubectl: Kubectl, *, suspended: bool) -> None:
    """Changes `suspended` of acme."""
    patch = f'{{"spec":{{"suspended":{str(suspended).lower()}}}}}'
    kubectl("patch", "axt", ACME, "--type=merge", "-p", patch)


def all_shut(stage: Stage) -> None:
    """Fails while something of acme still works."""
    seen = openings(stage)
    if seen != "vault: no, realm: no, pods: 0":
        raise Unmet(seen)


def openings(stage: Stage) -> str:
    """What of acme works."""
    cluster, namespace = stage.cluster, f"axon-{ACME}"
    principal = cluster.principal(ACME)
    for_vault = cluster.glass.token(namespace, principal, VAULT_AUDIENCE)
    for_realm = cluster.glass.token(namespace, principal, realm_issuer(ACME))
    vault = cluster.openbao.login(principal, for_vault, namespace=cluster.vault_namespace(ACME)).ok
    realm = cluster.keycloak.login(f"axon-{ACME}", for_realm).ok
    return f"vault: {yes(vault)}, realm: {yes(realm)}, pods: {len(cluster.pods(ACME))}"


def deleted(stage: Stage) -> None:
    """Nothing of acme is left."""
    cluster, kubectl = stage.cluster, stage.kubectl
    stage.section(
        "acme is deleted", "Pods first, then credentials, realm and OpenBao namespace; the Kubernetes namespace last."
    )
    uid, vault = cluster.kubectl.need(*tenant_ref(ACME).args)["metadata"]["uid"], cluster.vault_namespace(ACME)
    kubectl("delete", "axt", ACME, "--timeout=180s", timeout=200)
    kubectl("get", "axt,axw,axsb", "-A")
    kubectl("get", "namespaces", "-l", "app.kubernetes.io/managed-by=axon-operator")
    namespace = cluster.kubectl.get("namespace", f"axon-{ACME}")
    named = re.compile(f"/(axon-)?{ACME}(/|$)")
    stored = ((key, content) for key, content in traces.etcd(cluster).items() if "/events/" not in key)
    keys = [key for key, content in stored if named.search(key) or uid.encode() in content]
    left = ([f"namespace/axon-{ACME}"] if namespace else []) + keys
    stage.expect("left of acme in Kubernetes (events aside)", "nothing", ", ".join(left) or "nothing")
    marked = tenants_of(cluster.openbao.namespaces(), uid) + ([vault] if cluster.openbao.namespace(vault) else [])
    stage.expect("left of acme in OpenBao", "nothing", ", ".join(marked) or "nothing")
    stage.expect(
        "left of acme in Keycloak", "nothing", "realm" if cluster.keycloak.realm(f"axon-{ACME}") else "nothing"
    )
    for ref in (tenant_ref(GLOBEX), runtime_ref(GLOBEX), binding_ref(GLOBEX)):
        stage.expect(f"{ref} is still Ready", "True", cluster.condition(ref, "Ready")["status"])


# -- small things


def yes(value: bool) -> str:
    """For the table."""
    return "yes" if value else "no"


def eventually(probe: Callable[[], bool], seconds: float = 30) -> bool:
    """Whether it becomes true in time."""
    deadline = time.monotonic() + seconds
    while not probe():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


def in_workload(stage: Stage, pod: Pod, *command: str) -> str:
    """What a command in the workload's container prints, on the screen too."""
    return stage.glass.exec(pod.namespace, pod.name, "workload", *command).stdout


def diagnose(stage: Stage) -> None:
    """Everything that may explain a failure."""
    stage.section("What went wrong: the state of everything")
    kubectl = stage.kubectl
    for args in (
        ("get", "axt,axw,axsb", "-A", "-o", "wide"),
        ("get", "pods", "-A", "-o", "wide"),
        ("get", "events", "-A", "--sort-by=.lastTimestamp"),
    ):
        kubectl.run(*args)
    stage.console.print(operator.log_tail(stage.cluster), markup=False, highlight=False, soft_wrap=True)


def play(stage: Stage) -> None:
    """The demo."""
    value = f"acme-{secrets.token_hex(12)}"
    show_cluster(stage)
    install(stage)
    remove_earlier_samples(stage)
    apply_samples(stage, value)
    acme, globex = stage.cluster.pod(ACME), stage.cluster.pod(GLOBEX)
    all_ready(stage)
    credential_is_a_file(stage, acme, value)
    credential_is_in_no_object(stage, value)
    refused_by_openbao(stage, globex)
    refused_by_the_network(stage, globex, acme)
    refused_by_the_realm(stage)
    isolated(stage)
    value = rotated(stage, acme)
    suspended_and_resumed(stage, value)
    deleted(stage)


def main() -> int:
    """0 if everything was as expected."""
    os.chdir(REPOSITORY)  # the commands on the screen name files as a reader of the repository knows them
    stage = Stage(Cluster.connect(), Console(width=None if sys.stdout.isatty() else 120))
    try:
        play(stage)
    except BaseException:
        diagnose(stage)
        stage.summary()
        raise
    good = stage.summary()
    if not good:
        diagnose(stage)
    stage.console.print(
        f"{'All as expected' if good else 'Something differs'}, after {time.monotonic() - stage.began:.0f} s. "
        "The cluster is still there: look around with the kubeconfig that `make env` prints; `make down` removes it."
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
