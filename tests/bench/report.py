"""Rows of measured against wanted: a table for people, JSON for comparison."""

import datetime
import json
import math
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Row:
    """One number."""

    scenario: str
    what: str
    measured: float
    unit: str
    goal: float | None = None
    """At most this; None where a number is only shown."""
    note: str = ""
    detail: tuple[str, ...] = ()
    """Only in the JSON."""

    @property
    def met(self) -> bool | None:
        """None without a goal."""
        return None if self.goal is None else self.measured <= self.goal


def percentile(values: Sequence[float], part: float) -> float:
    """The nearest-rank percentile of at least one value."""
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)]


def show(title: str, rows: Sequence[Row]) -> None:
    """The table, on standard output."""
    table = Table("scenario", "what", "measured", "goal", "", "note", title=title, title_justify="left")
    for row in rows:
        mark = {None: "", True: "ok", False: "MISSED"}[row.met]
        goal = "" if row.goal is None else f"≤ {row.goal:g} {row.unit}"
        table.add_row(row.scenario, row.what, f"{row.measured:.4g} {row.unit}", goal, mark, row.note)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def write(folder: Path, name: str, settings: dict[str, Any], rows: Sequence[Row]) -> Path:
    """The same as JSON; the file's path."""
    now = datetime.datetime.now(datetime.UTC)
    machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release()}
    content = {
        "at": now.isoformat(timespec="seconds"),
        "machine": machine,
        "settings": settings,
        "rows": [{**asdict(row), "met": row.met} for row in rows],
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{now:%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path
