"""Stamps: a result is made again exactly when what it was made from has changed."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from axon_testbed.layout import Layout


def digest(*parts: str | bytes) -> str:
    """A short fingerprint of all parts, in order and unambiguous about where each ends."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8))
        total.update(data)
    return total.hexdigest()[:16]


def of_sources(root: Path) -> str:
    """Fingerprint of a folder of small source files: names, modes and contents."""
    parts: list[str | bytes] = []
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        parts += [str(path.relative_to(root)), oct(path.stat().st_mode), path.read_bytes()]
    return digest(*parts)


def of_big_files(paths: Iterable[Path]) -> str:
    """Fingerprint of binaries and archives, which only our own steps write: size and time are enough."""
    stats = [(path.name, path.stat()) for path in paths]
    return digest(*(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats))


def is_current(layout: Layout, name: str, inputs: str, results: Iterable[Path]) -> bool:
    """Whether all results exist and were made from these inputs."""
    stamp = layout.stamps / name
    return stamp.is_file() and stamp.read_text() == inputs and all(result.exists() for result in results)


def forget(layout: Layout, name: str) -> None:
    """Called first in a step: interrupted, it may leave anything behind, and an older stamp could fit that."""
    (layout.stamps / name).unlink(missing_ok=True)


def mark(layout: Layout, name: str, inputs: str) -> None:
    """Remembers that a step is complete. Called last: an interrupted step has no stamp."""
    layout.stamps.mkdir(parents=True, exist_ok=True)
    (layout.stamps / name).write_text(inputs)
