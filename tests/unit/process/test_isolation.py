"""The operator tells the canary what to try, believes only what comes before its eyes, and wakes whom it concerns."""

import uuid

import pytest
import structlog

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Transient
from axon_operator.domain.finding import Finding
from axon_operator.domain.isolation import (
    REPORT,
    REPORT_KEY,
    TARGETS,
    TARGETS_KEY,
    Attempt,
    Report,
    Result,
    Targets,
    Told,
)
from axon_operator.domain.names import TenantNames
from axon_operator.domain.resources import CONFIG_MAP, TENANT, Manifest, Ref
from axon_operator.process import metrics
from axon_operator.process.isolation import Isolation
from axon_operator.reconcile.isolation import SILENCE
from unit.domain.test_runtime import PLATFORM
from unit.reconcile.world import World

UID = str(uuid.UUID(int=1))
ACME = TenantNames("acme", UID)
KEY = Ref(TENANT, "", "acme")
TO_TRY, CAME_OF_IT = (Ref(CONFIG_MAP, PLATFORM.operator_namespace, name) for name in (TARGETS, REPORT))
TENANT_ITSELF: Manifest = {
    "apiVersion": TENANT.api_version,
    "kind": "Tenant",
    "metadata": {"name": "acme", "uid": UID},
    "spec": {},
    "status": {"namespace": "axon-acme", "vaultNamespace": "t-1", "realm": "axon-acme"},
}


class Stage:
    """A cluster in memory with the watch over it, and a canary that says what it is told to say."""

    def __init__(self) -> None:
        self.world = World()
        self.world.add(TENANT_ITSELF)
        for ref in (TO_TRY, CAME_OF_IT):
            self.world.add(
                {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": {"name": ref.name, "namespace": ref.namespace},
                }
            )
        self.seconds = 0.0
        self.woken: list[Ref] = []
        self.watch = self.started()

    def started(self) -> Isolation:
        """As in a process that has just begun to lead."""
        api = self.world.backends.kubernetes
        return Isolation(
            api,
            api,
            PLATFORM,
            interval=60,
            may_begin=lambda: False,
            changed=self.woken.append,
            clock=lambda: self.seconds,
        )

    def reports(self, at: str, *, about: str | None = None, **changed: Result) -> None:
        (target,) = self.targets().tenants
        results = {a: changed.get(a.name, Result.REFUSED) for a in target.attempts}
        self.says(Report(tenants={UID: Told(target=about or target.digest, at=at, results=results)}).model_dump_json())

    def says(self, text: str) -> None:
        self.world.objects[CAME_OF_IT]["data"] = {REPORT_KEY: text}

    def targets(self) -> Targets:
        return Targets.model_validate_json(self.world.objects[TO_TRY]["data"][TARGETS_KEY])

    def found(self, *, after: float = 1) -> Finding:
        self.seconds += after
        self.watch.once()
        return self.watch.finding(ACME)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def verdicts() -> dict[str, float]:
    name = "axon_operator_isolation_tenants"
    return {v: metrics.REGISTRY.get_sample_value(name, {"verdict": v}) or 0 for v in ("isolated", "crossed", "unknown")}


def test_what_to_try_is_written_once_and_nothing_is_known_before_the_canary_was_heard(stage: Stage) -> None:
    assert stage.watch.finding(ACME).status is None
    assert stage.found().status is None
    assert stage.targets().tenants[0].namespace == "axon-acme"
    assert stage.found().status is None
    assert stage.world.writes == 1
    assert stage.woken == []


def test_a_report_is_judged_and_its_tenant_woken_only_when_something_else_is_found(stage: Stage) -> None:
    stage.found()
    for at, crossed, status in (("1", False, "True"), ("2", False, "True"), ("3", True, "False"), ("4", False, "True")):
        stage.reports(at, **({"READ": Result.CROSSED} if crossed else {}))
        assert stage.found().status == status
        assert verdicts() == {"isolated": float(not crossed), "crossed": float(crossed), "unknown": 0}
    assert stage.woken == [KEY] * 3
    assert stage.world.writes == 1


def test_a_report_that_was_there_before_proves_nothing_and_one_that_stays_the_same_grows_old(stage: Stage) -> None:
    stage.found()
    stage.reports("1")
    stage.watch = stage.started()
    assert stage.found().status is None, "a new process: it may be of yesterday"
    stage.reports("2")
    assert stage.found().status == "True"
    assert stage.found(after=SILENCE - 1).status == "True"
    silent = stage.found()
    assert (silent.status, silent.reason) == ("Unknown", Reason.NOT_PROVEN)
    assert verdicts()["unknown"] == 1
    stage.reports("3")
    assert stage.found().status == "True"


def test_reports_about_something_else_keep_nobody_isolated(stage: Stage) -> None:
    """A target that changes faster than it is tried."""
    stage.found()
    stage.reports("1")
    assert stage.found().status == "True"
    for number in range(2, 6):
        stage.reports(str(number), NETWORK=Result.CROSSED)
        stage.world.objects[KEY]["status"]["adoptedUID"] = str(uuid.UUID(int=number))
        names = TenantNames("acme", UID, str(uuid.UUID(int=number)))
        stage.seconds += SILENCE / 4
        stage.watch.once()
        finding = stage.watch.finding(names)
    assert finding.status == "Unknown"


def test_a_hole_in_the_tenant_counts_whatever_its_pods_do_and_until_it_is_closed(stage: Stage) -> None:
    """Whoever may change runtimes must not be able to hide a hole, or to let it grow old."""
    stage.found()
    stage.reports("1", about="0" * 16, READ=Result.CROSSED)
    assert stage.found().status == "False"
    stage.reports("2", about="0" * 16)
    assert stage.found().status == "False"
    assert stage.found(after=SILENCE).status == "False"
    stage.reports("3")
    assert stage.found().status == "True"


def test_a_suspended_tenant_is_not_tried_and_judged_anew_when_it_is_back(stage: Stage) -> None:
    stage.found()
    stage.reports("1", READ=Result.CROSSED)
    assert stage.found().status == "False"
    stage.world.objects[KEY]["spec"] = {"suspended": True}
    finding = stage.found()
    assert (finding.status, finding.reason) == ("Unknown", Reason.SUSPENDED)
    assert stage.targets().tenants == ()
    assert verdicts() == {"isolated": 0, "crossed": 0, "unknown": 0}
    stage.world.objects[KEY]["spec"] = {}
    finding = stage.found()
    assert (finding.status, finding.reason) == ("Unknown", Reason.NOT_PROVEN), "that report is from before"


@pytest.mark.parametrize("text", ["", "no JSON", '{"tenants": {"me": "fine"}}', '{"tenants": {}}'])
def test_what_the_canary_may_not_say_is_as_if_it_said_nothing(stage: Stage, text: str) -> None:
    stage.found()
    stage.says(text)
    with structlog.testing.capture_logs():
        assert stage.found().status is None
        assert stage.found(after=SILENCE).reason is Reason.NOT_PROVEN


def test_tenants_that_nobody_asked_for_are_ignored(stage: Stage) -> None:
    stage.found()
    told = Told(target="0" * 16, at="1", results={Attempt.READ: Result.CROSSED})
    stage.says(Report(tenants={str(uuid.UUID(int=7)): told}).model_dump_json())
    assert stage.found().status is None
    assert stage.woken == []


def test_an_api_server_that_is_away_or_a_missing_config_map_is_survived(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.found()
    stage.reports("1")
    assert stage.found().status == "True"
    stage.world.refused.add(("get", CAME_OF_IT))
    with structlog.testing.capture_logs() as lines:
        assert stage.found().status == "True"
    assert [line["reason"] for line in lines] == [Transient(Reason.KUBERNETES_UNAVAILABLE, "").reason]
    stage.world.refused.clear()
    del stage.world.objects[TO_TRY]
    with structlog.testing.capture_logs() as lines:
        stage.found()
    assert [line["event"] for line in lines] == ["canary not told"]
