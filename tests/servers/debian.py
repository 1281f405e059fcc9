"""Programs out of Debian's packages, which are not installed."""

import os
from collections.abc import Sequence
from pathlib import Path

from servers.processes import run


def unpack(root: Path, packages: Sequence[str]) -> None:
    """Into a folder that it makes; apt checks the packages against the signed index."""
    root.mkdir()
    names = " ".join(packages)
    fetch = f"cd '{root}' && (apt-get download {names} || (apt-get update && apt-get download {names}))"
    run(["sh", "-c", fetch], os.environ, timeout=300)
    for package in root.glob("*.deb"):
        run(["dpkg-deb", "--extract", package, root], os.environ, timeout=60)


def libraries(root: Path) -> Path:
    """Where the packages' libraries are."""
    return root / "usr" / "lib" / f"{os.uname().machine}-linux-gnu"
