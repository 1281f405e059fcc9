"""The Kopf handlers. Kopf gives us the process, the login and the watches of our kinds; nothing else.

The handlers of our kinds are a dumb intake: they hand the object to the store, which tells the queue. Kopf's own state
machine writes annotations per object, has no bound on concurrency that works and loses deletions of
watched children (measured, docs/design-notes.md), so none of it is used.
"""

import asyncio
import gc
import os
import sys
import threading
from collections.abc import Mapping
from http.server import ThreadingHTTPServer
from typing import Any

import kopf
import structlog
from pydantic import ValidationError

from axon_operator.api import GROUP, VERSION
from axon_operator.backends.errors import ReconcileError
from axon_operator.backends.kubernetes.informer import Informers
from axon_operator.domain.resources import BINDING, RUNTIME, TENANT
from axon_operator.process import health, logs, metrics
from axon_operator.process.settings import Settings
from axon_operator.process.wiring import Operator, build

_STOP_TIMEOUT = 20.0
"""Seconds that passes under way may take to end; the pod's grace period is 30."""
_SYNC_POLL = 0.2

log = structlog.stdlib.get_logger("axon_operator")


def registry(operator: Operator, settings: Settings, watching: threading.Event) -> kopf.OperatorRegistry:
    """All handlers, bound to one operator. `watching` is set by Kopf when the startup handler is done.

    Every process watches; the one that leads fills its queue from what it knows, and works.
    """
    handlers = kopf.OperatorRegistry()
    probes: list[ThreadingHTTPServer] = []
    engine, informers, candidate = operator.engine, operator.informers, operator.elector

    def live() -> bool:
        return operator.alive

    def ready() -> bool:
        """A standby is as ready as the leader: it watches, and can take over."""
        return operator.alive and watching.is_set()

    @kopf.on.startup(registry=handlers)
    async def startup(**_: Any) -> None:
        probes.append(health.serve(settings.port, live=live, ready=ready, registry=metrics.REGISTRY))
        informers.start()
        await listed(informers)
        await require_supported(informers)
        candidate.start(won=operator.lead, lost=end_process)

    @kopf.on.login(registry=handlers)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        # the service account's token is re-read from its file; outside a cluster, the kubeconfig
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.cleanup(registry=handlers)
    async def cleanup(**_: Any) -> None:
        watching.clear()
        informers.stop()
        # a pass that does not end keeps the lease, which then runs out: it may still write until the process is gone
        if await asyncio.to_thread(operator.stop, _STOP_TIMEOUT):
            await asyncio.to_thread(candidate.stop)
        for server in probes:
            server.shutdown()

    for resource in (TENANT, RUNTIME, BINDING):

        @kopf.on.event(GROUP, VERSION, resource.plural, registry=handlers)
        async def intake(type: str | None, body: Mapping[str, Any], **_: Any) -> None:  # noqa: A002 - Kopf's name
            engine.notice(type, dict(body))

    return handlers


async def listed(informers: Informers) -> None:
    """Waits until everything has been listed once.

    Kopf looks for our kinds once, after this: were they not served yet, it would wait for ever.
    """
    while not informers.synced:
        await asyncio.sleep(_SYNC_POLL)


async def require_supported(informers: Informers) -> None:
    """Ends the process if the API server is too old. One that does not tell its version is trusted."""
    try:
        problem = await asyncio.to_thread(informers.unsupported)
    except ReconcileError as error:
        log.warning("version of the API server not known", reason=error.reason, message=error.message)
        return
    if problem:
        log.error("axon-operator cannot start", message=problem)
        os._exit(1)


def end_process() -> None:
    """Ends the process at once, without cleaning up; the kubelet starts it again as a standby.

    A worker in the middle of a call cannot be stopped in any other way, and must not write once another leads.
    """
    log.error("no longer leads, the process ends")
    os._exit(1)


class _Untracked(kopf.DiffBaseStorage):
    """What Kopf remembers of an object in order to find out what changed: nothing.

    Only handlers that are not used here ask for that, but by default it copies every object for them: half of the
    CPU time of its watches (measured).
    """

    def build(self, **_: Any) -> kopf.BodyEssence:
        """What would be compared."""
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        """What was stored."""

    def store(self, **_: Any) -> None:
        """Stores it in the object."""


def kopf_settings() -> kopf.OperatorSettings:
    """Kopf with everything off that would write, or remember."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.watching.server_timeout = 300
    settings.watching.connect_timeout = 10
    # an hour: by default Kopf ends the process after a minute without the API server, and the kubelet's back-off
    # would then delay the return by up to five more
    settings.networking.error_backoffs = (1, 1, 2, 3, 5, 8, *(10,) * 360)
    settings.watching.chunk_size = 500
    # seconds for which an object stays parsed in a task of its own
    settings.queueing.idle_timeout = 0.1
    settings.persistence.diffbase_storage = _Untracked()
    # not our finalizer: Kopf removes a finalizer of this name from objects it has no deletion handler for
    settings.persistence.finalizer = "axonos.ai/unused"
    return settings


def main() -> None:
    """Entry point of the container."""
    try:
        settings = Settings()
        logs.configure(settings.log_level)
        operator = build(settings)
    except ValidationError as error:
        wrong = "; ".join(f"AXON_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors(include_input=False))
        sys.exit(f"axon-operator cannot start, settings are missing or wrong: {wrong}")
    except OSError as error:
        sys.exit(f"axon-operator cannot start, a file cannot be read: {error.filename}: {error.strerror}")
    except ValueError as error:
        # of the adapters' settings, in our own words
        sys.exit(f"axon-operator cannot start, settings are wrong: {error}")
    # what is imported stays: looking for garbage there, again and again, was two fifths of the first lists (measured)
    gc.freeze()
    # Kopf asks for the user's name, and the container's user has none
    os.environ.setdefault("USER", "axon-operator")
    watching = threading.Event()
    kopf.run(
        registry=registry(operator, settings, watching),
        settings=kopf_settings(),
        clusterwide=True,
        ready_flag=watching,
    )
