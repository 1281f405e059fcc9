"""A runtime with one pod that is given credentials of every source, and how to see that they are dead."""

import json
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from cryptography import x509

from e2e.support import samples
from e2e.support.cluster import binding_ref, condition_of
from e2e.support.database import account_in
from e2e.support.house import ACCOUNT, ACCOUNT_FILE, CERTIFICATE_FILE, House, granted
from e2e.support.kubectl import Json
from e2e.support.user import Grant, User
from e2e.support.waiting import Unmet, until
from e2e.support.watch import OPENBAO_TOKEN, Watch, file_in, read_pod

SOURCES = ("kv", "grant", "database", "pki", "generated")
FILES = {
    "kv": "kv.json",
    "grant": "grant.json",
    "database": ACCOUNT_FILE["file"]["path"],
    "pki": CERTIFICATE_FILE["file"]["path"],
    "generated": "generated.json",
}
WAITING = "trap 'exit 0' TERM; sleep infinity & wait $!"
"""A workload that costs nothing."""
STEADY = "steady"
"""A secret that the runtime keeps: its login is good for as long as it opens that."""


@dataclass(frozen=True)
class Watches:
    """What is seen of all pods and of the database."""

    files: Watch
    accounts: Watch


@dataclass
class Held:
    """What a pod held of a binding, and since when nobody gets anything by it."""

    source: str
    refused: Callable[[], float | None]
    """When it was first seen that OpenBao or the database lets nobody in with it."""
    gone_from_pod: Callable[[], float | None]
    let_in: Callable[[], bool] = lambda: False
    """A try to use it, for which there is no time before it is dead."""
    refused_at: float | None = None

    def dead_at(self) -> float | None:
        """To be asked often; None while it is alive."""
        if self.refused_at is None:
            self.refused_at = self.refused()
        gone = self.gone_from_pod()
        return None if self.refused_at is None or gone is None else max(self.refused_at, gone)


@dataclass(frozen=True)
class Consumer:
    """The runtime."""

    house: House
    watches: Watches
    runtime: str
    principal: str
    uid: str
    """Of its pod."""
    grant: Grant

    @classmethod
    def start(cls, house: House, watches: Watches, user: User, runtime: str) -> "Consumer":
        """One more, which holds a secret that nobody takes away, and something of the user's is granted to it."""
        pod = house.start(runtime, image=samples.image(), args=[WAITING])
        for name in (STEADY, "kv"):
            house.cluster.write_secret(house.tenant, f"{runtime}/{name}", key=secrets.token_hex(8))
        house.bind(f"{runtime}-steady", samples.kv(f"{runtime}/{STEADY}"), samples.file("steady.json"), runtime=runtime)
        ref, body = binding_ref(house.tenant, f"{runtime}-asks"), {"source": granted(user)}
        house.cluster.kubectl.apply(
            samples.binding(house.tenant, ref.name, runtimeRef={"name": runtime}, delivery=samples.file("a"), **body)
        )
        house.cluster.wait_condition(ref, "Ready", "False", "ConsentMissing")
        given = until("the runtime is in the directory", partial(_consent, user, runtime))
        house.delete(ref)
        return cls(house, watches, runtime, house.cluster.principal(house.tenant, runtime), pod.uid, given)

    def binding(self, name: str, source: str, **spec: Any) -> Json:
        """The object; a runtime can have one binding of each source at a time, by their files."""
        sources: dict[str, tuple[Json, Json]] = {
            "kv": (samples.kv(f"{self.runtime}/kv"), samples.file(FILES["kv"])),
            "grant": (granted(self.grant.user), samples.file(FILES["grant"])),
            "database": (ACCOUNT, ACCOUNT_FILE),
            "pki": ({"pki": {}}, CERTIFICATE_FILE),
            "generated": ({"generated": {}}, samples.file(FILES["generated"])),
        }
        origin, delivery = sources[source]
        body = {"runtimeRef": {"name": self.runtime}, "source": origin, "delivery": delivery, "ttl": "1h", **spec}
        return samples.binding(self.house.tenant, name, **body)

    def held(self, bindings: dict[str, str]) -> "Holding":
        """What the pod holds now; `bindings`: names, by their sources.

        Raises:
            AssertionError: one of them is not good.
        """
        contents = read_pod(self.house.cluster.node, self.uid)
        jwt = contents[OPENBAO_TOKEN]
        answer = self.house.cluster.openbao.login(self.principal, jwt, namespace=self.house.vault)
        assert answer.ok, f"{self.runtime} cannot log in: {answer.status} {answer.text}"
        return Holding(self, contents, answer.body["auth"]["client_token"], bindings)

    def left_pod(self, source: str) -> float | None:
        """When the file of a source left the pod."""
        return self.watches.files.gone_at(file_in(self.uid, FILES[source]))


@dataclass(frozen=True)
class Holding:
    """What a pod holds at one time, with a login of its own to OpenBao."""

    consumer: Consumer
    contents: dict[str, str]
    token: str
    bindings: dict[str, str]

    def alive(self) -> list[Held]:
        """Each credential, after it was seen to be good."""
        ways = {
            "kv": self._kv,
            "grant": self._grant,
            "database": self._database,
            "pki": self._pki,
            "generated": self._generated,
        }
        return [ways[source]() for source in self.bindings]

    def assert_login_good(self) -> None:
        """A login that has ended is refused everything, which says nothing."""
        assert self._status(f"kv/data/org/{self.consumer.runtime}/{STEADY}") == 200, "the runtime's login has ended"

    def _kv(self) -> Held:
        return self._read("kv", f"kv/data/org/{self.consumer.runtime}/kv")

    def _grant(self) -> Held:
        return self._read("grant", f"kv/data/grants/{self.consumer.grant.path}")

    def _generated(self) -> Held:
        house, binding = self.consumer.house, self.bindings["generated"]
        (name,) = [n for n in house.cluster.openbao.names(house.vault, "kv/metadata/generated") if f".{binding}-" in n]
        return self._read("generated", f"kv/data/generated/{name}")

    def _database(self) -> Held:
        account = account_in(self.contents[FILES["database"]])
        lets_in = partial(self.consumer.house.database.lets_in, account["username"], account["password"])
        assert lets_in(), "the account is not let in before"
        # a login for each look would cost more than what is measured: the one after it shows that it was right
        gone = partial(self.consumer.watches.accounts.gone_at, account["username"])
        return Held("database", gone, gone, lets_in)

    def _pki(self) -> Held:
        certificate = x509.load_pem_x509_certificate(self.contents[FILES["pki"]].encode())
        is_revoked = partial(self.consumer.house.is_revoked, certificate)
        assert not is_revoked(), "the certificate is revoked before"
        return self._held("pki", is_revoked)

    def _read(self, source: str, path: str) -> Held:
        assert self._status(path) == 200, f"OpenBao refuses {source} before"
        return self._held(source, lambda: self._status(path) == 403)

    def _held(self, source: str, refused: Callable[[], bool]) -> Held:
        assert FILES[source] in self.contents, f"no file of {source}"
        return Held(source, lambda: time.monotonic() if refused() else None, partial(self.consumer.left_pod, source))

    def _status(self, path: str) -> int:
        house = self.consumer.house
        return house.cluster.openbao.call("GET", path, namespace=house.vault, token=self.token).status


# -- what bindings say of themselves


def wait_all(house: House, names: Iterable[str], so: Callable[[Json | None], bool], *, timeout: float = 60) -> None:
    """Waits until each binding, None if it does not exist, is so."""
    wanted = tuple(names)

    def probe() -> None:
        found = house.cluster.api.bindings(f"axon-{house.tenant}")
        waiting = [name for name in wanted if not so(found.get(name))]
        if waiting:
            conditions = {n: condition_of(found[n], "Ready") for n in waiting if n in found}
            raise Unmet(json.dumps(conditions))

    until(", ".join(wanted), probe, timeout=timeout, every=0.2)


def is_ready(found: Json | None) -> bool:
    """The pod holds it."""
    return _reason(found) == "Ready"


def is_revoked(found: Json | None) -> bool:
    """It is taken back."""
    return _reason(found) == "Revoked"


def is_gone(found: Json | None) -> bool:
    """It was deleted."""
    return found is None


def _reason(found: Json | None) -> str:
    """Of the condition Ready, if that is true."""
    condition = condition_of(found, "Ready") if found else None
    return str(condition["reason"]) if condition and condition["status"] == "True" else ""


def _consent(user: User, runtime: str) -> Grant:
    home = user.cluster.vault_namespace(user.tenant)
    if runtime not in user.cluster.openbao.names(home, "kv/metadata/runtimes"):
        raise Unmet("not there")
    return user.grants(runtime, "github/token", {"token": secrets.token_hex(8)})
