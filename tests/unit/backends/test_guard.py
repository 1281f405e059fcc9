"""Breakers, bounds and the fence, on their own. That they protect real backends is shown on real ones."""

import threading
from contextlib import suppress
from typing import Any

import pytest

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Behind, Denied, ReconcileError, Terminal, Transient
from axon_operator.backends.guard import Breakers, Fence, Guard, GuardedVault
from axon_operator.domain.resources import VaultPath

AWAY = Transient(Reason.VAULT_UNAVAILABLE, "OpenBao does not answer.")


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def fail(breakers: Breakers, tenant: str, error: ReconcileError = AWAY) -> bool:
    """One call that fails, if it is let through; whether it was."""
    reached = False
    with suppress(ReconcileError), breakers.call(tenant):
        reached = True
        raise error
    return reached


def reaches(breakers: Breakers, tenant: str) -> bool:
    """One call that would succeed; whether it was let through."""
    reached = False
    with suppress(ReconcileError), breakers.call(tenant):
        reached = True
    return reached


def test_after_failures_in_a_row_a_tenant_is_left_alone_and_no_other() -> None:
    breakers = Breakers(Clock())
    assert [fail(breakers, "a") for _ in range(5)] == [True, True, True, False, False]
    assert reaches(breakers, "b")
    assert breakers.open() == 1


def test_the_refusal_says_what_the_backend_said_last() -> None:
    breakers = Breakers(Clock())
    for _ in range(3):
        fail(breakers, "a")
    with pytest.raises(Transient, match="OpenBao does not answer") as refused, breakers.call("a"):
        pass
    assert refused.value.reason == Reason.VAULT_UNAVAILABLE
    assert refused.value.__context__ is None


def test_after_the_pause_one_call_tries_and_its_success_closes() -> None:
    clock = Clock()
    breakers = Breakers(clock)
    for _ in range(3):
        fail(breakers, "a")
    clock.now = 2.1
    with breakers.call("a"):
        assert not reaches(breakers, "a"), "a second call beside the test"
    assert reaches(breakers, "a")
    assert breakers.open() == 0


def test_pauses_grow_to_half_a_minute_and_late_failures_do_not_stretch_them() -> None:
    clock = Clock()
    breakers = Breakers(clock)
    for _ in range(3):
        fail(breakers, "a")
    pauses = []
    for _ in range(8):
        begun = clock.now
        while not fail(breakers, "a"):
            clock.now += 0.5
        pauses.append(clock.now - begun)
    assert pauses == sorted(pauses)
    assert 28 <= pauses[-1] <= 30.5


def test_calls_that_were_on_their_way_when_it_opened_do_not_lengthen_the_pause() -> None:
    clock = Clock()
    breakers = Breakers(clock)
    calls = [breakers.call("a") for _ in range(8)]
    for call in calls:
        call.__enter__()
    for call in calls:
        with suppress(Transient):
            call.__exit__(Transient, AWAY, None)
    clock.now = 2.1
    assert reaches(breakers, "a")


def test_failures_of_several_tenants_open_the_whole_backend() -> None:
    breakers = Breakers(Clock())
    for tenant in ("a", "b", "c", "a", "b", "c"):
        fail(breakers, tenant)
    assert not reaches(breakers, "never-seen")


def test_a_database_that_is_away_says_nothing_bad_about_openbao() -> None:
    breakers = Breakers(Clock())
    behind = Behind(Reason.DATABASE_UNREACHABLE, "OpenBao does not reach the database.")
    assert all(fail(breakers, "a", behind) for _ in range(20))
    assert breakers.open() == 0
    # nor does it hide that OpenBao itself was away before
    for error in (AWAY, AWAY, behind, AWAY, AWAY):
        assert fail(breakers, "a", error)
    assert breakers.open() == 0


def test_failures_of_one_tenant_alone_do_not() -> None:
    clock = Clock()
    breakers = Breakers(clock)
    for _ in range(50):
        fail(breakers, "a")
        clock.now += 31
    assert reaches(breakers, "b")


def test_hanging_tenants_do_not_keep_a_well_one_from_its_backend() -> None:
    clock = Clock()
    breakers = Breakers(clock)
    for _ in range(200):
        for tenant in ("a", "b", "c"):
            fail(breakers, tenant)
        clock.now += 3.0
    clock.now += 31
    for tenant in ("a", "b", "c"):
        fail(breakers, tenant)
    assert reaches(breakers, "well")
    for tenant in ("a", "b", "c"):
        fail(breakers, tenant)
    assert reaches(breakers, "well")


def test_a_tenant_that_is_gone_is_forgotten() -> None:
    clock = Clock()
    breakers = Breakers(clock)
    for _ in range(3):
        fail(breakers, "gone")
    clock.now += 4000
    fail(breakers, "another")
    assert breakers.open() == 0


@pytest.mark.parametrize("error", [Denied(Reason.VAULT_DENIED, "No."), Terminal(Reason.INVALID_SPEC, "Wrong.")])
def test_an_answer_that_refuses_is_an_answer(error: ReconcileError) -> None:
    breakers = Breakers(Clock())
    assert [fail(breakers, "a", error) for _ in range(9)] == [True] * 9


def test_no_more_calls_at_once_than_the_limit_and_waiting_in_vain_is_no_failure_of_the_backend() -> None:
    breakers = Breakers()
    guard = Guard("openbao", Reason.VAULT_UNAVAILABLE, limit=1, patience=0.01, breakers=breakers)
    entered, leave = threading.Event(), threading.Event()

    def hang() -> None:
        with guard.call("a"):
            entered.set()
            leave.wait(5)

    thread = threading.Thread(target=hang)
    thread.start()
    entered.wait(5)
    for _ in range(5):
        with pytest.raises(Transient, match="busy"), guard.call("b"):
            pass
    leave.set()
    thread.join(5)
    assert breakers.open() == 0
    with guard.call("b"):
        pass


class Recorder:
    """Counts what gets through."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def read(self, path: VaultPath) -> None:
        self.calls.append(f"read {path}")

    def write(self, path: VaultPath, body: Any) -> None:
        self.calls.append(f"write {path}")

    def delete(self, path: VaultPath) -> None:
        self.calls.append(f"delete {path}")


def test_a_process_that_no_longer_leads_reads_and_does_not_write() -> None:
    leads = True
    inner = Recorder()
    breakers = Breakers(Clock())
    guard = Guard("openbao", Reason.VAULT_UNAVAILABLE, limit=4, patience=1, breakers=breakers)
    vault = GuardedVault(inner, guard, Fence(lambda: leads))  # type: ignore[arg-type]
    path = VaultPath("t-1", "sys/mounts/kv")
    vault.write(path, {})
    leads = False
    for _ in range(5):
        with pytest.raises(Transient) as refused:
            vault.write(path, {})
        assert refused.value.reason == Reason.NOT_LEADER
    with pytest.raises(Transient):
        vault.delete(path)
    vault.read(path)
    assert inner.calls == [f"write {path}", f"read {path}"]
    assert breakers.open() == 0
