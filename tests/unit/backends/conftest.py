"""What the adapters' tests share: a server on loopback, the projected token, a clock."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .wire import Clock, LoginServer, Wire, serving


@pytest.fixture
def wire(server: LoginServer) -> Iterator[Wire]:
    """`server` is each module's own."""
    with serving(server) as running:
        yield running


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("first.jwt.x\n")
    return path


@pytest.fixture
def clock() -> Clock:
    return Clock()
