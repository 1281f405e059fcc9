"""The process's engine: intake, queue, bounded workers, one controller per kind."""

import datetime
import random
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import chain
from typing import Any

import structlog

from axon_operator.api import GROUP
from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Denied, ReconcileError
from axon_operator.backends.kubernetes.port import Kubernetes
from axon_operator.backends.kubernetes.store import Store
from axon_operator.domain.manifests import container_statuses
from axon_operator.domain.names import (
    ABANDON_ANNOTATION,
    ADOPT_ANNOTATION,
    FINALIZER,
    RECONCILE_ANNOTATION,
    REVISION_ANNOTATION,
    RUNTIME_LABEL,
    TENANT_LABEL,
    TenantNames,
    shard_of,
)
from axon_operator.domain.resources import (
    BINDING,
    POD,
    PROFILE,
    RUNTIME,
    TENANT,
    Manifest,
    Ref,
    Resource,
    ref_of,
    runtimes_named,
)
from axon_operator.process import metrics
from axon_operator.process.events import event, healed, notes
from axon_operator.process.logs import new_id, report_defect
from axon_operator.process.progress import Progress
from axon_operator.reconcile.engine.controller import Controller, Pass
from axon_operator.reconcile.engine.queue import Priority, WorkQueue
from axon_operator.reconcile.engine.summary import RETRY, RETRY_DENIED

_SHARES = 8
"""No tenant has more than this part of the workers: one whose backend hangs leaves the others theirs."""
_SERVERS_COUNTS = frozenset({"resourceVersion", "generation", "managedFields"})

log = structlog.stdlib.get_logger("axon_operator")


class Engine:
    """Runs passes over objects until it is stopped."""

    def __init__(
        self,
        controllers: Mapping[Resource, Controller[Any]],
        kubernetes: Kubernetes,
        store: Store,
        *,
        workers: int,
        namespace: str,
        progress: Progress | None = None,
        owns: Callable[[int], bool] = lambda _shard: True,
    ) -> None:
        """`namespace`: where Events about cluster-scoped objects go. `progress`: is told of the calls that end.

        `owns`: which shards of tenants this process works on. One leader works on all; shards with a Lease each
        would be decided here and nowhere else.
        """
        self._controllers = controllers
        self._kubernetes = kubernetes
        self._store = store
        self._namespace = namespace
        self._owns = owns
        self._queue = WorkQueue(tenant=tenant_namespace, share=max(1, workers // _SHARES), waited=_observe_wait)
        self._threads = [threading.Thread(target=self._work, name=f"worker-{n}", daemon=True) for n in range(workers)]
        self._started = False
        self._progress = progress or Progress()
        for priority in Priority:
            metrics.QUEUE_DEPTH.labels(priority.name.lower()).set_function(partial(self._queue.depth, priority))
        store.subscribe(self._changed)

    def start(self) -> None:
        """Looks at everything that is known, and starts the workers. What the watches tell before only fills the store."""
        self._started = True
        for resource in self._controllers:
            for live in self._store.list(resource, "", {}):
                self._own_changed(ref_of(live), None, live)
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float) -> bool:
        """Hands out no more work and waits, at most `timeout` seconds, for what is under way; whether that is over."""
        self._queue.close()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def alive(self) -> bool:
        """Whether every worker is there, and none is stuck."""
        there = not self._started or all(thread.is_alive() for thread in self._threads)
        return there and not self._progress.stuck

    def notice(self, kind: str | None, live: Manifest) -> None:
        """Intake of Kopf's watch events (`kind`: ADDED, MODIFIED, DELETED, None for the initial list)."""
        if kind == "DELETED":
            metadata = live["metadata"]
            self._store.gone(ref_of(live), metadata["uid"], int(metadata["resourceVersion"]))
        else:
            self._store.watched(live)

    def look_again(self, resource: Resource) -> None:
        """A glance at all objects of a kind: what was found out elsewhere about them is another now."""
        for live in self._store.list(resource, "", {}):
            self.look_again_at(ref_of(live))

    def look_again_at(self, key: Ref) -> None:
        """The same at one object."""
        self._ask(key, edited=False)

    def ask_again(self, key: Ref) -> None:
        """A pass that asks all three systems, soon: something in one of them is another now."""
        self._ask(key, edited=True)

    def _changed(self, before: Manifest | None, after: Manifest | None) -> None:
        """Something that is watched is new, another, or gone."""
        live = after or before
        if live is None or not self._started:
            return
        key = ref_of(live)
        if key.resource in self._controllers:
            self._own_changed(key, before, after)
        elif key.resource is PROFILE:
            self._profile_changed(key.name)
        else:
            self._child_changed(key, before, after)

    def _own_changed(self, key: Ref, before: Manifest | None, after: Manifest | None) -> None:
        live = after or before or {}
        if before and after and fingerprint(before) in {fingerprint(after), _unclaimed(fingerprint(after))}:
            return  # our own status and finalizer come back; they change nothing that a pass depends on
        # at first sight of an object that was carried out before, nobody is waiting
        edited = before is not None or not observed(live)
        if after:
            self._ask(key, edited=edited)
        if edited:
            # the runtime is the one that acts on its bindings; a callee opens itself to its callers
            for runtime in {name for m in (before, after) if m for name in runtimes_named(m)}:
                self._ask(Ref(RUNTIME, key.namespace, runtime), edited=True)

    def _profile_changed(self, name: str) -> None:
        """A glance at all that is judged by it; only what is judged differently now is worth more."""
        for tenant in self._store.list(TENANT, "", {}):
            if (tenant["spec"].get("governance") or {}).get("profile") == name:
                key = ref_of(tenant)
                inside = (self._store.list(kind, tenant_namespace(key), {}) for kind in (RUNTIME, BINDING))
                for governed in (tenant, *chain.from_iterable(inside)):
                    self._ask(ref_of(governed), edited=False)

    def _child_changed(self, key: Ref, before: Manifest | None, after: Manifest | None) -> None:
        # both, because a label that was changed has changed the owner too
        owners = {owner_of(manifest) for manifest in (before, after) if manifest}
        for owner in owners:
            if owner:
                self._owned_changed(owner, key, before, after)

    def _owned_changed(self, owner: Ref, key: Ref, before: Manifest | None, after: Manifest | None) -> None:
        if key.resource is not POD:
            if child_fingerprint(before) == child_fingerprint(after):
                return
            # one that was made anew has another uid, which only OpenBao can tell from the right one
            self._ask(owner, edited=before is None or after is None, priority=Priority.URGENT)
        elif pod_fingerprint(before) != pod_fingerprint(after):
            self._ask(owner, edited=True)
            for binding in self._store.referring(BINDING, owner.namespace, owner.name):
                self._ask(ref_of(binding), edited=True)

    def _ask(self, key: Ref, *, edited: bool, priority: Priority | None = None) -> None:
        """Puts a key into the queue; after an edit, the next pass asks all three systems."""
        if not self._owns(shard_of(tenant_namespace(key))):
            return
        if edited:
            self._controllers[key.resource].expire(key)
        if priority is None:
            priority = Priority.URGENT if edited else Priority.ROUTINE
        self._queue.add(key, priority)

    def _work(self) -> None:
        while (key := self._queue.get()) is not None:
            try:
                with self._progress.watched():
                    self._run(key)
            finally:
                self._queue.done(key)

    def _run(self, key: Ref) -> None:
        started = time.monotonic()
        with structlog.contextvars.bound_contextvars(
            kind=key.resource.kind, namespace=key.namespace, name=key.name, reconcile=new_id()
        ):
            try:
                done = self._controllers[key.resource].run(key)
                outcome = self._settle(key, done)
            except ReconcileError as error:
                outcome = type(error).__name__.lower()
                delay = self._queue.add_failed(key, RETRY_DENIED if isinstance(error, Denied) else RETRY)
                log.warning("pass failed", reason=error.reason, message=error.message, retry=round(delay, 2))
            except Exception as error:  # noqa: BLE001 - a defect must not end the worker
                outcome = "defect"
                report_defect(error)
                self._queue.add_failed(key, RETRY)
        metrics.RECONCILES.labels(key.resource.kind, outcome).inc()
        metrics.RECONCILE_SECONDS.labels(key.resource.kind).observe(time.monotonic() - started)

    def _settle(self, key: Ref, done: Pass) -> str:
        """Schedules the next pass and tells people what happened; returns the outcome's name."""
        for change in done.outcome.applied:
            metrics.CHANGES.labels(key.resource.kind, type(change).__name__).inc()
            log.info("changed", change=str(change))
        for change in healed(done):
            metrics.DRIFT_HEALED.labels(change.system, key.resource.kind).inc()
        for error in done.outcome.errors:
            log.debug("not complete", outcome=type(error).__name__, reason=error.reason, message=error.message)
        for related in done.related:
            self._ask(related, edited=True)
        if done.live is not None:
            self._tell(done, done.live)
        if done.next is None:
            self._queue.forget(key)
        elif done.next.backoff:
            delay = self._queue.add_failed(key, done.next.backoff)
            if done.next.after < delay:
                # what waits for something else must not wait for the backend that fails
                self._queue.add_after(key, done.next.after, done.next.priority)
        else:
            self._queue.forget(key)
            spread = random.uniform(0.9, 1.1)  # noqa: S311 - spreads load, guards nothing
            self._queue.add_after(key, done.next.after * spread, done.next.priority)
        return outcome_name(done.outcome.errors)

    def _tell(self, done: Pass, live: Manifest) -> None:
        now = datetime.datetime.now(datetime.UTC)
        for note in notes(done):
            log.info("event", reason=note.reason, message=note.message)
            try:
                self._kubernetes.create(event(note, live, self._namespace, now))
            except ReconcileError as error:
                log.warning("event not recorded", reason=error.reason, message=error.message)


def outcome_name(errors: tuple[ReconcileError, ...]) -> str:
    """The metric's word for a pass: `ok`, `defect`, or the first thing that was not complete."""
    if any(error.reason is Reason.INTERNAL_ERROR for error in errors):
        return "defect"
    return type(errors[0]).__name__.lower() if errors else "ok"


def tenant_namespace(key: Ref) -> str:
    """Whose turn a key belongs to: a Tenant takes turns with what is in its namespace."""
    return key.namespace or TenantNames(key.name, "").namespace


def owner_of(child: Manifest) -> Ref | None:
    """The object of ours that a child belongs to, by its labels."""
    metadata = child["metadata"]
    labels = metadata.get("labels") or {}
    if RUNTIME_LABEL in labels:
        return Ref(RUNTIME, metadata["namespace"], labels[RUNTIME_LABEL])
    return Ref(TENANT, "", labels[TENANT_LABEL]) if TENANT_LABEL in labels else None


def observed(live: Manifest) -> bool:
    """Whether the newest spec has been looked at before."""
    return bool((live.get("status") or {}).get("observedGeneration") == live["metadata"]["generation"])


def fingerprint(live: Manifest) -> tuple[Any, ...]:
    """What a pass over one of our objects depends on in it."""
    metadata = live["metadata"]
    annotations = metadata.get("annotations") or {}
    return (
        metadata["uid"],
        metadata["generation"],
        metadata.get("deletionTimestamp"),
        # taken off by somebody, it is put back at once: without it, deletion would leave everything behind
        FINALIZER in (metadata.get("finalizers") or ()),
        tuple(annotations.get(name) for name in (RECONCILE_ANNOTATION, ABANDON_ANNOTATION, ADOPT_ANNOTATION)),
    )


def _unclaimed(seen: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same object before it had our finalizer."""
    *rest, _, requests = seen
    return (*rest, False, requests)


def child_fingerprint(child: Manifest | None) -> Manifest:
    """What a pass over its owner depends on in a child: not the notes of others.

    They raise the generation of a Deployment, which until its controller has observed that looks like a rollout.
    """
    if child is None:
        return {}
    metadata = {k: v for k, v in child["metadata"].items() if k not in _SERVERS_COUNTS}
    notes = {k: v for k, v in (metadata.get("annotations") or {}).items() if k.startswith(f"{GROUP}/")}
    return {**child, "metadata": {**metadata, "annotations": notes}}


def pod_fingerprint(pod: Manifest | None) -> tuple[Any, ...]:
    """What a runtime's and its bindings' state depends on in a pod: not its probes' times and the like."""
    if pod is None:
        return ()
    metadata, status = pod["metadata"], pod.get("status") or {}
    states = [(c["name"], c.get("ready"), sorted(c.get("state") or {})) for c in container_statuses(pod)]
    return (
        metadata["uid"],
        "deletionTimestamp" in metadata,
        metadata.get("labels"),
        # our own mark is left out: setting it changes nothing that we would have to look at
        {k: v for k, v in (metadata.get("annotations") or {}).items() if k != REVISION_ANNOTATION},
        status.get("phase"),
        states,
    )


def _observe_wait(priority: Priority, seconds: float) -> None:
    metrics.QUEUE_WAIT.labels(priority.name.lower()).observe(seconds)
