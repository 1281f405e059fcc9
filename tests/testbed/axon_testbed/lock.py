"""One process at a time makes what is in the cache folder."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from axon_testbed.layout import Layout
from axon_testbed.progress import say


@contextmanager
def exclusive(layout: Layout) -> Iterator[None]:
    """Holds the folder; says so and waits while another process does. The kernel lets go of it if we are killed."""
    layout.cache.mkdir(parents=True, exist_ok=True)
    with (layout.cache / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"cache: another process is at work in {layout.cache}; waiting until it ends")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
