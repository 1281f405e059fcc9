"""Two processes do not make the same results at the same time."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from axon_testbed import lock
from axon_testbed.layout import Layout
from axon_testbed.lock import exclusive

HOLD = """
import sys
from pathlib import Path
from axon_testbed.layout import Layout
from axon_testbed.lock import exclusive
with exclusive(Layout(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_says_that_it_waits_and_goes_on_when_the_first_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    waits = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        waits.set()

    monkeypatch.setattr(lock, "say", say)
    first = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert first.stdout is not None
    assert first.stdout.readline() == b"held\n"
    done = threading.Event()

    def second() -> None:
        with exclusive(Layout(tmp_path)):
            done.set()

    thread = threading.Thread(target=second)
    thread.start()
    assert waits.wait(30)
    assert not done.is_set()
    first.kill()
    first.communicate()
    thread.join(30)
    assert done.is_set()
    assert len(said) == 1
