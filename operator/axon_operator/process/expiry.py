"""When credentials end, for every binding whose credential does: the one metric that names objects.

It is made at each scrape from a small table, which follows the bindings. A series goes with its binding.
"""

import datetime
import threading
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from axon_operator.backends.kubernetes.store import Store
from axon_operator.domain.names import tenant_in
from axon_operator.domain.resources import BINDING, Manifest, Ref, ref_of


class CredentialExpiry(Collector):
    """Shown by the process that leads."""

    name: Final = "axon_operator_credential_expiry_timestamp_seconds"
    labels: Final = ("tenant", "binding")
    text: Final = "Unix time at which the first credential ends that a pod holds by this binding, as last seen."

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: dict[Ref, float] = {}
        self._leads: Callable[[], bool] = lambda: False

    def follow(self, store: Store, leads: Callable[[], bool]) -> None:
        """From now on."""
        self._leads, self._ends = leads, {}

        def changed(before: Manifest | None, after: Manifest | None) -> None:
            live = after or before
            if live is not None and live["kind"] == BINDING.kind:
                key = ref_of(live)
                with self._lock:
                    # news may overtake each other; what is known now does not
                    self._note(key, store.get(key))

        store.subscribe(changed)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """For the client library."""
        family = GaugeMetricFamily(self.name, self.text, labels=self.labels)
        with self._lock:
            ends = dict(self._ends) if self._leads() else {}
        for key, at in ends.items():
            family.add_metric([tenant_in(key.namespace), key.name], at)
        yield family

    def _note(self, key: Ref, live: Manifest | None) -> None:
        expires = ((live or {}).get("status") or {}).get("expiresAt")
        if expires is None:
            self._ends.pop(key, None)
        else:
            self._ends[key] = datetime.datetime.fromisoformat(expires).timestamp()
