"""Whether an error holds anything but our own words."""

import traceback

from axon_operator.backends.errors import ReconcileError
from unit.backends.wire import CANARY


def assert_own_words(error: ReconcileError) -> None:
    """No foreign text in any place from which a log, a status or an event could take it."""
    assert error.__cause__ is None
    assert error.__context__ is None
    places = (str(error), repr(error), repr(error.args), repr(vars(error)), "".join(traceback.format_exception(error)))
    assert not any(CANARY in place for place in places)
    # the message is for people: it says something, and what to do
    assert error.message.endswith(".")
