"""Looks for grants that users have given, changed or taken back, and wakes the runtimes that they are for.

OpenBao tells nobody of a change, so it is asked: for each binding that names a grant, whether it is there. What is taken
back is refused by OpenBao at once; this is what makes it leave the pods, too. Only what bindings name is asked for: users
may write as many grants as they like.
"""

from collections.abc import Callable, Iterator, Mapping

import structlog

from axon_operator.api.reasons import Reason
from axon_operator.api.workflowruntime import WorkflowRuntimeSpec
from axon_operator.backends.errors import ReconcileError
from axon_operator.backends.kubernetes.port import Kubernetes
from axon_operator.backends.vault.port import Vault
from axon_operator.domain.binding import Binding, Found
from axon_operator.domain.manifests import runtime_names
from axon_operator.domain.platform import Platform
from axon_operator.domain.resources import BINDING, RUNTIME, Ref
from axon_operator.process.rounds import Rounds
from axon_operator.reconcile.common import deleting
from axon_operator.reconcile.views import kept_secrets, runtime_bindings, surroundings, tenant_view

log = structlog.stdlib.get_logger("axon_operator")


class GrantWatch(Rounds):
    """A look at every interval, while this process leads and knows all objects."""

    def __init__(
        self,
        known: Kubernetes,
        vault: Vault,
        platform: Platform,
        *,
        interval: float,
        may_begin: Callable[[], bool],
        changed: Callable[[Ref], None],
    ) -> None:
        """`known`: what the watches have brought. `changed`: told of each runtime and binding that a change concerns."""
        super().__init__("grants", interval=interval, may_begin=may_begin)
        self._known = known
        self._vault = vault
        self._platform = platform
        self._changed = changed
        self._seen: dict[Ref, Found] = {}
        """By runtime."""
        self._failing: frozenset[Reason] = frozenset()
        """Why runtimes could not be looked at in the last round."""

    def _round(self) -> None:
        """One look at each runtime; one that cannot be looked at is left for the next round."""
        before, self._seen = self._seen, {}
        failures: dict[Ref, ReconcileError] = {}
        for runtime, asking in self._asked_for():
            try:
                there = self._look(runtime, asking)
            except ReconcileError as error:
                failures[runtime] = error
                there = before.get(runtime, {})
            self._seen[runtime] = there
            # also at first sight: it may have changed while nobody looked
            if before.get(runtime) != there:
                self._changed(runtime)
                for binding in asking:
                    self._changed(Ref(BINDING, runtime.namespace, binding.name))
        self._tell(failures)

    def _tell(self, failures: Mapping[Ref, ReconcileError]) -> None:
        """A line for each reason, when it begins and when it is over: an outage is no news in every round."""
        before, self._failing = self._failing, frozenset(error.reason for error in failures.values())
        for reason in sorted(self._failing - before):
            concerned = [(runtime, error) for runtime, error in failures.items() if error.reason is reason]
            first, error = concerned[0]
            log.warning(
                "grants not looked at",
                reason=reason,
                message=error.message,
                runtime=str(first),
                runtimes=len(concerned),
            )
        for reason in sorted(before - self._failing):
            log.info("grants looked at again", reason=reason)

    def _asked_for(self) -> Iterator[tuple[Ref, tuple[Binding, ...]]]:
        """Runtimes, each with its bindings that name a grant."""
        live = [b for b in self._known.list(BINDING, "") if b["spec"]["source"].get("grant") and not deleting(b)]
        for namespace, name in sorted({(b["metadata"]["namespace"], b["spec"]["runtimeRef"]["name"]) for b in live}):
            bound = runtime_bindings(self._known, namespace, name)
            yield Ref(RUNTIME, namespace, name), tuple(b for b in bound if b.spec.source.grant)

    def _look(self, runtime: Ref, asking: tuple[Binding, ...]) -> Found:
        """Which of the grants are there; nothing of a tenant whose OpenBao namespace does not answer anyway."""
        tenant, live = tenant_view(self._known, runtime.namespace), self._known.get(runtime)
        if tenant is None or live is None or tenant.deleting or tenant.spec.suspended:
            return {}
        spec = WorkflowRuntimeSpec.model_validate(live["spec"])
        every = runtime_bindings(self._known, runtime.namespace, runtime.name)
        around = surroundings(runtime_names(live), spec, tenant, every, self._platform)
        return kept_secrets(self._vault, around, asking)
