"""A login that is kept between commands: the refresh token, for as long as the user's session at this machine lasts."""

import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from axon_operator.cli.cluster import CommandError

_LONGEST: Final = 65536


class Kept:
    """The file of one realm, while no other command has it: a refresh token may be good for one use."""

    def __init__(self, file: int) -> None:
        self._file = file

    def read(self) -> str:
        """The refresh token; empty if there is none."""
        return os.pread(self._file, _LONGEST, 0).decode(errors="replace")

    def write(self, token: str) -> None:
        """In place of the former one."""
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, token.encode(), 0)

    def forget(self) -> None:
        """Nothing is left."""
        os.ftruncate(self._file, 0)


@contextmanager
def kept(realm: str) -> Iterator[Kept | None]:
    """For this realm; None where there is no place that is safe enough.

    Raises:
        CommandError: something else is in that place.
    """
    folder = _folder()
    if folder is None:
        yield None
        return
    path = folder / f"axon-{hashlib.sha256(realm.encode()).hexdigest()[:16]}"
    try:
        file = _locked(path)
    except OSError:
        raise CommandError(f"{path} cannot be used to keep a login, and is not ours; remove it") from None
    try:
        yield Kept(file)
        if not os.fstat(file).st_size:
            path.unlink()
    finally:
        os.close(file)


def _locked(path: Path) -> int:
    """The file at this path, which nobody else has until it is closed."""
    while True:
        # through a link somebody could lead a write elsewhere; the mode counts from the first moment
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            if os.path.samestat(os.fstat(file), os.lstat(path)):
                return file
        except FileNotFoundError:
            pass
        # who had it before has removed it
        os.close(file)


def _folder() -> Path | None:
    """XDG_RUNTIME_DIR if it is as its standard demands: the user's alone, and gone with the user's last session."""
    named = os.environ.get("XDG_RUNTIME_DIR")
    if not named:
        return None
    try:
        seen = os.lstat(named)
    except OSError:
        return None
    is_ours_alone = stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.geteuid() and not seen.st_mode & 0o077
    return Path(named) if is_ours_alone else None
