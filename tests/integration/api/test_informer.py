"""The informer against a real API server, over a wire that breaks in the ways in which wires break."""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from axon_operator.backends.errors import Waiting
from axon_operator.backends.kubernetes import adapter
from axon_operator.backends.kubernetes.adapter import KubernetesApi
from axon_operator.backends.kubernetes.cached import CachedKubernetes
from axon_operator.backends.kubernetes.informer import Informer, Informers
from axon_operator.backends.kubernetes.store import Store
from axon_operator.domain.manifests import manifest
from axon_operator.domain.names import MANAGED_BY, MANAGED_BY_LABEL
from axon_operator.domain.resources import CONFIG_MAP, Manifest, Ref
from e2e.support.kubectl import Kubectl
from e2e.support.waiting import Unmet, until
from servers.kube import KubeServer

from .wire import Wire

SELECTOR = {MANAGED_BY_LABEL: MANAGED_BY}


@dataclass
class Watch:
    """An informer at work, and the wire that it hangs on."""

    kubectl: Kubectl
    namespace: str
    api: KubernetesApi
    store: Store
    wire: Wire
    gone: list[str] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    informers: Informers = field(init=False)

    def start(self, *, silence: float = 90, deadline: float = 240) -> Informers:
        """Begins to watch, and waits for the first list."""
        informer = Informer(self.api, self.store, CONFIG_MAP, SELECTOR, self.failures.append, silence=silence)
        self.informers = Informers(self.api, (informer,), deadline=deadline)
        self.informers.start()

        def listed() -> None:
            if not self.informers.synced:
                raise Unmet("not listed")

        until("the first list", listed, timeout=20, every=0.05)
        return self.informers

    def put(self, name: str, value: str) -> None:
        """Somebody creates or changes an object that carries our mark."""
        self.kubectl.apply(child(self.namespace, name, value))

    def remove(self, name: str) -> None:
        """Somebody deletes it."""
        self.kubectl("-n", self.namespace, "delete", "configmap", name)

    def wait(self, expected: dict[str, str], *, timeout: float = 20) -> None:
        """Waits until the store holds exactly that, {name: value}."""

        def probe() -> None:
            if self.seen() != expected:
                raise Unmet(f"{self.seen()}, not {expected}")

        until("the store follows", probe, timeout=timeout, every=0.05)

    def seen(self) -> dict[str, str]:
        """What the store holds."""
        found = self.store.list(CONFIG_MAP, self.namespace, {})
        return {m["metadata"]["name"]: m["data"]["value"] for m in found}


def child(namespace: str, name: str, value: str) -> Manifest:
    return manifest(Ref(CONFIG_MAP, namespace, name), "uid", "acme", {"data": {"value": value}})


@pytest.fixture
def watch(kubectl: Kubectl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """Not yet started; in a namespace of its own."""
    with watching(kubectl, tmp_path, monkeypatch) as made:
        yield made


@contextmanager
def watching(kubectl: Kubectl, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """A watch of an API server, over a wire, in a namespace of its own."""
    config = yaml.safe_load(kubectl.kubeconfig.read_text())
    cluster = config["clusters"][0]["cluster"]
    wire = Wire(urlsplit(cluster["server"]).port or 0)
    cluster["server"] = f"https://127.0.0.1:{wire.port}"
    path = folder / "wired"
    path.write_text(yaml.safe_dump(config))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    monkeypatch.setattr(adapter, "_PAGE", "100")
    store = Store({CONFIG_MAP: SELECTOR})
    api = KubernetesApi(timeout=5, connections=4, written=store.written, removed=store.removed)
    namespace = f"watched-{secrets.token_hex(4)}"
    kubectl("create", "namespace", namespace)
    watch = Watch(kubectl, namespace, api, store, wire)
    store.subscribe(
        lambda before, after: watch.gone.append(before["metadata"]["name"]) if before and not after else None
    )
    yield watch
    watch.informers.stop()
    wire.close()
    kubectl("delete", "namespace", namespace, "--wait=false")


def test_a_version_that_the_server_has_forgotten_means_a_new_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = KubeServer(tmp_path)
    try:
        kube = server.start()
        kubectl = Kubectl(server.kubeconfig("admin", kube.admin_token))
        with watching(kubectl, tmp_path, monkeypatch) as watch:
            for name in ("kept", "deleted"):
                watch.put(name, "1")
            watch.start()
            with watch.wire.down():
                watch.remove("deleted")
                for value in ("2", "3"):
                    watch.put("kept", value)
                # its memory of the changes goes with the process, etcd's with the compaction
                server.compact()
                server.kill_apiserver()
                server.start_apiserver()
            watch.wait({"kept": "3"}, timeout=60)
            assert watch.gone == ["deleted"]
            assert any(isinstance(failure, adapter.Expired) for failure in watch.failures)
    finally:
        server.stop()


def test_a_long_list_comes_in_pages_and_what_follows_by_watch(watch: Watch) -> None:
    items = [child(watch.namespace, f"n{n}", "1") for n in range(250)]
    watch.kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    watch.start()
    assert len(watch.seen()) == 250
    watch.put("n7", "2")
    watch.remove("n8")
    watch.put("new", "1")
    expected = {f"n{n}": "1" for n in range(250) if n != 8} | {"n7": "2", "new": "1"}
    watch.wait(expected)
    assert watch.gone == ["n8"]


def test_what_happens_while_the_watch_is_down_is_noticed(watch: Watch) -> None:
    for name in ("kept", "changed", "deleted"):
        watch.put(name, "1")
    watch.start()
    with watch.wire.down():
        watch.put("changed", "2")
        watch.remove("deleted")
        watch.put("made", "1")
    watch.wait({"kept": "1", "changed": "2", "made": "1"}, timeout=60)
    assert watch.gone == ["deleted"]


def test_a_stream_that_goes_mute_is_given_up(watch: Watch) -> None:
    watch.put("a", "1")
    watch.start(silence=1.5)
    watch.wire.mute()
    watch.put("a", "2")
    watch.wait({"a": "2"}, timeout=15)


def test_a_dead_watch_fails_liveness_while_the_server_answers_and_not_while_it_is_away(watch: Watch) -> None:
    watch.put("a", "1")
    informers = watch.start(silence=60, deadline=2)
    assert informers.alive
    watch.wire.mute()

    def dead() -> None:
        # another connection: the server answers
        watch.api.get(Ref(CONFIG_MAP, watch.namespace, "a"))
        if informers.alive:
            raise Unmet(f"still alive at {informers.age(CONFIG_MAP)}")

    until("liveness fails", dead, timeout=15)
    watch.api.answered_at = float("-inf")
    assert informers.alive


def test_what_is_foreign_is_seen_before_anything_is_made_of_that_name(watch: Watch) -> None:
    kubernetes = CachedKubernetes(watch.api, watch.store)
    watch.kubectl("-n", watch.namespace, "create", "configmap", "taken", "--from-literal=value=theirs")
    watch.start()
    ref = Ref(CONFIG_MAP, watch.namespace, "taken")
    assert kubernetes.get(ref) is None
    for attempt in (kubernetes.apply, kubernetes.create):
        with pytest.raises(Waiting, match="mark is read next"):
            attempt(child(watch.namespace, "taken", "ours"))
    live = kubernetes.get(ref)
    assert live
    assert live["data"] == {"value": "theirs"}
    watch.kubectl("-n", watch.namespace, "delete", "configmap", "taken")
    assert kubernetes.get(ref) is None
    kubernetes.apply(child(watch.namespace, "taken", "ours"))
    assert (kubernetes.get(ref) or {})["data"] == {"value": "ours"}


def test_our_own_writes_are_read_back_at_once(watch: Watch) -> None:
    kubernetes = CachedKubernetes(watch.api, watch.store)
    watch.start()
    for value in ("1", "2"):
        kubernetes.apply(child(watch.namespace, "mine", value))
        assert watch.seen() == {"mine": value}
    live = kubernetes.get(Ref(CONFIG_MAP, watch.namespace, "mine"))
    assert live
    kubernetes.delete(Ref(CONFIG_MAP, watch.namespace, "mine"), live["metadata"]["uid"])
    assert watch.seen() == {}
