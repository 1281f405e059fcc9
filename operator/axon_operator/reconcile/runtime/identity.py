"""Stage of the client in Keycloak, and its removal."""

from axon_operator.api.reasons import ConditionType
from axon_operator.backends.errors import ReconcileError
from axon_operator.domain import runtime as desired
from axon_operator.reconcile.common import Assumed, realm_changes
from axon_operator.reconcile.engine.plan import RealmDelete, Stage
from axon_operator.reconcile.runtime.seen import RuntimeSeen, not_known


def identity_stage(seen: RuntimeSeen, runtime: desired.Runtime) -> Stage:
    """The client, as planned."""
    if isinstance(seen.client, ReconcileError):
        raise seen.client
    if isinstance(seen.client, Assumed):
        return Stage(ConditionType.IDENTITY_READY)
    client = desired.keycloak_client(runtime)
    return Stage(ConditionType.IDENTITY_READY, realm_changes([client], {client.at: seen.client}))


def identity_teardown(seen: RuntimeSeen) -> Stage:
    """Without the client nobody is the runtime any more."""
    if isinstance(seen.client, ReconcileError | Assumed):
        raise not_known(seen.client)
    if seen.client is None or seen.tenant is None:
        return Stage(ConditionType.IDENTITY_READY)
    return Stage(
        ConditionType.IDENTITY_READY, (RealmDelete(desired.keycloak_client_path(seen.names, seen.tenant.names)),)
    )
