"""Keeps the store up to date: one list and watch per kind, each in a thread of its own.

Ours, because the official client's watch neither survives a stalled stream nor notices what was deleted while
it was away, and Kopf's does not either (measured, docs/design-notes.md).
"""

import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from axon_operator.backends.errors import ReconcileError
from axon_operator.backends.kubernetes.adapter import OLDEST, Expired, KubernetesApi
from axon_operator.backends.kubernetes.store import Store
from axon_operator.domain.resources import Manifest, Resource, ref_of

_LASTS: Final = 290
"""Seconds after which the server ends a stream."""
_SILENCE: Final = 90.0
"""Seconds without a byte after which a stream is given up. The server sends a bookmark every minute."""
_LONGEST_PAUSE: Final = 30.0
_DEADLINE: Final = 240.0
"""Seconds without news after which a watch is dead, if the API server answers other calls meanwhile."""
_ANSWERS_LATELY: Final = 60.0


class Informer:
    """Lists and watches one kind."""

    def __init__(
        self,
        api: KubernetesApi,
        store: Store,
        resource: Resource,
        selector: Mapping[str, str] | None,
        report: Callable[[Exception], None],
        *,
        silence: float = _SILENCE,
    ) -> None:
        """`report`: told of every failure. `silence`: seconds until a mute stream is given up."""
        self.resource = resource
        self._api = api
        self._store = store
        self._selector = selector
        self._report = report
        self._silence = silence
        self._version: int | None = None
        self._failures = 0
        self._stopped = threading.Event()
        self.synced = threading.Event()
        """Set when the first list is complete."""
        self.heard_at = time.monotonic()
        """When the API server last told something about this kind, on the monotonic clock."""

    def start(self) -> None:
        """Starts the thread. It ends with the process, or soon after `stop`."""
        threading.Thread(target=self._run, name=f"informer-{self.resource.plural}", daemon=True).start()

    def stop(self) -> None:
        """Asks the thread to end after what it is waiting for."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                if self._version is None:
                    self._version = self._list()
                    self.synced.set()
                self._watch(self._version)
            except Expired as error:
                self._report(error)
                self._version = None
            except ReconcileError as error:
                self._report(error)
                self._pause()
            except Exception as error:  # noqa: BLE001 - a defect must not end the watch
                self._report(error)
                self._version = None
                self._pause()

    def _list(self) -> int:
        """Takes over the whole list; returns its version."""
        listed: set[tuple[str, str]] = set()
        version = 0
        for page in self._api.pages(self.resource, "", self._selector):
            version = page.version
            for manifest in page.items:
                ref = ref_of(manifest)
                listed.add((ref.namespace, ref.name))
                self._store.watched(manifest)
            self._heard()
        self._store.prune(self.resource, listed, version)
        return version

    def _watch(self, version: int) -> None:
        """Follows one stream until it ends."""
        lasts = int(_LASTS * random.uniform(0.8, 1))  # noqa: S311 - spreads the ends, guards nothing
        begun = time.monotonic()
        for event in self._api.watch(self.resource, version, self._selector, lasts=lasts, silence=self._silence):
            self._take(event["type"], event["object"])
            self._heard()
        if time.monotonic() - begun < 1:
            # a server that ends every stream at once must not be asked without a pause
            self._pause()

    def _take(self, kind: str, manifest: Manifest) -> None:
        if kind == "DELETED":
            metadata = manifest["metadata"]
            self._store.gone(ref_of(manifest), metadata["uid"], int(metadata["resourceVersion"]))
        elif kind != "BOOKMARK":
            self._store.watched(manifest)
        self._version = int(manifest["metadata"]["resourceVersion"])

    def _heard(self) -> None:
        self.heard_at = time.monotonic()
        self._failures = 0

    def _pause(self) -> None:
        self._failures += 1
        longest = min(_LONGEST_PAUSE, 0.5 * 2 ** min(self._failures, 10))
        self._stopped.wait(random.uniform(0.1, longest))  # noqa: S311 - spreads load, guards nothing


class Informers:
    """All watches together."""

    def __init__(self, api: KubernetesApi, informers: tuple[Informer, ...], *, deadline: float = _DEADLINE) -> None:
        self._api = api
        self._informers = informers
        self._deadline = deadline

    def start(self) -> None:
        """Starts them all."""
        for informer in self._informers:
            informer.start()

    def stop(self) -> None:
        """Asks them all to end."""
        for informer in self._informers:
            informer.stop()

    def unsupported(self) -> str | None:
        """Why this API server cannot be relied on; None if it can. Raises `ReconcileError` if it does not tell its version."""
        found = self._api.version()
        if found >= OLDEST:
            return None
        return "The API server is Kubernetes {}.{}; at least {}.{} is needed.".format(*found, *OLDEST)

    @property
    def synced(self) -> bool:
        """Whether everything has been listed once: only then does "not in the store" mean "does not exist"."""
        return all(informer.synced.is_set() for informer in self._informers)

    @property
    def alive(self) -> bool:
        """False if a watch is dead: nothing heard for minutes although the API server answers other calls.

        While the API server itself is away this stays true: a restart of the operator would not help.
        """
        away = time.monotonic() - self._api.answered_at > _ANSWERS_LATELY
        return away or all(self.age(informer.resource) <= self._deadline for informer in self._informers)

    def age(self, resource: Resource) -> float:
        """Seconds since something was heard about a kind."""
        heard = (informer.heard_at for informer in self._informers if informer.resource is resource)
        return time.monotonic() - max(heard)
