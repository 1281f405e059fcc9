"""What stands before every call of a backend: circuit breakers, a bound on concurrency, and the leader's fence.

One tenant's OpenBao namespace or realm can hang while all others answer, so breakers are kept per tenant, and
one more per backend for when all of it is away. Ours, because the libraries that were looked at know neither
threads nor a second dimension.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Behind, NotSent, ReconcileError, Transient
from axon_operator.backends.keycloak.port import Keycloak
from axon_operator.backends.kubernetes.port import Kubernetes
from axon_operator.backends.vault.port import Vault
from axon_operator.domain.resources import Manifest, RealmPath, Ref, Resource, VaultPath

_TENANT_FAILURES: Final = 3
"""Failures in a row after which a tenant's part of a backend is left alone for a while."""
_BACKEND_FAILURES: Final = 6
_BACKEND_TENANTS: Final = 3
"""The whole backend is left alone after that many failures in a row, of at least that many tenants."""
_FIRST_PAUSE: Final = 2.0
_FORGET: Final = 3600.0
_LONGEST_PAUSE: Final = 30.0
"""Seconds. Also the longest time for which a backend that is back can go unnoticed."""


@dataclass(slots=True)
class Breaker:
    """Counts failures in a row; open, it lets one call through after each pause, to see whether all is well again.

    Not thread-safe: `Breakers` holds the lock.
    """

    failures_to_open: int
    sources_to_open: int = 1
    _failures: int = 0
    _sources: set[str] = field(default_factory=set)
    _pause: float = 0.0
    _until: float = 0.0
    _testing: bool = False
    _last: Transient | None = None

    @property
    def open(self) -> bool:
        """Whether calls are refused."""
        return self._last is not None

    def admit(self, now: float) -> NotSent | None:
        """None if a call may go out; else why not."""
        if self._last is None:
            return None
        if now >= self._until:
            # this call is the test; the others wait for what comes of it
            self._until, self._testing = now + self._pause, True
            return None
        return NotSent(self._last.reason, self._last.message)

    def idle(self, now: float) -> bool:
        """Whether nobody has asked for an hour: that tenant is gone."""
        return now - self._until > _FORGET

    def succeeded(self) -> None:
        """The backend answered."""
        self._failures, self._pause, self._testing, self._last = 0, 0.0, False, None
        self._sources.clear()

    def failed(self, error: Transient, source: str, now: float) -> None:
        """The backend did not do its part."""
        if self.open and not self._testing:
            return  # a call that was on its way when the breaker opened
        self._until = now
        self._failures += 1
        self._sources.add(source)
        if self._failures >= self.failures_to_open and len(self._sources) >= self.sources_to_open:
            self._pause = min(_LONGEST_PAUSE, max(_FIRST_PAUSE, self._pause * 2))
            self._until, self._testing = now + self._pause, False
            # without its traceback, which would keep every frame of that call alive
            self._last = Transient(error.reason, error.message)


class Breakers:
    """The breakers of one backend. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._whole = Breaker(_BACKEND_FAILURES, _BACKEND_TENANTS)
        self._tenants: dict[str, Breaker] = {}

    @contextmanager
    def call(self, tenant: str) -> Iterator[None]:
        """Around one call for a tenant.

        Raises:
            NotSent: without a call, while the tenant's part or the whole backend is left alone.
        """
        with self._lock:
            now = self._clock()
            mine = self._tenants.get(tenant)
            # a tenant that is left alone says nothing about the others: it neither tests for them nor fails them
            refusal = mine.admit(now) if mine and mine.open else self._whole.admit(now)
        if refusal:
            raise refusal
        try:
            yield
        except NotSent:
            raise
        except Behind:
            self._answered(tenant)
            raise
        except Transient as error:
            self._failed(tenant, error)
            raise
        except ReconcileError:
            self._answered(tenant)
            raise
        else:
            self._answered(tenant)

    def open(self) -> int:
        """Number of open breakers."""
        with self._lock:
            return sum(b.open for b in (self._whole, *self._tenants.values()))

    def _failed(self, tenant: str, error: Transient) -> None:
        with self._lock:
            now = self._clock()
            mine = self._tenants.setdefault(tenant, Breaker(_TENANT_FAILURES))
            if not mine.open:
                self._whole.failed(error, tenant, now)
            mine.failed(error, tenant, now)
            for gone in [name for name, breaker in self._tenants.items() if breaker.idle(now)]:
                del self._tenants[gone]

    def _answered(self, tenant: str) -> None:
        with self._lock:
            self._whole.succeeded()
            self._tenants.pop(tenant, None)


class Guard:
    """Breakers and a bound on the calls at the same time, for one backend."""

    def __init__(self, backend: str, reason: Reason, *, limit: int, patience: float, breakers: Breakers) -> None:
        """`limit`: calls at the same time; `patience`: seconds that a call waits for its turn."""
        self._backend = backend
        self._reason = reason
        self._patience = patience
        self._slots = threading.BoundedSemaphore(limit)
        self._breakers = breakers

    @contextmanager
    def call(self, tenant: str) -> Iterator[None]:
        """Around one call for a tenant."""
        with self._breakers.call(tenant), self._slot():
            yield

    @contextmanager
    def _slot(self) -> Iterator[None]:
        if not self._slots.acquire(timeout=self._patience):
            raise NotSent(self._reason, f"{self._backend} is busy with as many calls as the operator sends at once.")
        try:
            yield
        finally:
            self._slots.release()


class Fence:
    """Lets writes through only while this process leads: one that was frozen and replaced must write nothing more."""

    def __init__(self, leads: Callable[[], bool]) -> None:
        self._leads = leads

    def check(self) -> None:
        """Raises `NotSent(NotLeader)` unless this process leads."""
        if not self._leads():
            raise NotSent(Reason.NOT_LEADER, "This replica no longer leads, so it writes nothing.")


@dataclass(frozen=True, slots=True)
class GuardedKubernetes:
    """`Kubernetes` behind the fence. Without breakers: without the API server there is no work anyway."""

    to: Kubernetes
    fence: Fence

    def cluster(self) -> str:
        """See `Kubernetes.cluster`."""
        return self.to.cluster()

    def get(self, ref: Ref) -> Manifest | None:
        """See `Kubernetes.get`."""
        return self.to.get(ref)

    def list(
        self, resource: Resource, namespace: str, selector: Mapping[str, str] | None = None
    ) -> tuple[Manifest, ...]:
        """See `Kubernetes.list`."""
        return self.to.list(resource, namespace, selector)

    def referring(self, resource: Resource, namespace: str, runtime: str) -> tuple[Manifest, ...]:
        """See `Kubernetes.referring`."""
        return self.to.referring(resource, namespace, runtime)

    def create(self, manifest: Manifest) -> Manifest:
        """See `Kubernetes.create`."""
        self.fence.check()
        return self.to.create(manifest)

    def apply(self, manifest: Manifest) -> None:
        """See `Kubernetes.apply`."""
        self.fence.check()
        self.to.apply(manifest)

    def replace(self, manifest: Manifest) -> Manifest | None:
        """See `Kubernetes.replace`."""
        self.fence.check()
        return self.to.replace(manifest)

    def delete(self, ref: Ref, uid: str) -> None:
        """See `Kubernetes.delete`."""
        self.fence.check()
        self.to.delete(ref, uid)

    def patch_status(self, ref: Ref, status: Mapping[str, Any]) -> None:
        """See `Kubernetes.patch_status`."""
        self.fence.check()
        self.to.patch_status(ref, status)

    def annotate(self, ref: Ref, annotations: Mapping[str, str]) -> None:
        """See `Kubernetes.annotate`."""
        self.fence.check()
        self.to.annotate(ref, annotations)

    def set_finalizers(self, live: Manifest, finalizers: tuple[str, ...]) -> None:
        """See `Kubernetes.set_finalizers`."""
        self.fence.check()
        self.to.set_finalizers(live, finalizers)


@dataclass(frozen=True, slots=True)
class GuardedVault:
    """`Vault` behind guard and fence."""

    to: Vault
    guard: Guard
    fence: Fence

    def read(self, path: VaultPath) -> Mapping[str, Any] | None:
        """See `Vault.read`."""
        with self.guard.call(_vault_tenant(path)):
            return self.to.read(path)

    def list(self, path: VaultPath) -> tuple[str, ...]:
        """See `Vault.list`."""
        with self.guard.call(_vault_tenant(path)):
            return self.to.list(path)

    def scan(self, path: VaultPath) -> tuple[str, ...]:
        """See `Vault.scan`."""
        with self.guard.call(_vault_tenant(path)):
            return self.to.scan(path)

    def look_up(self, path: VaultPath, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """See `Vault.look_up`."""
        with self.guard.call(_vault_tenant(path)):
            return self.to.look_up(path, body)

    def write(self, path: VaultPath, body: Mapping[str, Any]) -> None:
        """See `Vault.write`."""
        with self.guard.call(_vault_tenant(path)):
            self.fence.check()
            self.to.write(path, body)

    def delete(self, path: VaultPath) -> None:
        """See `Vault.delete`."""
        with self.guard.call(_vault_tenant(path)):
            self.fence.check()
            self.to.delete(path)

    def supports_namespaces(self) -> bool:
        """See `Vault.supports_namespaces`."""
        with self.guard.call(""):
            return self.to.supports_namespaces()


@dataclass(frozen=True, slots=True)
class GuardedKeycloak:
    """`Keycloak` behind guard and fence."""

    to: Keycloak
    guard: Guard
    fence: Fence

    def read(self, path: RealmPath) -> Mapping[str, Any] | None:
        """See `Keycloak.read`."""
        with self.guard.call(path.realm):
            return self.to.read(path)

    def list(self, collection: RealmPath) -> tuple[Mapping[str, Any], ...]:
        """See `Keycloak.list`."""
        with self.guard.call(collection.realm):
            return self.to.list(collection)

    def find_user(self, realm: str, username: str) -> str | None:
        """See `Keycloak.find_user`."""
        with self.guard.call(realm):
            return self.to.find_user(realm, username)

    def create(self, collection: RealmPath, body: Mapping[str, Any]) -> None:
        """See `Keycloak.create`."""
        with self.guard.call(collection.realm or str(body.get("realm"))):
            self.fence.check()
            self.to.create(collection, body)

    def update(self, path: RealmPath, body: Mapping[str, Any]) -> None:
        """See `Keycloak.update`."""
        with self.guard.call(path.realm):
            self.fence.check()
            self.to.update(path, body)

    def delete(self, path: RealmPath) -> None:
        """See `Keycloak.delete`."""
        with self.guard.call(path.realm):
            self.fence.check()
            self.to.delete(path)

    def grant(self, mappings: RealmPath, roles: Sequence[Mapping[str, Any]]) -> None:
        """See `Keycloak.grant`."""
        with self.guard.call(mappings.realm):
            self.fence.check()
            self.to.grant(mappings, roles)

    def withdraw(self, mappings: RealmPath, roles: Sequence[Mapping[str, Any]]) -> None:
        """See `Keycloak.withdraw`."""
        with self.guard.call(mappings.realm):
            self.fence.check()
            self.to.withdraw(mappings, roles)

    def reaches_ldap(self, realm: str, probe: Mapping[str, str], *, log_in: bool) -> bool:
        """See `Keycloak.reaches_ldap`."""
        with self.guard.call(realm):
            return self.to.reaches_ldap(realm, probe, log_in=log_in)

    def logout_all(self, realm: str) -> None:
        """See `Keycloak.logout_all`."""
        with self.guard.call(realm):
            self.fence.check()
            self.to.logout_all(realm)

    def logout_user(self, realm: str, user: str) -> None:
        """See `Keycloak.logout_user`."""
        with self.guard.call(realm):
            self.fence.check()
            self.to.logout_user(realm, user)


def _vault_tenant(path: VaultPath) -> str:
    """The tenant's namespace: of the request, or in the parent the one that the path speaks of."""
    return path.namespace or path.path.rpartition("/")[2]
