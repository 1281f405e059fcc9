"""The threat model names tests that exist: a test that is renamed or removed is missed there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from axon_testbed.layout import REPOSITORY

PAGE = REPOSITORY / "docs" / "threat-model.md"
TESTS = REPOSITORY / "tests"
_NAMED = re.compile(r"`(?P<file>(?:unit|integration|e2e)/[\w/]+\.py|…)(?:::(?P<function>\w+))?`")


def named(page: str) -> Iterator[tuple[str, str | None]]:
    """File and function of each test that a page names; `…` is the file before it."""
    file = ""
    for found in _NAMED.finditer(page):
        file = file if found["file"] == "…" else found["file"]
        yield file, found["function"]


def missing(page: str) -> list[str]:
    return [f"{file}::{function}" for file, function in named(page) if not _exists(TESTS / file, function)]


def _exists(file: Path, function: str | None) -> bool:
    if not file.is_file():
        return False
    return function is None or f"\ndef {function}(" in file.read_text(encoding="utf-8")


def test_every_test_that_is_named_exists() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert missing(page) == []
    # all that look like tests were understood
    assert len(list(named(page))) == len(re.findall(r"`(?:unit/|integration/|e2e/|…::)[^`]*`", page))


@pytest.mark.parametrize(
    "text",
    [
        "`unit/packaging/test_nothing.py`",
        "`unit/packaging/test_threat_model.py::test_nothing`",
        "`unit/packaging/test_threat_model.py`, `…::test_nothing`",
    ],
)
def test_one_that_does_not_exist_is_found(text: str) -> None:
    assert missing(text)


def threats() -> list[str]:
    """The rows of the list, without its head."""
    section = PAGE.read_text(encoding="utf-8").split("### The list\n")[1].split("\n### ")[0]
    _, _, *rows = (line for line in section.splitlines() if line.startswith("|"))
    return rows


def test_the_threats_of_the_list_are_numbered() -> None:
    # a row that goes on with the threat before it has no number
    numbers = [int(number) for row in threats() for number in re.findall(r"^\| (\d+) \|", row)]
    assert numbers == list(range(1, numbers[-1] + 1))


def test_every_threat_of_the_list_is_mounted() -> None:
    assert [row for row in threats() if not list(named(row))] == []
