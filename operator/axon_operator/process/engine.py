"""The process's engine: intake, queue, bounded workers, one controller per kind."""

import datetime
import random
import threading
import time
import traceback
import uuid
from collections.abc import Mapping
from typing import Any

import structlog

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Denied, ReconcileError
from axon_operator.backends.kubernetes.port import Kubernetes
from axon_operator.domain.names import FINALIZER, RECONCILE_ANNOTATION
from axon_operator.domain.resources import BINDING, RUNTIME, Manifest, Ref, Resource, ref_of
from axon_operator.process import metrics
from axon_operator.process.events import event, notes
from axon_operator.reconcile.engine.controller import Controller, Pass
from axon_operator.reconcile.engine.queue import Backoff, WorkQueue

_RETRY = Backoff(base=1, cap=60)
_RETRY_DENIED = Backoff(base=30, cap=600)

log = structlog.stdlib.get_logger("axon_operator")


class Engine:
    """Runs passes over objects until it is stopped."""

    def __init__(
        self, controllers: Mapping[Resource, Controller[Any]], kubernetes: Kubernetes, *, workers: int, namespace: str
    ) -> None:
        """`namespace`: where Events about cluster-scoped objects go."""
        self._controllers = controllers
        self._kubernetes = kubernetes
        self._namespace = namespace
        self._queue = WorkQueue()
        self._seen: dict[str, tuple[Any, ...]] = {}
        self._threads = [threading.Thread(target=self._work, name=f"worker-{n}", daemon=True) for n in range(workers)]
        metrics.QUEUE_DEPTH.set_function(lambda: len(self._queue))

    def start(self) -> None:
        """Starts the workers."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float) -> None:
        """Hands out no more work and waits, at most `timeout` seconds, for what is under way."""
        self._queue.close()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    @property
    def alive(self) -> bool:
        """Whether every worker is there."""
        return all(thread.is_alive() for thread in self._threads)

    def notice(self, kind: str | None, live: Manifest) -> None:
        """Intake of a watch event (`kind`: ADDED, MODIFIED, DELETED, None for the initial list).

        Our own status writes come back as events; they change nothing that a pass depends on.
        """
        uid, key = live["metadata"]["uid"], ref_of(live)
        if kind == "DELETED":
            self._seen.pop(uid, None)
        elif self._seen.get(uid) == (fingerprint := _fingerprint(live)):
            return
        else:
            self._seen[uid] = fingerprint
            self._queue.add(key)
        if key.resource is BINDING:
            # the runtime is the one that acts on its bindings
            self._queue.add(Ref(RUNTIME, key.namespace, live["spec"]["runtimeRef"]["name"]))

    def _work(self) -> None:
        while (key := self._queue.get()) is not None:
            try:
                self._run(key)
            finally:
                self._queue.done(key)

    def _run(self, key: Ref) -> None:
        started = time.monotonic()
        with structlog.contextvars.bound_contextvars(
            kind=key.resource.kind, namespace=key.namespace, name=key.name, reconcile=uuid.uuid4().hex[:12]
        ):
            try:
                done = self._controllers[key.resource].run(key)
                outcome = self._settle(key, done)
            except ReconcileError as error:
                outcome = type(error).__name__.lower()
                delay = self._queue.add_failed(key, _RETRY_DENIED if isinstance(error, Denied) else _RETRY)
                log.warning("pass failed", reason=error.reason, message=error.message, retry=round(delay, 2))
            except Exception as error:  # noqa: BLE001 - a defect must not end the worker
                outcome = "defect"
                report_defect(error)
                self._queue.add_failed(key, _RETRY)
        metrics.RECONCILES.labels(key.resource.kind, outcome).inc()
        metrics.RECONCILE_SECONDS.labels(key.resource.kind).observe(time.monotonic() - started)

    def _settle(self, key: Ref, done: Pass) -> str:
        """Schedules the next pass and tells people what happened; returns the outcome's name."""
        for change in done.outcome.applied:
            metrics.CHANGES.labels(key.resource.kind, type(change).__name__).inc()
            log.info("changed", change=str(change))
        for error in done.outcome.errors:
            log.debug("not complete", outcome=type(error).__name__, reason=error.reason, message=error.message)
        for related in done.related:
            self._queue.add(related)
        if done.live is not None:
            self._tell(done, done.live)
        if done.next is None:
            self._queue.forget(key)
        elif done.next.backoff:
            delay = self._queue.add_failed(key, done.next.backoff)
            if done.next.after < delay:
                # what waits for something else must not wait for the backend that fails
                self._queue.add_after(key, done.next.after)
        else:
            self._queue.forget(key)
            self._queue.add_after(key, done.next.after * random.uniform(0.9, 1.1))  # noqa: S311 - spreads load, guards nothing
        if any(error.reason is Reason.INTERNAL_ERROR for error in done.outcome.errors):
            return "defect"
        return type(done.outcome.errors[0]).__name__.lower() if done.outcome.errors else "ok"

    def _tell(self, done: Pass, live: Manifest) -> None:
        now = datetime.datetime.now(datetime.UTC)
        for note in notes(done):
            log.info("event", reason=note.reason, message=note.message)
            try:
                self._kubernetes.create(event(note, live, self._namespace, now))
            except ReconcileError as error:
                log.warning("event not recorded", reason=error.reason, message=error.message)


def _fingerprint(live: Manifest) -> tuple[Any, ...]:
    metadata = live["metadata"]
    annotations = metadata.get("annotations") or {}
    return (
        metadata.get("generation"),
        metadata.get("deletionTimestamp"),
        # taken off by somebody, it is put back at once: without it, deletion would leave everything behind
        FINALIZER in (metadata.get("finalizers") or ()),
        annotations.get(RECONCILE_ANNOTATION),
    )


def report_defect(error: Exception) -> None:
    """Logs an exception that is none of the four errors: its type and place only."""
    # not log.exception: a traceback ends with the exception's text
    log.error("defect", error=type(error).__name__, where=_where(error))


def _where(error: Exception) -> list[str]:
    """File and line of each frame; never the exception's text, which can carry values."""
    return [
        f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)[-6:]
    ]
