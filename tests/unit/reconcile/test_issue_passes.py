"""What is issued for bindings: made, rotated, taken back; passes over a world in memory, with pods that fetch it."""

import copy
import datetime
import re
from collections.abc import Callable
from typing import Any

import pytest

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Denied, Transient
from axon_operator.domain.names import KV_MOUNT, PROGRAM_ANNOTATION, RuntimeNames
from axon_operator.domain.resources import BINDING, CONFIG_MAP, DEPLOYMENT, POD, RUNTIME, Ref, VaultPath
from axon_operator.reconcile.binding import BindingReconciler
from axon_operator.reconcile.engine.controller import Controller, Pass
from axon_operator.reconcile.runtime import RuntimeReconciler

from . import world as worlds
from .test_glance import Process
from .test_passes import ACME, AGENT, BILLING, NAMES, PLATFORM, PRINCIPAL, settled
from .test_runtime_passes import pod
from .world import Crash

START = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)
RUNTIME_NAMES = RuntimeNames("axon-acme", "agent", f"uid-{AGENT}")
USER = "7f3f6c2e-0000-4000-8000-000000000003"
POLICY = VaultPath(NAMES.vault_namespace, f"sys/policies/acl/{PRINCIPAL}")
CONFIG = Ref(CONFIG_MAP, "axon-acme", PRINCIPAL)
PODS = Ref(DEPLOYMENT, "axon-acme", PRINCIPAL)
DATABASE: dict[str, Any] = {
    "name": "orders",
    "host": "db.example",
    "database": "orders",
    "username": "axon",
    "credentialSecretRef": {"name": "orders"},
    "roles": [{"name": "reader", "memberOf": ["orders_read"]}, {"name": "writer", "memberOf": ["orders_write"]}],
}
SOURCES: dict[str, dict[str, Any]] = {
    "account": {"database": {"connection": "orders", "role": "reader"}},
    "certificate": {"pki": {}},
    "random": {"generated": {}},
    "variable": {"generated": {"length": 20}},
    "granted": {"grant": {"user": USER, "path": "github/token"}},
}
DELIVERIES: dict[str, dict[str, Any]] = {
    "certificate": {"file": {"path": "tls.pem", "format": "pem"}},
    "variable": {"env": {"variables": [{"name": "TOKEN", "key": "value"}]}},
}
ISSUED = ("account", "certificate", "random", "variable")


def binding(name: str) -> Ref:
    return Ref(BINDING, "axon-acme", name)


class Scene:
    """A world with an open runtime, one pod, a clock, and sidecars that fetch what they are told to."""

    def __init__(self, *names: str) -> None:
        self.world = settled()
        self.now = START
        self.world.objects[ACME]["spec"]["vault"] = {"databases": [copy.deepcopy(DATABASE)]}
        self.world.objects[AGENT]["spec"]["replicas"] = 1
        place = f"kv/subkeys/grants/{RUNTIME_NAMES.uid}/{USER}/github/token"
        self.world.vault[VaultPath(NAMES.vault_namespace, place)] = {"subkeys": {"ciphertext": None}}
        self.pods = [pod(self.world)]
        self.stubborn = False
        """The pods take nothing over."""
        for name in names or SOURCES:
            self.bind(name)
        self.settle()

    def bind(self, name: str, **spec: Any) -> Ref:
        body = {
            "runtimeRef": {"name": "agent"},
            "source": copy.deepcopy(SOURCES[name]),
            "delivery": copy.deepcopy(DELIVERIES.get(name, {"file": {"path": f"{name}.json"}})),
            **spec,
        }
        ref = binding(name)
        metadata = {"name": name, "namespace": "axon-acme"}
        self.world.add(
            {"apiVersion": "axonos.ai/v1alpha1", "kind": "SecretBinding", "metadata": metadata, "spec": body}
        )
        return ref

    def spec(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.world.objects[binding(name)]["spec"]
        return found

    def look(self, ref: Ref) -> Pass:
        make: Any = {RUNTIME: RuntimeReconciler, BINDING: BindingReconciler}[ref.resource]
        reconciler = make(self.world.backends, PLATFORM, lambda: self.now)
        controller = Controller(
            reconciler, self.world.backends, resync=300, now=lambda: self.now, report=_raise, audit=self.world.audit
        )
        controller.expire(ref)
        return controller.run(ref)

    def round(self) -> None:
        """One pass over each object, and what the kubelet and the sidecars do then."""
        for ref in [r for r in self.world.objects if r.resource in {RUNTIME, BINDING}]:
            self.look(ref)
        self.run_pods()

    def settle(self) -> None:
        for _ in range(40):
            before = self.moved()
            self.round()
            if self.moved() == before:
                if AGENT in self.world.objects and self.condition(AGENT)[0] == "True":
                    assert all(f'path "{path}"' in self.policy for path in self.wanted())
                return
        pytest.fail("never settles")

    def moved(self) -> Any:
        """Another one after any write, and after anything that pods have done."""
        records = sorted((p.path, str(v)) for p, v in self.world.vault.items() if "runtime-status" in p.path)
        pods = [r for r in self.world.objects if r.resource == POD]
        return self.world.writes, records, pods, set(self.world.made), set(self.world.certificates)

    def later(self, seconds: int = 60) -> None:
        self.now += datetime.timedelta(seconds=seconds)
        self.settle()

    def run_pods(self) -> None:
        if PODS not in self.world.objects:
            if AGENT in self.world.objects and "deletionTimestamp" in self.world.objects[AGENT]["metadata"]:
                self.world.objects = {r: m for r, m in self.world.objects.items() if r.resource != POD}
            return
        counts = dict.fromkeys(("replicas", "readyReplicas", "updatedReplicas"), 1)
        self.world.objects[PODS]["status"] = {**counts, "observedGeneration": 1}
        if CONFIG in self.world.objects and not self.stubborn:
            self.fetch()
            for uid in self.pods:
                at = VaultPath(NAMES.vault_namespace, f"runtime-status/{PRINCIPAL}/{uid}")
                self.world.vault[at] = {"revision": self.published}

    def fetch(self) -> None:
        """All that the sidecars are told to, as far as they may."""
        for path in self.wanted():
            if f'path "{path}"' in self.policy:
                self.issue(path)

    def wanted(self) -> list[str]:
        """What the sidecars are told to fetch."""
        agent: str = self.world.objects[CONFIG]["data"]["agent.json"]
        return re.findall(r'with secret \\"([a-z0-9/._-]+)\\"', agent)

    def issue(self, path: str) -> None:
        """OpenBao answers somebody who may ask."""
        mount, _, name = path.rpartition("/")
        given = {"database/creds": self.world.made, "pki/issue": self.world.certificates}
        if mount in given:
            given[mount].add(name)

    @property
    def published(self) -> str:
        text: str = self.world.objects[CONFIG]["data"]["revision"]
        return text.strip()

    @property
    def policy(self) -> str:
        found: str = self.world.vault.get(POLICY, {}).get("policy", "")
        return found

    def names(self, name: str) -> list[str]:
        """Issues of a binding that OpenBao knows by any way."""
        series = RUNTIME_NAMES.series(name, f"uid-{binding(name)}")
        paths = {p.path.rpartition("/")[2] for p in self.world.vault}
        return sorted(n for n in paths | self.world.made | self.world.certificates if series in n)

    def good(self, name: str) -> list[str]:
        """Those by which something is good, or can be had."""
        allowed = [n for n in self.names(name) if f'/{n}"' in self.policy]
        leased = [n for n in self.names(name) if n in self.world.made | self.world.certificates]
        return sorted({*allowed, *leased})

    def delete(self, ref: Ref) -> None:
        self.world.objects[ref]["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z"

    def condition(self, ref: Ref, kind: str = "Ready") -> tuple[str, str]:
        found = next(c for c in self.world.objects[ref]["status"]["conditions"] if c["type"] == kind)
        return found["status"], found["reason"]

    def verbs(self, since: int = 0) -> list[tuple[str, str]]:
        return [(c.verb, c.target.partition("/")[2]) for _, c, outcome in self.world.audited[since:] if outcome == "ok"]

    def summary(self) -> Any:
        """All that is there, but for which generation it is."""
        issue = re.compile(r"(\.[a-z]+-[0-9a-f]{10}\.)[0-9]+")

        def plain(text: str) -> str:
            return issue.sub(r"\1N", text)

        vault = {plain(p.path): plain(repr(v)) for p, v in self.world.vault.items() if "runtime-status" not in p.path}
        config = self.world.objects.get(CONFIG, {}).get("data", {"agent.json": "", "files": ""})
        agent = re.sub(r"work/[0-9a-f]{12}-[0-9]+/", "", plain(config["agent.json"]))
        given = {plain(n) for n in self.world.made | self.world.certificates}
        kinds = sorted(str(r) for r in self.world.objects if r.resource != POD)
        return vault, agent, config["files"], given, kinds, set(self.world.unannounced), self.world.realms


def _raise(error: Exception) -> None:
    raise error


BASE = Scene()
"""Made once: a test works on a copy."""


@pytest.fixture
def scene() -> Scene:
    return copy.deepcopy(BASE)


def test_everything_is_issued_and_then_nothing_is_written(scene: Scene) -> None:
    assert {name: scene.condition(binding(name)) for name in SOURCES} == dict.fromkeys(SOURCES, ("True", Reason.READY))
    assert scene.condition(AGENT) == ("True", Reason.READY)
    assert all(len(scene.names(name)) == 1 for name in ISSUED)
    assert [n[-2:] for name in ISSUED for n in scene.names(name)] == [".1"] * 4
    key = scene.world.vault[VaultPath(NAMES.vault_namespace, f"transit/keys/{PRINCIPAL}")]
    assert (key["exportable"], key["deletion_allowed"]) == (False, False)
    before = scene.world.writes
    scene.later(3600)
    assert scene.world.writes == before


@pytest.mark.parametrize("ref", [AGENT, *map(binding, SOURCES)])
def test_a_settled_runtime_with_issues_costs_no_call(scene: Scene, ref: Ref) -> None:
    before = scene.world.writes
    assert Process(scene.world).look(ref) == 0
    assert scene.world.writes == before


def test_a_look_at_a_settled_runtime_asks_for_no_leases(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = listening(monkeypatch)
    scene.look(AGENT)
    assert not [path for path in asked if "leases" in path]


def listening(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is listed from now on."""
    honest, asked = worlds._Vault.list, []

    def call(self: Any, path: VaultPath) -> tuple[str, ...]:
        asked.append(path.path)
        return honest(self, path)

    monkeypatch.setattr(worlds._Vault, "list", call)
    return asked


def turn(scene: Scene, name: str) -> None:
    scene.spec(name)["rotationTrigger"] = "now"


@pytest.mark.parametrize("name", ["account", "certificate", "random"])
def test_a_rotation_keeps_the_old_credential_until_all_pods_have_the_new_one_and_the_overlap_is_over(
    scene: Scene, name: str
) -> None:
    (old,) = scene.names(name)
    scene.stubborn = True
    turn(scene, name)
    scene.settle()
    new = old[:-1] + "2"
    assert scene.names(name) == [old, new]
    assert all(f'/{n}"' in scene.policy for n in (old, new))
    assert new in scene.world.objects[CONFIG]["data"]["agent.json"]
    assert old not in scene.world.objects[CONFIG]["data"]["agent.json"]
    # the overlap is over, but the pod has not taken it over
    scene.later(600)
    assert scene.names(name) == [old, new]
    scene.stubborn = False
    since = len(scene.world.audited)
    scene.settle()
    assert scene.names(name) == [new]
    assert scene.good(name) == [new]
    assert scene.condition(binding(name)) == ("True", Reason.READY)
    told = [(verb, target) for verb, target in scene.verbs(since) if old in target or "policies" in target]
    order = [target for _, target in told]
    assert order[0] == POLICY.path
    assert old in order[-1]
    assert told[-1][0] == "delete"
    if name != "random":
        assert ("revoke", told[1][1]) == told[1]
    assert not scene.world.unannounced


def test_pods_that_have_the_new_one_still_leave_the_old_one_its_overlap(scene: Scene) -> None:
    scene.spec("account")["rotation"] = {"overlap": "5m"}
    turn(scene, "account")
    scene.settle()
    scene.later(299)
    assert len(scene.names("account")) == 2
    # a second more, for the time at which it was made is cut to the second
    scene.later(2)
    assert [n[-2:] for n in scene.names("account")] == [".2"]


def test_a_trigger_rotates_once(scene: Scene) -> None:
    turn(scene, "account")
    for _ in range(4):
        scene.later()
    assert [n[-2:] for n in scene.names("account")] == [".2"]


def test_an_interval_rotates_by_itself_and_the_status_tells_when(scene: Scene) -> None:
    scene.spec("account")["rotation"] = {"interval": "1h"}
    scene.settle()
    told = datetime.datetime.fromisoformat(scene.world.objects[binding("account")]["status"]["nextRotation"])
    assert abs((told - scene.now).total_seconds() - 3600) <= 360
    ahead = scene.look(AGENT).next
    assert ahead is not None
    assert ahead.after <= 300
    scene.now = told - datetime.timedelta(seconds=1)
    ahead = scene.look(AGENT).next
    assert ahead is not None
    assert ahead.after <= 2
    assert [n[-2:] for n in scene.names("account")] == [".1"]
    scene.now = told + datetime.timedelta(seconds=1)
    scene.settle()
    scene.later()
    assert [n[-2:] for n in scene.names("account")] == [".2"]


def revoke(scene: Scene, *names: str) -> None:
    for name in names:
        scene.spec(name)["revoked"] = True


def test_revoked_takes_back_at_once_keeps_the_binding_and_what_is_issued_afterwards_is_new(scene: Scene) -> None:
    before = scene.world.objects[PODS]["spec"]["template"]["metadata"]["annotations"]
    revoke(scene, *SOURCES)
    scene.settle()
    assert all(scene.names(name) == [] for name in ISSUED)
    assert scene.condition(binding("account")) == ("True", Reason.REVOKED)
    assert "github/token" not in scene.policy
    assert "account.json" not in scene.world.objects[CONFIG]["data"]["files"]
    for name in SOURCES:
        scene.spec(name)["revoked"] = False
    scene.later()
    assert all(len(scene.names(name)) == 1 for name in ISSUED)
    assert scene.condition(binding("account")) == ("True", Reason.READY)
    after = scene.world.objects[PODS]["spec"]["template"]["metadata"]["annotations"]
    assert after != before, "pods that hold the value of before are replaced"


def remove(scene: Scene) -> None:
    for name in SOURCES:
        scene.delete(binding(name))


def remove_runtime(scene: Scene) -> None:
    scene.delete(AGENT)


def drop_role(scene: Scene) -> None:
    scene.world.objects[ACME]["spec"]["vault"]["databases"][0]["roles"] = []


def drop_connection(scene: Scene) -> None:
    scene.world.objects[ACME]["spec"]["vault"]["databases"] = []


def turn_all(scene: Scene) -> None:
    for name in ISSUED:
        turn(scene, name)


def revoke_all(scene: Scene) -> None:
    revoke(scene, *SOURCES)


def another_source(scene: Scene) -> None:
    scene.spec("account")["source"] = {"generated": {}}


def fewer_rights(scene: Scene) -> None:
    scene.world.objects[ACME]["spec"]["vault"]["databases"][0]["roles"][0]["memberOf"] = ["orders_some"]


def rebind(scene: Scene) -> None:
    """Deleted and made anew under the same name."""
    ref = binding("account")
    if ref in scene.world.objects:
        scene.delete(ref)


def nothing(scene: Scene) -> None:
    """All bindings are new."""


def run(act: Callable[[Scene], None], begin: Scene, fuse: int | None) -> Scene:
    scene = copy.deepcopy(begin)
    act(scene)
    scene.world.writes, scene.world.fuse = 0, fuse
    for step in (scene.settle, scene.later, scene.later):
        try:
            step()
        except Crash:
            scene.settle()
    scene.world.fuse = None
    return scene


@pytest.mark.parametrize(
    "act",
    [
        turn_all,
        revoke_all,
        remove,
        remove_runtime,
        drop_role,
        drop_connection,
        another_source,
        fewer_rights,
        rebind,
    ],
)
def test_a_crash_behind_any_write_converges_and_leaves_nothing_good_behind(act: Callable[[Scene], None]) -> None:
    clean = run(act, BASE, None)
    assert clean.world.writes
    for crash_at in range(1, clean.world.writes + 1):
        scene = run(act, BASE, crash_at)
        assert scene.summary() == clean.summary(), f"crash behind write {crash_at}"
        for name in ISSUED:
            assert len(scene.good(name)) == len(clean.good(name)) <= 1


def test_a_crash_behind_any_write_of_the_first_issues_converges() -> None:
    def made(fuse: int | None) -> Scene:
        scene = copy.deepcopy(BASE)
        remove(scene)
        scene.settle()
        for name in SOURCES:
            scene.bind(name)
        return run(nothing, scene, fuse)

    clean = made(None)
    assert clean.summary() == BASE.summary()
    for crash_at in range(1, clean.world.writes + 1):
        assert made(crash_at).summary() == clean.summary(), f"crash behind write {crash_at}"


@pytest.mark.parametrize("act", [remove, remove_runtime, revoke_all])
def test_nothing_is_left_of_what_was_taken_back(scene: Scene, act: Callable[[Scene], None]) -> None:
    act(scene)
    scene.settle()
    assert not [n for name in ISSUED for n in scene.names(name)]
    assert not scene.world.made | scene.world.certificates | scene.world.unannounced
    assert not re.search("database|pki|generated|grants|transit", scene.policy)
    if act is remove_runtime:
        assert AGENT not in scene.world.objects
        assert not [p for p in scene.world.vault if PRINCIPAL in p.path]


@pytest.mark.parametrize("act", [drop_role, drop_connection])
def test_what_the_tenant_no_longer_names_is_taken_back(scene: Scene, act: Callable[[Scene], None]) -> None:
    act(scene)
    scene.settle()
    assert scene.names("account") == []
    assert scene.condition(binding("account")) == ("False", Reason.SOURCE_MISSING)
    assert len(scene.names("certificate")) == 1


@pytest.mark.parametrize("side", ["binding", "tenant"])
def test_fewer_rights_end_the_accounts_that_have_more(scene: Scene, side: str) -> None:
    (old,) = scene.names("account")
    if side == "tenant":
        fewer_rights(scene)
    else:
        scene.spec("account")["source"]["database"]["role"] = "writer"
    scene.settle()
    scene.later()
    assert scene.names("account") != [old]
    assert len(scene.good("account")) == 1
    (role,) = (v for p, v in scene.world.vault.items() if p.path.startswith("database/roles/"))
    assert "orders_read" not in role["creation_statements"][0]


def test_a_database_that_is_away_holds_up_neither_other_bindings_nor_loses_what_is_to_be_revoked(scene: Scene) -> None:
    scene.world.database_away.add("orders")
    (old,) = scene.names("account")
    scene.delete(binding("account"))
    scene.delete(binding("certificate"))
    scene.spec("random")["delivery"]["file"]["path"] = "other.json"
    for _ in range(6):
        scene.round()
    assert old not in scene.policy
    assert scene.names("account") == [old]
    assert binding("account") in scene.world.objects
    assert binding("certificate") not in scene.world.objects
    assert scene.names("certificate") == []
    assert "other.json" in scene.world.objects[CONFIG]["data"]["files"]
    assert scene.condition(binding("random")) == ("True", Reason.READY)
    scene.world.database_away.clear()
    scene.settle()
    assert scene.names("account") == []
    assert binding("account") not in scene.world.objects


def test_a_database_that_is_away_holds_a_runtimes_deletion(scene: Scene) -> None:
    scene.world.database_away.add("orders")
    scene.delete(AGENT)
    for _ in range(6):
        scene.round()
    assert AGENT in scene.world.objects
    assert len(scene.good("account")) == 1
    scene.world.database_away.clear()
    scene.settle()
    assert AGENT not in scene.world.objects


@pytest.mark.parametrize("name", ["account", "certificate"])
@pytest.mark.parametrize("target", [None, AGENT])
def test_what_is_issued_between_the_look_and_the_narrowed_policy_is_found(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, name: str, target: Ref | None
) -> None:
    """As long as the policy names it, each look finds nothing, and then something is issued."""
    (old,) = scene.names(name)
    given = scene.world.made if name == "account" else scene.world.certificates
    mount = {"account": "database/creds", "certificate": "pki/issue"}[name]
    honest = worlds._Vault.list

    def call(self: Any, path: VaultPath) -> tuple[str, ...]:
        if path.path != f"sys/leases/lookup/{mount}" or f'/{old}"' not in scene.policy:
            return honest(self, path)
        given.discard(old)
        found = honest(self, path)
        given.add(old)
        return found

    monkeypatch.setattr(worlds._Vault, "list", call)
    scene.delete(target or binding(name))
    scene.stubborn = True
    for _ in range(6):
        scene.look(AGENT)
        scene.run_pods()
    scene.stubborn = False
    scene.settle()
    assert scene.names(name) == []
    assert (target or binding(name)) not in scene.world.objects


def test_an_answer_that_was_under_way_while_it_was_looked_is_revoked_with_the_role(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    (old,) = scene.names("account")
    scene.delete(binding("account"))
    honest = worlds._Vault.list

    def call(self: Any, path: VaultPath) -> tuple[str, ...]:
        found = honest(self, path)
        if path.path == worlds.MADE and old not in scene.policy and not scene.world.made:
            scene.world.made.add(old)
            monkeypatch.undo()
        return found

    scene.look(AGENT)
    monkeypatch.setattr(worlds._Vault, "list", call)
    scene.look(AGENT)
    scene.settle()
    assert scene.names("account") == []


def test_an_account_whose_role_somebody_deleted_is_revoked_before_its_binding_is_gone(scene: Scene) -> None:
    (old,) = scene.names("account")
    scene.world.database_away.add("orders")
    revoke(scene, "account")
    scene.round()
    del scene.world.vault[VaultPath(NAMES.vault_namespace, f"database/roles/{old}")]
    for _ in range(4):
        scene.round()
    assert scene.condition(binding("account"))[0] == "False"
    scene.delete(binding("account"))
    for _ in range(4):
        scene.round()
    assert binding("account") in scene.world.objects
    scene.world.database_away.clear()
    scene.settle()
    assert not scene.world.made
    assert binding("account") not in scene.world.objects


def test_a_binding_with_another_source_is_not_gone_before_what_the_first_one_gave(scene: Scene) -> None:
    scene.world.database_away.add("orders")
    another_source(scene)
    for _ in range(4):
        scene.round()
    scene.delete(binding("account"))
    for _ in range(4):
        scene.round()
    assert scene.world.made
    assert binding("account") in scene.world.objects
    scene.world.database_away.clear()
    scene.settle()
    assert not scene.world.made
    assert binding("account") not in scene.world.objects


@pytest.mark.parametrize("how", ["deleted", "revoked"])
@pytest.mark.parametrize("name", ["account", "granted", "random"])
def test_a_binding_of_a_runtime_whose_deletion_hangs_is_not_gone_while_its_credential_is_good(
    scene: Scene, how: str, name: str
) -> None:
    """A pod on a lost node can keep its runtime for ever."""
    scene.world.objects[PODS]["metadata"]["finalizers"] = ["foregroundDeletion"]
    scene.delete(AGENT)
    if how == "deleted":
        scene.delete(binding(name))
    else:
        revoke(scene, name)
    for _ in range(6):
        scene.round()
    assert re.search(rf"/{'grants/.*' if name == 'granted' else f'[a-z.]*{PRINCIPAL}.{name}'}", scene.policy)
    assert scene.condition(binding(name))[0] == "False"
    scene.world.objects[PODS]["metadata"]["finalizers"] = []
    del scene.world.objects[PODS]
    scene.settle()
    assert AGENT not in scene.world.objects
    assert scene.names(name) == []
    assert how == "revoked" or binding(name) not in scene.world.objects


def test_a_binding_that_cannot_be_made_keeps_no_other_from_being_taken_back(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = worlds._Vault.write

    def call(self: Any, path: VaultPath, body: Any) -> None:
        if path.path.startswith("pki/roles/"):
            raise Denied(Reason.VAULT_DENIED, "refused")
        honest(self, path, body)

    scene.delete(binding("certificate"))
    scene.settle()
    monkeypatch.setattr(worlds._Vault, "write", call)
    scene.bind("certificate")
    scene.delete(binding("account"))
    for _ in range(6):
        scene.round()
    assert scene.names("account") == []
    assert "database/creds" not in scene.policy


def test_a_key_that_somebody_made_exportable_keeps_nothing_from_being_taken_back(scene: Scene) -> None:
    scene.world.vault[VaultPath(NAMES.vault_namespace, f"transit/keys/{PRINCIPAL}")]["exportable"] = True
    scene.delete(binding("account"))
    for _ in range(6):
        scene.round()
    assert scene.condition(AGENT) == ("False", Reason.CONFLICT)
    assert scene.names("account") == []


@pytest.mark.parametrize("text", [None, "{", '{"bindings": 1}', "[]", '{"bindings": {}, "engines": ["x"]}'])
def test_what_was_issued_is_found_without_the_configuration_that_tells_of_it(scene: Scene, text: str | None) -> None:
    if text is None:
        del scene.world.objects[CONFIG]
    else:
        scene.world.objects[CONFIG]["data"]["bindings.json"] = text
    scene.delete(binding("account"))
    another = scene.spec("random")
    another["source"] = {"pki": {}}
    scene.settle()
    scene.later()
    assert scene.names("account") == []
    assert len(scene.names("random")) == 1
    assert scene.condition(AGENT) == ("True", Reason.READY)


def test_a_time_without_a_zone_that_somebody_wrote_ends_no_pass(scene: Scene) -> None:
    scene.spec("account")["rotation"] = {"interval": "1h"}
    scene.settle()
    data = scene.world.objects[CONFIG]["data"]
    assert "00Z" in data["bindings.json"]
    data["bindings.json"] = data["bindings.json"].replace("00Z", "00")
    scene.settle()
    scene.later()
    assert scene.condition(AGENT) == ("True", Reason.READY)


def test_revoked_certificates_are_told_of_before_their_role_is_gone(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = worlds._Vault.read

    def call(self: Any, path: VaultPath) -> Any:
        if path.path == "pki/crl/rotate":
            raise Transient(Reason.VAULT_UNAVAILABLE, "away")
        return honest(self, path)

    monkeypatch.setattr(worlds._Vault, "read", call)
    scene.delete(binding("certificate"))
    for _ in range(5):
        scene.round()
    assert scene.world.unannounced
    assert len(scene.names("certificate")) == 1
    assert binding("certificate") in scene.world.objects
    monkeypatch.undo()
    scene.settle()
    assert not scene.world.unannounced
    assert binding("certificate") not in scene.world.objects


@pytest.mark.parametrize("how", ["deleted", "revoked"])
def test_a_process_that_died_before_it_revoked_is_followed_by_one_that_does_it_at_once(how: str) -> None:
    """What the status of the runtime says is believed after a start, and its next look may be far away."""
    for crash_at in range(1, 12):
        scene = copy.deepcopy(BASE)
        if how == "deleted":
            scene.delete(binding("account"))
        else:
            revoke(scene, "account")
        scene.look(binding("account"))
        scene.world.fuse = crash_at
        try:
            scene.look(AGENT)
        except Crash:
            scene.run_pods()
        scene.world.fuse = None
        process = Process(scene.world)
        for _ in range(6):
            for ref in (AGENT, binding("account")):
                process.look(ref)
                for related in process.related:
                    process.expire(related)
            scene.run_pods()
        assert scene.names("account") == [], f"crash behind write {crash_at}"


def test_a_binding_made_anew_under_its_name_has_nothing_of_the_first_one(scene: Scene) -> None:
    (old,) = scene.names("random")
    scene.delete(binding("random"))
    scene.settle()
    scene.bind("random")
    scene.world.objects[binding("random")]["metadata"]["uid"] = "another"
    scene.settle()
    assert old not in scene.policy
    series = RUNTIME_NAMES.series("random", "another")
    assert f"{KV_MOUNT}/data/generated/{series}1" in scene.policy


def test_another_runtimes_issues_are_never_touched(scene: Scene) -> None:
    """Not even where a database's connection bears the name of this one."""
    foreign = [f"{PRINCIPAL}.rt-other-0123456789.db-0123456789.1", "orders.rt-other-0123456789.db-0123456789.1"]
    for name in foreign:
        scene.world.vault[VaultPath(NAMES.vault_namespace, f"database/roles/{name}")] = {}
        scene.world.made.add(name)
    remove(scene)
    scene.settle()
    scene.delete(AGENT)
    scene.settle()
    assert scene.world.made == set(foreign)
    assert {p.path for p in scene.world.vault if p.path.startswith("database/roles/")} == {
        f"database/roles/{name}" for name in foreign
    }


def test_the_operator_names_no_lease_and_no_value_anywhere(scene: Scene) -> None:
    for act in (turn_all, revoke_all):
        act(scene)
        scene.settle()
    told = repr([m for r, m in scene.world.objects.items() if r.resource in {RUNTIME, BINDING}])
    assert "generated" not in told.replace("{'generated'", "")
    assert BILLING in scene.world.objects


def test_a_grant_for_a_revision_counts_when_no_pod_of_another_program_is_left() -> None:
    scene = Scene("granted")
    free = f"kv/subkeys/grants/{RUNTIME_NAMES.uid}/{USER}/github/token"
    del scene.world.vault[VaultPath(NAMES.vault_namespace, free)]
    revision = revision_of_the_runtime(scene)
    tied = f"grants/{RUNTIME_NAMES.uid}.{revision}/{USER}/github/token"
    scene.world.vault[VaultPath(NAMES.vault_namespace, f"kv/subkeys/{tied}")] = {"subkeys": {"ciphertext": None}}
    scene.settle()
    assert f'path "kv/data/{tied}"' in scene.policy
    (of,) = (m for r, m in scene.world.objects.items() if r.resource == POD)
    own = of["metadata"]["annotations"][PROGRAM_ANNOTATION]
    # also one from before there was such a mark
    for another in ("0123", None):
        of["metadata"]["annotations"] = {PROGRAM_ANNOTATION: another} if another else {}
        scene.settle()
        assert tied not in scene.policy
        assert scene.condition(binding("granted"))[1] == "ConsentMissing"
        of["metadata"]["annotations"] = {PROGRAM_ANNOTATION: own}
        scene.settle()
        assert tied in scene.policy
    # on its way out it still has its sidecar
    of["metadata"] |= {"annotations": {PROGRAM_ANNOTATION: "0123"}, "deletionTimestamp": "2026-01-02T00:00:00Z"}
    scene.settle()
    assert tied not in scene.policy
    assert scene.world.objects[PODS]["spec"]["strategy"] == {"type": "Recreate"}, "else the new pods wait for the old"


def revision_of_the_runtime(scene: Scene) -> str:
    """As users read it in the directory."""
    scene.settle()
    entry = scene.world.vault[VaultPath(NAMES.vault_namespace, "kv/data/runtimes/agent")]
    return str(entry["data"]["revision"])


def test_users_are_told_of_a_runtime_only_while_it_asks_for_something_of_theirs() -> None:
    scene = Scene("granted")
    entry = VaultPath(NAMES.vault_namespace, "kv/data/runtimes/agent")
    assert entry in scene.world.vault
    scene.world.objects[binding("granted")]["metadata"]["deletionTimestamp"] = "2026-01-02T00:00:00Z"
    scene.settle()
    assert VaultPath(NAMES.vault_namespace, "kv/metadata/runtimes/agent") not in scene.world.vault
    before = scene.world.writes
    scene.settle()
    assert scene.world.writes == before
