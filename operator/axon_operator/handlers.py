"""The Kopf handlers. Kopf gives us the process, the login and the watches of our kinds; nothing else.

The handlers of our kinds are a dumb intake: they put the object's key into our queue. Kopf's own state
machine writes annotations per object, has no bound on concurrency that works and loses deletions of
watched children (measured, docs/design-notes.md), so none of it is used.
"""

import asyncio
import sys
from collections.abc import Mapping
from typing import Any

import kopf
from pydantic import ValidationError

from axon_operator.api import GROUP, VERSION
from axon_operator.domain.resources import BINDING, RUNTIME, TENANT
from axon_operator.process import health, logs, metrics
from axon_operator.process.engine import Engine
from axon_operator.process.settings import Settings
from axon_operator.process.wiring import build

_STOP_TIMEOUT = 20.0
"""Seconds that passes under way may take to end; the pod's grace period is 30."""


def registry(engine: Engine, settings: Settings) -> kopf.OperatorRegistry:
    """All handlers, bound to one engine."""
    handlers = kopf.OperatorRegistry()
    state = _State(engine)

    @kopf.on.startup(registry=handlers)
    async def startup(**_: Any) -> None:
        engine.start()
        state.server = health.serve(
            settings.port,
            live=lambda: engine.alive,
            ready=lambda: engine.alive and state.watching,
            registry=metrics.REGISTRY,
        )

    @kopf.on.login(registry=handlers)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        # the service account's token is re-read from its file; outside a cluster, the kubeconfig
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.cleanup(registry=handlers)
    async def cleanup(**_: Any) -> None:
        state.watching = False
        await asyncio.to_thread(engine.stop, _STOP_TIMEOUT)
        if state.server is not None:
            state.server.shutdown()

    for resource in (TENANT, RUNTIME, BINDING):

        @kopf.on.event(GROUP, VERSION, resource.plural, registry=handlers)
        async def intake(type: str | None, body: Mapping[str, Any], **_: Any) -> None:  # noqa: A002 - Kopf's name
            state.watching = True
            engine.notice(type, dict(body))

    return handlers


class _State:
    """What the handlers share."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.server: Any = None
        self.watching = False


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
    except ValidationError as error:
        wrong = "; ".join(f"AXON_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors(include_input=False))
        sys.exit(f"axon-operator cannot start, settings are missing or wrong: {wrong}")
    logs.configure(settings.log_level)
    engine = build(settings)
    kopf.run(registry=registry(engine, settings), settings=kopf_settings(), clusterwide=True)
