"""What a command is. Parser and reference page are made from it."""

import argparse
import datetime
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from axon_operator.api.base import DNS_LABEL
from axon_operator.cli.cluster import Cluster


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument or option."""

    flags: tuple[str, ...]
    help: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of argparse's `add_argument`."""


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Commands that share their first word, and these options."""

    name: str
    summary: str
    text: str
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """One command. `text` is what its help and its section of the reference say."""

    name: str
    summary: str
    text: str
    arguments: tuple[Argument, ...]
    run: Callable[[Cluster, argparse.Namespace], int]
    """Gives the exit code."""
    group: Group | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """How it is called."""
        return (self.group.name, self.name) if self.group else (self.name,)


def a_tenant(name: str) -> str:
    """argparse's check of a name, before anything is sent."""
    if not re.fullmatch(DNS_LABEL, name):
        raise argparse.ArgumentTypeError(f"{name!r} is not the name of a Tenant")
    return name


def say(*lines: str) -> None:
    """On standard output."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def tell(*lines: str) -> None:
    """To the person, beside the output that a program may read."""
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    sys.stderr.flush()


def now() -> str:
    """A value that no field has had before."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def patience(seconds: int) -> Argument:
    """How long `--wait` waits; `seconds`: if nobody says."""
    told = {"metavar": "SECONDS", "type": float, "default": float(seconds)}
    return Argument(("--timeout",), f"seconds to wait at most, {seconds} if left out", told)


OUTPUT: Final = Argument(("-o", "--output"), "`json` for programs", {"choices": ["json"], "metavar": "json"})
FORCE: Final = Argument(
    ("--force",),
    "also if a tool keeps the field, which will set it back with its next run",
    {"action": "store_true"},
)
