"""What deletions leave in OpenBao, and when one may end without it."""

import datetime

from hypothesis import given
from hypothesis import strategies as st

from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.domain.issue import Told, ToldBinding
from axon_operator.domain.leftover import LONGEST, ends_at, finding, left
from axon_operator.domain.rotation import Generation

TOKEN = 600
moments = st.datetimes(timezones=st.just(datetime.UTC), max_value=datetime.datetime(9000, 1, 1))
uids = st.text("abcdef0123456789-", min_size=1)
names = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=63)
tellings = st.dictionaries(names, uids)


@given(moments, st.integers(0, 4 * LONGEST), st.sampled_from(["", "\n"]))
def test_nothing_that_was_fetched_before_is_good_then(since: datetime.datetime, login: int, end: str) -> None:
    """A token that was projected at the last moment, a login with it at its end, and a fetch at the end of that."""
    last_fetch = since + datetime.timedelta(seconds=TOKEN + login)
    assert ends_at(since, f"{login}s{end}", TOKEN) >= last_fetch + datetime.timedelta(seconds=LONGEST)


@given(moments, st.none() | st.text(), st.integers(0, 4 * LONGEST))
def test_what_is_no_time_counts_as_the_longest(since: datetime.datetime, text: str | None, login: int) -> None:
    longest = ends_at(since, None, TOKEN)
    assert ends_at(since, text, TOKEN) <= longest
    assert ends_at(since, f"{login}s", TOKEN) <= longest
    assert ends_at(since, "900 seconds", TOKEN) == longest


def told(by_name: dict[str, str]) -> Told:
    return Told({name: ToldBinding(Generation(uid, 0, None, "")) for name, uid in by_name.items()})


@given(tellings, st.sets(uids))
def test_what_is_left_is_what_is_told_of_and_gone(telling: dict[str, str], living: set[str]) -> None:
    found = left(told(telling), living)
    assert list(found) == sorted(found)
    assert set(found) == {name for name, uid in telling.items() if uid not in living}
    assert left(told(telling), telling.values()) == ()


@given(st.lists(names.map(lambda name: f"{name} of {name}")))
def test_a_finding_fits_and_is_there_only_while_something_is_left(leftovers: list[str]) -> None:
    found = finding(leftovers)
    assert bool(found) is bool(leftovers)
    for one in found:
        assert (one.condition, one.status, one.reason) == (ConditionType.CLEARED, "False", Reason.LEFT_BEHIND)
        assert "nothing else to do" in one.message
        assert leftovers[0] in one.message


def test_the_longest_finding_is_not_cut() -> None:
    (found,) = finding([f"{'b' * 30} of {'r' * 30}"] * 5000)
    assert len(found.message) < 1024
    assert "and 4990 more" in found.message
