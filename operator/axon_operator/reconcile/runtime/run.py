"""Stage of the pods that run to their end."""

from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.backends.errors import ReconcileError, Terminal, Waiting
from axon_operator.domain.names import RUNTIME_LABEL
from axon_operator.domain.platform import Platform
from axon_operator.domain.resources import Manifest, ref_of
from axon_operator.domain.runtime import Runtime
from axon_operator.domain.runtime import pods as desired
from axon_operator.domain.values import as_planned
from axon_operator.reconcile.common import deleting, refused, require_owner
from axon_operator.reconcile.engine.plan import Change, KubeApply, KubeDelete, KubeReplace, Stage
from axon_operator.reconcile.runtime.seen import RuntimeSeen
from axon_operator.reconcile.runtime.workload import unguarded, waiting_containers
from axon_operator.reconcile.views import TenantView, has_ended, is_over, is_run


def run_stage(seen: RuntimeSeen, tenant: TenantView, runtime: Runtime, platform: Platform) -> Stage:
    """A Job for what is to run now. One that has run it stays as it is, whatever a newer operator would put into it."""
    run, live = runtime.spec.run, seen.job
    if run is None:
        return Stage(ConditionType.WORKLOAD_READY)
    planned = desired.job(runtime, run, platform)
    if live is None:
        if not tenant.ready:
            raise unguarded(tenant)
        if seen.pods:
            return Stage(ConditionType.WORKLOAD_READY, problem=_former_pods(seen))
        against = refused(tenant.profile, seen.spec)
        changes = () if runtime.suspended or against else (KubeApply(planned),)
        return _run_as(runtime, changes, against or Waiting(Reason.PROGRESSING, "The pods follow.", after=1))
    require_owner(live, seen.names.uid)
    if not is_run(live, desired.run_id(runtime.spec)):
        # the next one begins when the pods of the one before are gone
        going = () if deleting(live) else (KubeDelete(ref_of(live), live["metadata"]["uid"]),)
        return Stage(ConditionType.WORKLOAD_READY, going, _former_pods(seen))
    return _run_as(runtime, run_changes(live, planned), _run_problem(seen, live))


def _former_pods(seen: RuntimeSeen) -> Waiting:
    message = f"{len(seen.pods)} pods of the run before are still there."
    return Waiting(Reason.PODS_TERMINATING, message, after=1)


def _run_as(runtime: Runtime, changes: tuple[Change, ...], problem: ReconcileError | None) -> Stage:
    if runtime.suspended:
        return Stage(ConditionType.WORKLOAD_READY, changes, reason=Reason.SUSPENDED, message="No pods are started.")
    if problem is None:
        ended = runtime.ended
        reason, message = (Reason.RUN_SUCCEEDED, "It has run to its end.") if ended else (Reason.READY, "It runs.")
        return Stage(ConditionType.WORKLOAD_READY, changes, reason=reason, message=message)
    return Stage(ConditionType.WORKLOAD_READY, changes, problem)


def run_changes(live: Manifest, planned: Manifest) -> tuple[Change, ...]:
    """What may be changed in a Job that is under way."""
    if has_ended(live):
        return ()
    wanted = {field: planned["spec"][field] for field in ("suspend", "parallelism", "activeDeadlineSeconds")}
    if as_planned(live["spec"], wanted):
        return ()
    return (KubeReplace({**live, "spec": {**live["spec"], **wanted}}),)


def _run_problem(seen: RuntimeSeen, live: Manifest) -> ReconcileError | None:
    if is_over(live, "Complete"):
        return None
    if is_over(live, "Failed"):
        message = f"The run has failed, or taken longer than spec.run.deadline; kubectl -n {seen.names.namespace} logs -l {RUNTIME_LABEL}={seen.names.runtime} -c workload shows what it said. Any change of spec.run.trigger runs it again."
        return Terminal(Reason.RUN_FAILED, message)
    status = live.get("status") or {}
    if status.get("ready", 0) or status.get("succeeded", 0):
        return None
    why = "; ".join(sorted({text for pod in seen.pods for text in waiting_containers(pod)}))
    message = f"{status.get('active', 0)} pods exist, none has begun{': ' + why if why else ''}."
    return Waiting(Reason.PODS_NOT_READY, message, after=2)
