"""Whether a pid is our daemon decides what `down` ends and whether `up` may start one."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from axon_testbed import docker
from axon_testbed.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / "docker").mkdir()
    return Layout(tmp_path)


def _sleeper(*arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", "import time; print(flush=True); time.sleep(60)", *arguments],
                            stdout=subprocess.PIPE)  # fmt: skip


@pytest.fixture
def daemon(layout: Layout) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that was started with our pidfile."""
    process = _sleeper("--pidfile", str(layout.docker / "docker.pid"))
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()


def test_our_daemon_is_recognised_until_it_ends(layout: Layout, daemon: "subprocess.Popen[bytes]") -> None:
    (layout.docker / "docker.pid").write_text(str(daemon.pid))
    assert docker._running(layout) == daemon.pid
    docker.stop_private(layout)
    assert docker._running(layout) is None
    assert daemon.wait(timeout=10)


@pytest.mark.parametrize("content", ["", "nonsense", "0", "99999999"])
def test_a_stale_pidfile_is_removed(layout: Layout, content: str) -> None:
    (layout.docker / "docker.pid").write_text(content)
    docker.stop_private(layout)
    assert not (layout.docker / "docker.pid").exists()


def test_a_process_that_got_the_number_since_is_left_alone(layout: Layout) -> None:
    other = _sleeper("--pidfile", "/elsewhere/docker.pid")
    try:
        assert other.stdout is not None
        other.stdout.readline()
        (layout.docker / "docker.pid").write_text(str(other.pid))
        docker.stop_private(layout)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
