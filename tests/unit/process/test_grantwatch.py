"""Consents are looked for in every round; that they cannot be is told when it begins and when it is over."""

from typing import Any

import pytest
import structlog

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Denied, ReconcileError, Transient
from axon_operator.domain.resources import RUNTIME, Ref
from axon_operator.process import grantwatch
from axon_operator.process.grantwatch import GrantWatch

AWAY = Transient(Reason.VAULT_UNAVAILABLE, "OpenBao is away.")
DENIED = Denied(Reason.VAULT_DENIED, "OpenBao refuses the operator.")
RUNTIMES = [Ref(RUNTIME, "axon-acme", name) for name in ("one", "two", "three")]


class Watch(GrantWatch):
    """Of three runtimes; each look fails with what is set for it."""

    def __init__(self) -> None:
        unused: Any = None
        super().__init__(unused, unused, unused, interval=60, may_begin=lambda: True, changed=lambda _: None)
        self.failing: dict[Ref, ReconcileError] = {}

    def _asked_for(self) -> Any:
        return ((runtime, ()) for runtime in RUNTIMES)

    def _look(self, runtime: Ref, _: Any) -> Any:
        if runtime in self.failing:
            raise self.failing[runtime]
        return {}


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    monkeypatch.setattr(grantwatch, "log", structlog.stdlib.get_logger("axon_operator"))
    return Watch()


def rounds(watch: Watch, number: int = 3) -> list[tuple[str, str, str, int]]:
    with structlog.testing.capture_logs() as lines:
        for _ in range(number):
            watch.once()
    return [(e["log_level"], e["reason"], e.get("runtime", ""), e.get("runtimes", 0)) for e in lines]


def test_an_outage_is_told_once_for_all_runtimes_and_once_when_it_is_over(watch: Watch) -> None:
    assert rounds(watch) == []
    watch.failing = dict.fromkeys(RUNTIMES, AWAY)
    assert rounds(watch) == [("warning", "VaultUnavailable", str(RUNTIMES[0]), 3)]
    assert rounds(watch) == []
    watch.failing = {}
    assert rounds(watch) == [("info", "VaultUnavailable", "", 0)]
    assert rounds(watch) == []


def test_another_reason_is_news_of_its_own(watch: Watch) -> None:
    watch.failing = {RUNTIMES[0]: AWAY}
    assert rounds(watch) == [("warning", "VaultUnavailable", str(RUNTIMES[0]), 1)]
    watch.failing[RUNTIMES[1]] = DENIED
    assert rounds(watch) == [("warning", "VaultDenied", str(RUNTIMES[1]), 1)]
    del watch.failing[RUNTIMES[0]]
    assert rounds(watch) == [("info", "VaultUnavailable", "", 0)]
