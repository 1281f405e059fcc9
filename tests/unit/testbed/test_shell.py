"""A missing program is said, and is no traceback."""

from collections.abc import Callable
from pathlib import Path

import pytest

from axon_testbed import shell
from axon_testbed.errors import BedError

PROGRAM = "/nowhere/bin/kind"
CALLS: dict[str, Callable[[Path], object]] = {
    "run": lambda folder: shell.run([PROGRAM], folder / "log"),
    "output": lambda _: shell.output([PROGRAM]),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_missing_program_is_named(tmp_path: Path, call: Callable[[Path], object]) -> None:
    with pytest.raises(BedError, match=PROGRAM):
        call(tmp_path)
