"""A worker is stuck when nothing ends in it, not when its pass is long."""

from concurrent.futures import ThreadPoolExecutor

from axon_operator.process.progress import Progress


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_long_pass_of_many_slow_calls_is_not_stuck() -> None:
    clock = Clock()
    progress = Progress(clock)
    with progress.watched():
        for _ in range(300):
            clock.now += 8
            progress.noted()
            assert not progress.stuck


def test_a_call_that_does_not_end_is_stuck_whatever_other_threads_do() -> None:
    clock = Clock()
    progress = Progress(clock)
    with progress.watched():
        clock.now += 601
        with ThreadPoolExecutor(1) as other:
            # a watch of the API server, which is in no pass
            other.submit(progress.noted).result()
        assert progress.stuck
        progress.noted()
        assert not progress.stuck


def test_who_is_in_no_pass_is_never_stuck() -> None:
    clock = Clock()
    progress = Progress(clock)
    with progress.watched():
        pass
    progress.noted()
    clock.now += 10_000
    assert not progress.stuck
