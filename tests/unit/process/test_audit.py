"""The audit stream: one line for every write that was tried, of a fixed form, without any value."""

import datetime
import io
import json
import threading
from functools import partial
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.backends.errors import Transient
from axon_operator.domain.credential import Credential
from axon_operator.domain.names import REQUESTED_BY_ANNOTATION, REQUESTED_GENERATION_ANNOTATION
from axon_operator.domain.resources import CONFIG_MAP, Manifest, RealmPath, RealmResource, Ref, VaultPath, VaultResource
from axon_operator.process.audit import AuditStream, requested_by
from axon_operator.reconcile.engine.plan import (
    OK,
    Backends,
    Change,
    KubeAdopt,
    KubeAnnotate,
    KubeApply,
    KubeCreate,
    KubeCreateBound,
    KubeDelete,
    KubeFinalize,
    KubeReplace,
    Plan,
    RealmAbandon,
    RealmAdopt,
    RealmCreate,
    RealmCredential,
    RealmDelete,
    RealmGrant,
    RealmLogout,
    RealmLogoutUser,
    RealmUpdate,
    RealmWithdraw,
    Stage,
    VaultAbandon,
    VaultAdopt,
    VaultCredential,
    VaultDelete,
    VaultDeleteKey,
    VaultGenerate,
    VaultRenew,
    VaultReopen,
    VaultRevoke,
    VaultRotate,
    VaultWrite,
    apply,
)

VALUE = "value-that-must-not-be-seen"
MAP: Manifest = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "m", "namespace": "axon-acme", "finalizers": [VALUE]},
    "data": {"key": VALUE},
}
REF = Ref(CONFIG_MAP, "axon-acme", "m")
POLICY = VaultPath("t-1", "sys/policies/acl/x")
KEPT = VaultPath("t-1", "kv/data/generated/x")
ISSUED = VaultPath("t-1", "database/creds/x")
KEY = VaultPath("t-1", "transit/keys/x")
CONNECTION = VaultPath("t-1", "database/config/orders")
ACCOUNT = VaultPath("t-1", "database/static-roles/orders.app")
CLIENT = RealmPath("axon-acme", ("clients", "c"))
CHANGES: tuple[tuple[Change, str, str, str], ...] = (
    (KubeCreate(MAP), "kubernetes", "create", "ConfigMap axon-acme/m"),
    (KubeCreateBound(MAP, lambda _uid: VaultResource(POLICY, {})), "kubernetes", "create", "ConfigMap axon-acme/m"),
    (KubeApply(MAP), "kubernetes", "apply", "ConfigMap axon-acme/m"),
    (KubeAdopt(MAP), "kubernetes", "adopt", "ConfigMap axon-acme/m"),
    (KubeReplace(MAP), "kubernetes", "replace", "ConfigMap axon-acme/m"),
    (KubeDelete(REF, "u"), "kubernetes", "delete", "ConfigMap axon-acme/m"),
    (KubeAnnotate(REF, {"a": VALUE}), "kubernetes", "annotate", "ConfigMap axon-acme/m"),
    (KubeFinalize(MAP, (VALUE,)), "kubernetes", "finalize", "ConfigMap axon-acme/m"),
    (VaultWrite(POLICY, {"policy": VALUE}), "openbao", "write", "t-1/sys/policies/acl/x"),
    (VaultAdopt(POLICY, {"policy": VALUE}), "openbao", "adopt", "t-1/sys/policies/acl/x"),
    (VaultDelete(POLICY), "openbao", "delete", "t-1/sys/policies/acl/x"),
    (
        VaultCredential(VaultResource(CONNECTION, {"x": VALUE}), Credential("n", "s", "acme", "h", "p"), VALUE),
        "openbao",
        "write-credential",
        "t-1/database/config/orders",
    ),
    (VaultRotate(CONNECTION, VALUE, VALUE), "openbao", "rotate", "t-1/database/config/orders"),
    (
        VaultRenew(ACCOUNT, VaultWrite(POLICY, {"a": VALUE})),
        "openbao",
        "rotate",
        "t-1/database/static-roles/orders.app",
    ),
    (VaultGenerate(KEPT, POLICY), "openbao", "generate", "t-1/kv/data/generated/x"),
    (VaultRevoke(ISSUED), "openbao", "revoke", "t-1/database/creds/x"),
    (VaultDeleteKey(KEY), "openbao", "delete", "t-1/transit/keys/x"),
    (
        VaultReopen(VaultWrite(POLICY, {"a": VALUE}), None, VaultWrite(POLICY, {"a": VALUE})),
        "openbao",
        "reopen",
        "t-1",
    ),
    (VaultAbandon(POLICY), "openbao", "abandon", "t-1/sys/policies/acl/x"),
    (
        RealmCreate(RealmResource(CLIENT, RealmPath("axon-acme", ("clients",)), {"secret": VALUE})),
        "keycloak",
        "create",
        "axon-acme/clients/c",
    ),
    (RealmUpdate(CLIENT, {"secret": VALUE}), "keycloak", "update", "axon-acme/clients/c"),
    (RealmAdopt(CLIENT, {"secret": VALUE}), "keycloak", "adopt", "axon-acme/clients/c"),
    (RealmAbandon(CLIENT), "keycloak", "abandon", "axon-acme/clients/c"),
    (RealmDelete(CLIENT), "keycloak", "delete", "axon-acme/clients/c"),
    (RealmLogoutUser("axon-acme", "u"), "keycloak", "logout", "axon-acme/users/u"),
    (RealmGrant(CLIENT, ({"id": VALUE},)), "keycloak", "grant", "axon-acme/clients/c"),
    (RealmWithdraw(CLIENT, ({"id": VALUE},)), "keycloak", "withdraw", "axon-acme/clients/c"),
    (
        RealmCredential(
            RealmResource(CLIENT, CLIENT, {"config": {"x": VALUE}}), True, "x", Credential("n", "s", "acme", "h", "p")
        ),
        "keycloak",
        "write-credential",
        "axon-acme/clients/c",
    ),
    (RealmLogout("axon-acme"), "keycloak", "logout-all", "axon-acme"),
)


def live(annotations: dict[str, str] | None = None, *, generation: int = 3) -> Manifest:
    metadata: dict[str, Any] = {"name": "acme", "uid": "u-1", "generation": generation}
    if annotations is not None:
        metadata["annotations"] = annotations
    return {"apiVersion": "axonos.ai/v1alpha1", "kind": "Tenant", "metadata": metadata, "spec": {"displayName": VALUE}}


def stamped(name: str, generation: str = "3") -> dict[str, str]:
    return {REQUESTED_BY_ANNOTATION: name, REQUESTED_GENERATION_ANNOTATION: generation}


def now() -> datetime.datetime:
    return datetime.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=datetime.UTC)


def test_a_line_has_exactly_the_fields_of_the_reference() -> None:
    sink = io.StringIO()
    with structlog.contextvars.bound_contextvars(reconcile="0123456789ab"):
        AuditStream(sink, now=now)(live(stamped("alice")), VaultDelete(POLICY), OK)
    assert sink.getvalue().endswith("\n")
    assert json.loads(sink.getvalue()) == {
        "audit": 1,
        "time": "2026-01-02T03:04:05.678Z",
        "object": {"kind": "Tenant", "namespace": "", "name": "acme", "uid": "u-1"},
        "generation": 3,
        "reconcile": "0123456789ab",
        "requestedBy": "alice",
        "backend": "openbao",
        "verb": "delete",
        "target": "t-1/sys/policies/acl/x",
        "outcome": "ok",
    }


@pytest.mark.parametrize(("change", "backend", "verb", "target"), CHANGES)
def test_every_change_names_its_system_verb_and_target_and_no_value(
    change: Change, backend: str, verb: str, target: str
) -> None:
    sink = io.StringIO()
    AuditStream(sink, now=now)(live(), change, OK)
    line = json.loads(sink.getvalue())
    assert (line["backend"], line["verb"], line["target"]) == (backend, verb, target)
    assert VALUE not in sink.getvalue() + str(change)
    assert str(change).startswith(verb)
    assert str(change).endswith(target)


def test_no_kind_of_change_was_forgotten() -> None:
    assert {type(change) for change, *_ in CHANGES} == set(Change.__args__)


class _Failing:
    """An OpenBao in which the second write fails as told."""

    def __init__(self, error: Exception) -> None:
        self._errors = iter((None, error))

    def delete(self, path: VaultPath) -> None:
        if error := next(self._errors):
            raise error


def _tried(error: Exception) -> list[tuple[str, str]]:
    plan = Plan((Stage(ConditionType.VAULT_READY, tuple(VaultDelete(VaultPath("", name)) for name in "abc")),))
    told: list[tuple[str, str]] = []
    backends = Backends(None, _Failing(error), None)  # type: ignore[arg-type]
    try:
        apply(plan, backends, lambda change, outcome: told.append((change.target, outcome)))
    except ZeroDivisionError:
        told.append(("", "raised"))
    return told


def test_each_write_that_was_tried_is_told_once_with_its_outcome_and_the_others_are_not() -> None:
    away = Transient(Reason.VAULT_UNAVAILABLE, VALUE)
    assert _tried(away) == [("a", "ok"), ("b", "VaultUnavailable")]
    # also when nobody knows what became of it
    assert _tried(ZeroDivisionError(VALUE)) == [("a", "ok"), ("b", "InternalError"), ("", "raised")]


def test_a_line_that_cannot_be_written_ends_the_pass() -> None:
    sink = io.StringIO()
    sink.close()
    tried: list[str] = []

    class Deleting:
        def delete(self, path: VaultPath) -> None:
            tried.append(path.path)

    plan = Plan((Stage(ConditionType.VAULT_READY, tuple(VaultDelete(VaultPath("", name)) for name in "abc")),))
    with pytest.raises(ValueError, match="closed"):
        apply(plan, Backends(None, Deleting(), None), partial(AuditStream(sink, now=now), live()))  # type: ignore[arg-type]
    assert tried == ["a"]


def test_lines_of_many_threads_do_not_mix() -> None:
    class Slow(io.StringIO):
        def write(self, text: str) -> int:
            for part in (text[:50], text[50:]):
                super().write(part)
                threading.Event().wait(0.001)
            return len(text)

    sink = Slow()
    stream = AuditStream(sink, now=now)
    threads = [threading.Thread(target=stream, args=(live(), VaultDelete(POLICY), OK)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [json.loads(line)["outcome"] for line in sink.getvalue().splitlines()] == ["ok"] * 20


@pytest.mark.parametrize(
    "annotations",
    [None, {}, {REQUESTED_BY_ANNOTATION: "alice"}, stamped("alice", "2"), stamped("")],
    ids=["no annotations", "no stamp", "half a stamp", "of an older generation", "an empty name"],
)
def test_who_asked_is_unknown_where_this_generation_has_no_stamp(annotations: dict[str, str] | None) -> None:
    assert requested_by(live(annotations)) == "unknown"


@given(st.text())
def test_a_name_is_short_on_one_line_and_otherwise_as_stamped(name: str) -> None:
    shown = requested_by(live(stamped(name)))
    assert len(shown) <= 256
    assert shown.isprintable()
    if name.isprintable() and 0 < len(name) <= 256:
        assert shown == name
