"""A user's secrets and grants: what is read and written in OpenBao for each thing that a user can ask for."""

import base64
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from axon_operator.cli.cluster import CommandError, ConflictError, ForbiddenError
from axon_operator.cli.secret.envelope import (
    NONCE_BYTES,
    Envelope,
    SealedError,
    as_text,
    from_text,
    seal,
    unseal,
)
from axon_operator.cli.secret.openbao import OpenBao, RefusedError
from axon_operator.cli.secret.paths import Owner, Runtime, is_secret_path, runtimes
from axon_operator.domain import consent
from axon_operator.domain.consent import GrantFolder
from axon_operator.domain.names import GRANTS, KV_MOUNT, TRANSIT_MOUNT
from axon_operator.domain.tenant.vault import KEY_ROTATION

_KEY: Final = {"type": "aes256-gcm96", "auto_rotate_period": f"{KEY_ROTATION}s"}
"""As the users' policy demands it."""
_ATTEMPTS: Final = 5


@dataclass(frozen=True, slots=True)
class Grant:
    """A secret, and who may have it."""

    path: str
    to: GrantFolder


class Secrets:
    """Of one user."""

    def __init__(self, openbao: OpenBao, owner: Owner) -> None:
        self._openbao, self.owner = openbao, owner

    # -- the user's own

    def put(self, path: str, values: Mapping[str, str]) -> int:
        """Sets these values and leaves others of the secret as they are. Gives the new version.

        Raises:
            ConflictError: others change it all the time.
        """
        self._openbao.write(f"{TRANSIT_MOUNT}/keys/{self.owner.key}", _KEY)
        for _ in range(_ATTEMPTS):
            former, version = self._stored(path)
            whole = {**(self._opened(path, former) if former else {}), **values}
            try:
                return self._write(path, whole, cas=version)
            except ConflictError:
                continue
        raise ConflictError(f"{path} is being changed by somebody else all the time; nothing was changed, try again")

    def get(self, path: str) -> dict[str, str]:
        """All values of a secret."""
        stored, _ = self._stored(path)
        if stored is None:
            raise CommandError(f"you have no secret {path}; kubectl axon secret list shows those that you have")
        return self._opened(path, stored)

    def paths(self) -> list[str]:
        """Of all secrets. What another program named in a way that cannot be asked for here is left out."""
        return sorted(filter(is_secret_path, self._below(self.owner.folder("metadata"))))

    def remove(self, path: str) -> bool:
        """First what was granted of it, then the secret with all its versions. Whether there was anything."""
        granted = self._withdraw(path, lambda _: True)
        was_there = self._delete(self.owner.secret("metadata", path))
        return was_there or bool(granted)

    def _delete(self, at: str) -> bool:
        """Whatever is there, and whether anything was."""
        was_there = self._openbao.read(at) is not None
        self._openbao.delete(at)
        return was_there

    def _stored(self, path: str) -> tuple[object, int]:
        """What is stored, or None, and the version to which a change refers."""
        found = self._openbao.read(self.owner.secret("data", path))
        if found is None:
            return None, 0
        return found["data"], found["metadata"]["version"]

    def _opened(self, path: str, stored: object) -> dict[str, str]:
        envelope = Envelope.from_json(stored)
        try:
            opened = self._openbao.write(f"{TRANSIT_MOUNT}/decrypt/{self.owner.key}", {"ciphertext": envelope.key})
        except RefusedError:
            raise SealedError from None
        return unseal(envelope, from_text(opened["plaintext"]), self.owner.bound_to(path))

    def _write(self, path: str, values: Mapping[str, str], *, cas: int) -> int:
        made = self._openbao.write(f"{TRANSIT_MOUNT}/datakey/plaintext/{self.owner.key}", {"bits": 256})
        nonce = secrets.token_bytes(NONCE_BYTES)
        data_key = from_text(made["plaintext"])
        envelope = seal(values, data_key, made["ciphertext"], nonce, self.owner.bound_to(path))
        body = {"data": envelope.to_json(), "options": {"cas": cas}}
        return int(self._openbao.write(self.owner.secret("data", path), body)["version"])

    def _below(self, folder: str, lead: str = "") -> Iterator[str]:
        for name in self._openbao.list(f"{folder}/{lead}".rstrip("/")):
            if not name.endswith("/"):
                yield f"{lead}{name}"
            elif is_secret_path(f"{lead}{name}x"):
                yield from self._below(folder, f"{lead}{name}")

    # -- consent

    def runtime(self, name: str) -> Runtime:
        """As the directory has it."""
        found = self._openbao.read(f"{runtimes('data')}/{name}")
        if found is None or found["data"] is None:
            raise CommandError(
                f"the directory of Tenant {self.owner.tenant} has no runtime {name}. A runtime is there once a SecretBinding"
                " asks for a user's secret (source.grant) for it, which comes first: kubectl axon secret allow --show prints one"
            )
        runtime = Runtime.from_entry(name, found["data"])
        if runtime is None:
            raise CommandError(f"the entry of runtime {name} is not as the operator writes it; ask your administrator")
        return runtime

    def runtimes(self) -> list[Runtime]:
        """All of the directory."""
        names = sorted(self._openbao.list(runtimes("metadata")))
        return [self.runtime(name) for name in names if is_secret_path(name)]

    def allow(self, path: str, values: Mapping[str, str], runtime: Runtime, *, this_revision: bool) -> None:
        """Encrypts the values for the runtime and lays them where it alone reads."""
        context = consent.context(self.owner.tenant, self.owner.sub, path, runtime.uid)
        request = {"plaintext": _base64(as_text(values)), "associated_data": _base64(context)}
        try:
            sealed = self._openbao.write(f"{TRANSIT_MOUNT}/encrypt/{runtime.principal}", request)
        except (ForbiddenError, RefusedError):
            # to encrypt with a key that is not there is to make one, and refused as that
            raise CommandError(f"runtime {runtime.name} has no key yet; try again when it is ready") from None
        to = GrantFolder(runtime.uid, runtime.revision if this_revision else "")
        body = {"data": {"ciphertext": sealed["ciphertext"]}}
        self._openbao.write(self.owner.grant("data", to, path), body)
        # a wider one would make this one void; one of a single revision could hold a former value
        self._withdraw(path, lambda other: other.uid == to.uid and other != to and "" in (other.revision, to.revision))

    def deny(self, path: str, runtime: Runtime) -> bool:
        """Withdraws all that was granted to it of this secret, whichever revision it is for. Whether there was any.

        First what counts now, without a search: another user can make that one long.
        """
        counting = GrantFolder(runtime.uid), GrantFolder(runtime.uid, runtime.revision)
        had = [self._delete(self.owner.grant("metadata", to, path)) for to in counting]
        former = self._withdraw(path, lambda to: to.uid == runtime.uid and to not in counting)
        return any(had) or bool(former)

    def grants(self) -> list[Grant]:
        """All that the user has granted."""
        return [
            Grant(path, to)
            for to in self._grant_folders()
            for path in sorted(filter(is_secret_path, self._below(self.owner.grants("metadata", to))))
        ]

    def granted(self, path: str, among: Callable[[GrantFolder], bool] = lambda _: True) -> Iterator[GrantFolder]:
        """Who of these may have this secret, found one by one."""
        for to in filter(among, self._grant_folders()):
            if self._openbao.read(self.owner.grant("metadata", to, path)):
                yield to

    def _withdraw(self, path: str, among: Callable[[GrantFolder], bool]) -> list[GrantFolder]:
        """Each as soon as it is found: another user can make the search long, by granting to many."""
        withdrawn = []
        for to in self.granted(path, among):
            self._openbao.delete(self.owner.grant("metadata", to, path))
            withdrawn.append(to)
        return withdrawn

    def _grant_folders(self) -> list[GrantFolder]:
        """All to which somebody in the tenant has granted something. Others' odd names are passed over."""
        found = self._openbao.list(f"{KV_MOUNT}/metadata/{GRANTS}")
        parsed = (GrantFolder.parse(name.removesuffix("/")) for name in sorted(found))
        return [to for to in parsed if to]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
