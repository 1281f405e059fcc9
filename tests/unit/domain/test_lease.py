"""A holder counts as dead only when its record stood still for long enough on our own clock."""

import datetime

from hypothesis import given
from hypothesis import strategies as st

from axon_operator.domain.lease import (
    Sighting,
    Timing,
    Verdict,
    claimed,
    holder_of,
    judge,
    released,
    sight,
    until_next,
)
from axon_operator.domain.resources import LEASE, Manifest, Ref

AT = Ref(LEASE, "axon-system", "axon-operator")
TIMING = Timing()
NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)
CLOCKS = st.datetimes(timezones=st.just(datetime.UTC), min_value=datetime.datetime(1990, 1, 1))


def lease(holder: str, clock: datetime.datetime = NOON, before: Manifest | None = None) -> Manifest:
    """As `holder` would write it."""
    return claimed(before, AT, holder, clock, TIMING)


def test_a_record_that_stands_still_is_free_after_the_duration_and_not_before() -> None:
    seen = sight(None, lease("other"), now=100)
    assert judge(seen, "me", 100, TIMING) is Verdict.WAIT
    seen = sight(seen, lease("other"), now=110)
    assert judge(seen, "me", 115, TIMING) is Verdict.WAIT
    assert judge(seen, "me", 115.1, TIMING) is Verdict.ACQUIRE


@given(CLOCKS, CLOCKS, st.floats(0, 1e9))
def test_any_change_keeps_the_holder_alive_whatever_its_clock_says(
    one: datetime.datetime, other: datetime.datetime, now: float
) -> None:
    first = lease("other", one)
    seen = sight(sight(None, first, now), lease("other", other, before=first), now + 14)
    assert seen.since == now + 14, "a renewal at the same moment, or at an earlier one, is one too"
    assert judge(seen, "me", now + 16, TIMING) is Verdict.WAIT


@given(CLOCKS, st.floats(0, 15))
def test_a_lease_from_the_past_or_the_future_is_not_free_at_first_sight(clock: datetime.datetime, later: float) -> None:
    assert judge(sight(None, lease("other", clock), now=5), "me", 5 + later, TIMING) is Verdict.WAIT


def test_a_lease_that_was_given_back_is_free_at_once() -> None:
    given_back = released(lease("other"))
    assert holder_of(given_back) == ""
    assert given_back["spec"]["leaseDurationSeconds"] == 1
    seen = sight(sight(None, lease("other"), 0), given_back, 1)
    assert judge(seen, "me", 1, TIMING) is Verdict.ACQUIRE


def test_no_lease_is_free_at_once_unless_it_was_there_before() -> None:
    assert judge(sight(None, None, 0), "me", 0, TIMING) is Verdict.ACQUIRE
    deleted = sight(sight(None, lease("other"), 0), None, 1)
    assert judge(deleted, "me", 15, TIMING) is Verdict.WAIT, "its holder may not know yet"
    assert judge(deleted, "me", 16.1, TIMING) is Verdict.ACQUIRE
    assert judge(sight(sight(None, lease("me"), 0), None, 1), "me", 1, TIMING) is Verdict.WAIT


def test_the_holder_renews_what_carries_its_name() -> None:
    first = lease("me")
    assert judge(sight(None, first, 0), "me", 0, TIMING) is Verdict.RENEW
    spec = lease("me", NOON + datetime.timedelta(seconds=2), before=first)["spec"]
    assert (spec["acquireTime"], spec["renewTime"]) == ("2026-01-01T12:00:00.000000Z", "2026-01-01T12:00:02.000000Z")
    assert (spec["leaseTransitions"], spec["leaseDurationSeconds"]) == (0, 15)


def test_taking_over_counts_and_keeps_the_version_for_the_comparison() -> None:
    held = lease("other")
    held["metadata"]["resourceVersion"] = "7"
    taken = lease("me", before=held)
    assert (taken["spec"]["leaseTransitions"], taken["metadata"]["resourceVersion"]) == (1, "7")
    assert held["spec"]["holderIdentity"] == "other", "what was read stays as it was"


def test_a_fresh_lease_names_its_place() -> None:
    made = lease("me")
    assert (made["apiVersion"], made["kind"]) == ("coordination.k8s.io/v1", "Lease")
    assert made["metadata"] == {"name": "axon-operator", "namespace": "axon-system"}


def test_a_lease_without_a_spec_is_free() -> None:
    assert judge(sight(None, {"metadata": {"name": "x"}}, 0), "me", 0, TIMING) is Verdict.ACQUIRE


@given(st.floats(0, 1e6), st.floats(0, 30))
def test_the_next_look_comes_as_soon_as_the_holder_may_be_dead(since: float, waited: float) -> None:
    seen = Sighting(sight(None, lease("other"), since).record, since)
    pause = until_next(seen, "me", since + waited, TIMING)
    assert 0 < pause <= TIMING.retry
    if TIMING.lease - TIMING.retry <= waited <= TIMING.lease:
        assert judge(seen, "me", since + waited + pause, TIMING) is Verdict.ACQUIRE
