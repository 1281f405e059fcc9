"""Progress lines: a person, or a CI log, sees at any time what runs and since when."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

_console = Console(stderr=True, highlight=False, soft_wrap=True)
_REMIND_AFTER = 20.0


def say(text: str) -> None:
    """One line of plain information, such as a choice and its reason."""
    _console.print(text, markup=False)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Announces a step, reminds of it while it lasts, and tells how long it took."""
    began = time.monotonic()
    done = threading.Event()

    def remind() -> None:
        while not done.wait(_REMIND_AFTER):
            say(f"  … {title}: {time.monotonic() - began:.0f} s")

    say(f"▸ {title}")
    threading.Thread(target=remind, daemon=True).start()
    try:
        yield
    except BaseException:
        say(f"✗ {title} ({time.monotonic() - began:.0f} s)")
        raise
    finally:
        done.set()
    say(f"✓ {title} ({time.monotonic() - began:.0f} s)")
