"""The Kopf handlers. Kopf gives us the process, the login and the watches of our kinds; nothing else.

The handlers of our kinds are a dumb intake: they put the object's key into our queue. Kopf's own state
machine writes annotations per object, has no bound on concurrency that works and loses deletions of
watched children (measured, docs/design-notes.md), so none of it is used.
"""

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Mapping
from http.server import ThreadingHTTPServer
from typing import Any

import kopf
import structlog
from pydantic import ValidationError

from axon_operator.api import GROUP, VERSION
from axon_operator.domain.resources import BINDING, RUNTIME, TENANT
from axon_operator.process import health, logs, metrics
from axon_operator.process.engine import Engine
from axon_operator.process.settings import Settings
from axon_operator.process.wiring import build, unserved_kinds

_STOP_TIMEOUT = 20.0
"""Seconds that passes under way may take to end; the pod's grace period is 30."""
_DISCOVERY_PAUSE = 2.0
"""Seconds until the API server is asked again for our kinds."""

log = structlog.stdlib.get_logger("axon_operator")


def registry(
    engine: Engine, unserved: Callable[[], str], settings: Settings, watching: threading.Event
) -> kopf.OperatorRegistry:
    """All handlers, bound to one engine.

    `watching` is set by Kopf when the startup handlers are through, of which the last has seen all of our kinds in
    the API server: the watches begin then. `unserved` says what is missing for that.
    """
    handlers = kopf.OperatorRegistry()
    probes: list[ThreadingHTTPServer] = []

    @kopf.on.startup(registry=handlers)
    async def startup(**_: Any) -> None:
        engine.start()
        ready = lambda: engine.alive and watching.is_set()  # noqa: E731
        probes.append(health.serve(settings.port, live=lambda: engine.alive, ready=ready, registry=metrics.REGISTRY))

    @kopf.on.startup(registry=handlers)
    async def kinds(**_: Any) -> None:
        # Kopf looks for them once, after this: it would never watch one that is served later
        while missing := await asyncio.to_thread(unserved):
            log.warning("not ready, waits for its kinds", message=missing)
            await asyncio.sleep(_DISCOVERY_PAUSE)

    @kopf.on.login(registry=handlers)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        # the service account's token is re-read from its file; outside a cluster, the kubeconfig
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.cleanup(registry=handlers)
    async def cleanup(**_: Any) -> None:
        watching.clear()
        await asyncio.to_thread(engine.stop, _STOP_TIMEOUT)
        for server in probes:
            server.shutdown()

    for resource in (TENANT, RUNTIME, BINDING):

        @kopf.on.event(GROUP, VERSION, resource.plural, registry=handlers)
        async def intake(type: str | None, body: Mapping[str, Any], **_: Any) -> None:  # noqa: A002 - Kopf's name
            engine.notice(type, dict(body))

    return handlers


def kopf_settings() -> kopf.OperatorSettings:
    """Kopf with everything off that would write."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.watching.server_timeout = 300
    settings.watching.connect_timeout = 10
    # not our finalizer: Kopf removes a finalizer of this name from objects it has no deletion handler for
    settings.persistence.finalizer = "axonos.ai/unused"
    return settings


def main() -> None:
    """Entry point of the container."""
    try:
        settings = Settings()
        logs.configure(settings.log_level)
        engine, unserved = build(settings), unserved_kinds(settings)
    except ValidationError as error:
        wrong = "; ".join(f"AXON_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors(include_input=False))
        sys.exit(f"axon-operator cannot start, settings are missing or wrong: {wrong}")
    except OSError as error:
        sys.exit(f"axon-operator cannot start, a file cannot be read: {error.filename}: {error.strerror}")
    except ValueError as error:
        # of the adapters' settings, in our own words
        sys.exit(f"axon-operator cannot start, settings are wrong: {error}")
    # Kopf asks for the user's name, and the container's user has none
    os.environ.setdefault("USER", "axon-operator")
    watching = threading.Event()
    kopf.run(
        registry=registry(engine, unserved, settings, watching),
        settings=kopf_settings(),
        clusterwide=True,
        ready_flag=watching,
    )
