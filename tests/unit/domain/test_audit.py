"""Nothing is said to be recorded unless everything speaks for it."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from axon_operator.api.reasons import Reason
from axon_operator.domain.audit import Counted, Look, judge

BEFORE, AFTER = Counted(100, 0), Counted(102, 0)
GOOD = Look(("main",), (), BEFORE, 2, AFTER)

numbers = st.integers(0, 10**9)
counts = st.builds(Counted, numbers, numbers)
names = st.lists(st.sampled_from(["main", "stdout", "siem"]), unique=True, max_size=3).map(tuple)
looks = st.builds(Look, names, names, st.none() | counts, st.integers(1, 4), st.none() | counts)


def reason(look: Look, *, wanted: str = "", last: Counted | None = None) -> Reason:
    verdict = judge(look, wanted=wanted, last=last)
    assert verdict.status == ("True" if verdict.reason is Reason.AUDIT_RECORDED else "False")
    assert verdict.message.endswith(".")
    return verdict.reason


def test_a_device_that_answers_no_failure_and_a_count_that_grows_is_good() -> None:
    assert reason(GOOD) is Reason.AUDIT_RECORDED
    assert reason(GOOD, wanted="main", last=Counted(50, 0)) is Reason.AUDIT_RECORDED


def test_each_thing_that_can_be_wrong_is_told() -> None:
    assert reason(replace(GOOD, devices=())) is Reason.AUDIT_MISSING
    assert reason(GOOD, wanted="siem") is Reason.AUDIT_MISSING
    assert reason(replace(GOOD, silent=("main",))) is Reason.AUDIT_MISSING
    assert reason(replace(GOOD, before=None)) is Reason.AUDIT_UNPROVEN
    assert reason(replace(GOOD, after=None)) is Reason.AUDIT_UNPROVEN
    assert reason(replace(GOOD, after=Counted(102, 1))) is Reason.AUDIT_FAILING


def test_a_canary_that_was_not_counted_proves_nothing() -> None:
    assert reason(replace(GOOD, after=BEFORE)) is Reason.AUDIT_UNPROVEN
    assert reason(replace(GOOD, after=Counted(101, 0))) is Reason.AUDIT_UNPROVEN


def test_failures_of_before_the_first_look_are_nobodys_news_and_those_since_the_last_are() -> None:
    failed = replace(GOOD, before=Counted(100, 7), after=Counted(102, 7))
    assert reason(failed) is Reason.AUDIT_RECORDED
    assert reason(failed, last=Counted(90, 6)) is Reason.AUDIT_FAILING
    assert reason(failed, last=Counted(90, 7)) is Reason.AUDIT_RECORDED


def test_a_server_that_started_anew_counts_from_zero() -> None:
    assert reason(GOOD, last=Counted(5000, 9)) is Reason.AUDIT_RECORDED
    failing = replace(GOOD, before=Counted(4, 1), after=Counted(6, 1))
    assert reason(failing, last=Counted(5000, 0)) is Reason.AUDIT_FAILING


@given(looks, st.sampled_from(["", "main", "siem"]), st.none() | counts)
def test_it_is_true_only_if_nothing_speaks_against_it(look: Look, wanted: str, last: Counted | None) -> None:
    if reason(look, wanted=wanted, last=last) is not Reason.AUDIT_RECORDED:
        return
    assert look.devices
    assert not wanted or wanted in look.devices
    assert not look.silent
    assert look.before is not None
    assert look.after is not None
    assert look.after.since(look.before).recorded >= look.calls
    assert look.after.since(last or look.before).failed == 0


@given(counts, counts)
def test_nothing_is_ever_taken_off(before: Counted, after: Counted) -> None:
    grown = after.since(before)
    assert 0 <= grown.recorded <= after.recorded
    assert 0 <= grown.failed <= after.failed
