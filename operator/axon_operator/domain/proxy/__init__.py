"""The `proxy` sidecar: an Envoy that adds credentials to requests, so that the workload never holds them.

The workload calls http://127.0.0.1:<localPort>. For each port there is one host and one header. A response is
passed on as it is: a host that answers with what it was sent (an "echo" service) shows the workload the credential.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from importlib.resources import files
from typing import Any

from axon_operator.api.tenant import SIDECAR_LIMITS
from axon_operator.domain.agent import CONFIG_DIR, ROOT_DIR, Folder
from axon_operator.domain.containers import restricted

PROXY_DIR = f"{ROOT_DIR}/{Folder.PROXY}"
"""A memory volume that the workload does not see: `credentials` writes it, `proxy` reads it."""
SYSTEM_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
"""Where Envoy's image has the public authorities."""
CLUSTERS = "clusters.json"
"""Key of the ConfigMap for `clusters()`; Envoy follows it there."""
LISTENERS = "listeners"
"""Key of the ConfigMap for `listeners()`, of which `credentials` makes `PROXY_DIR/listeners.json`."""
SCRIPT = files(__package__).joinpath("listeners.sh").read_text()
"""Shell functions for the script of the `credentials` sidecar."""
VOLUME: dict[str, Any] = {"name": "proxy", "emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}}
STARTED = ["/bin/sh", "-c", "grep -q ^wrk: /proc/1/task/*/comm"]
"""Whether Envoy listens, without a port or socket that others in the pod could reach: its workers start with that."""

_DRAIN_SECONDS = 1
"""How long connections live on whose route is gone or has become another one."""
_CONNECTIONS = 500
"""At once, so that no workload brings its proxy to the limit of its memory."""
_SILENT = "config:error,http:info,router:info"
"""These print headers, or the files with credentials: `config` at warning, the others at debug."""
_REMOVED = (
    "forwarded",
    "x-envoy-external-address",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
)
"""Headers that tell a server behind a balancer by what name it was called, and by whom."""
_OWN = "x-envoy-"
"""Headers with which Envoy is told what to do: it removes some of them."""
_FIT = r"^[^\\x00-\\x20\\x7f]([^\\x00-\\x08\\x0a-\\x1f\\x7f]*[^\\x00-\\x20\\x7f])?$"
"""What a header can carry unchanged, in a text of a Go template."""
_FIRST_USER = 1_000_000_000
"""Beyond what nodes and images use; the last is below the end of 32 bits with sign."""
_HTTPS = 443
_ADDRESS = re.compile(r"[0-9]+(\.[0-9]+){3}")
_API = "type.googleapis.com/envoy."


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """One local port, and the one host to which the credential goes from there."""

    binding: str
    host: str
    port: int
    local_port: int
    header: str
    prefix: str
    origin: str
    """What credential it is: another text for another secret or key, the same text through its rotations."""

    @property
    def name(self) -> str:
        """Of its cluster and its secret.

        Another destination or credential is another name. So no moment of a change, in whatever order Envoy sees the
        files, can send a binding's new credential to its old host or its old one to the new host.
        """
        digest = hashlib.sha256(json.dumps(astuple(self)).encode()).hexdigest()[:10]
        return f"{self.binding}-{digest}"

    @property
    def file(self) -> str:
        """Of its secret, below `PROXY_DIR`."""
        return f"{self.name}.json"


def problem(host: str, header: str) -> str | None:
    """Why a credential cannot be sent to this host in this header; None if it can."""
    if _ADDRESS.fullmatch(host):
        return f"{host} is an address; name the host in spec.delivery.proxy.host, as its certificate does."
    if header in _REMOVED or header.startswith(_OWN):
        return f"The proxy sends no header {header}; name the one in which the host expects the credential."
    return None


def bootstrap() -> str:
    """Envoy's own configuration, the same for every pod.

    There is no admin interface. Clusters come from the ConfigMap, which the kubelet swaps as a whole; listeners from
    the memory volume, where each stands only while its credential does: Envoy refuses a listener whose credential's
    file is not there yet, and does not try it again.
    """
    clusters = {"path": f"{CONFIG_DIR}/{CLUSTERS}", "watched_directory": {"path": CONFIG_DIR}}
    listeners = {"path": f"{PROXY_DIR}/listeners.json"}
    config = {
        "node": {"id": "proxy", "cluster": "proxy"},
        "dynamic_resources": {"cds_config": _from_file(clusters), "lds_config": _from_file(listeners)},
        # nobody can read them
        "stats_config": {"stats_matcher": {"reject_all": True}},
        "stats_flush_on_admin": True,
        "overload_manager": {"resource_monitors": [_connection_limit()]},
    }
    return json.dumps(config)


def clusters(routes: Iterable[Route], authorities: str = SYSTEM_AUTHORITIES) -> str:
    """The hosts, for the ConfigMap's `CLUSTERS`.

    Args:
        authorities: PEM file with the authorities that may vouch for hosts, as Envoy sees it. It is read with a
            cluster, so other authorities need another name.
    """
    return json.dumps({"resources": [_cluster(route, authorities) for route in sorted(routes)]})


def listeners(routes: Iterable[Route]) -> str:
    """The ports, for the ConfigMap's `LISTENERS`: a line each, behind the file without which it must not be there."""
    return "".join(f"{route.file} {json.dumps(_listener(route))}\n" for route in sorted(routes))


def secret_template(route: Route, value: str) -> str:
    """Template of `bao agent` for the route's file; it stays empty for what no header can carry unchanged.

    That is: what is no text (OpenBao rounds large numbers), an empty text, control characters, space at an end. An empty
    file is not to be published; if it were, Envoy would not take it. The template does not fail, because then `bao
    agent` begins anew with all templates of the pod: one bad value would hold up every other credential, and each
    beginning would issue new accounts. Base64 keeps the value from being read as anything else.

    Args:
        value: an expression that yields the value, such as `index .Data.data "key"`.
    """
    secret = {
        "@type": f"{_API}extensions.transport_sockets.tls.v3.Secret",
        "name": route.name,
        "generic_secret": {"secret": {"inline_bytes": "VALUE"}},
    }
    document = json.dumps({"resources": [secret]}).replace("VALUE", "{{ $value | base64Encode }}")
    return (
        f"{{{{ $value := ({value}) }}}}"
        f'{{{{ if sprig_typeIs "string" $value }}}}{{{{ if sprig_regexMatch "{_FIT}" $value }}}}'
        f"{document}"
        "{{ end }}{{ end }}"
    )


def container(image: str, runtime_uid: str) -> dict[str, Any]:
    """A native sidecar, to be started after `credentials` and before the workload.

    Its image needs `envoy`, the authorities (`SYSTEM_AUTHORITIES`), a shell and `grep`. Nothing here depends on the
    bindings, so that they come and go without a restart.
    """
    return {
        "name": "proxy",
        "image": image,
        "restartPolicy": "Always",
        "command": command(),
        "startupProbe": {"exec": {"command": STARTED}, "periodSeconds": 1, "failureThreshold": 60},
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": dict(SIDECAR_LIMITS)},
        "securityContext": {**restricted(), "runAsUser": user(runtime_uid)},
        "volumeMounts": [
            {"name": "proxy", "mountPath": PROXY_DIR, "readOnly": True},
            {"name": "agent-config", "mountPath": CONFIG_DIR, "readOnly": True},
        ],
    }


def user(runtime_uid: str) -> int:
    """Whom the proxies of a runtime run as: nobody else. They read their files as members of the pod's group.

    A node allows each user 128 inotify instances, if nobody has raised that. Envoy takes two and one for each route,
    and aborts when there is none left. As the user of all workloads it could be brought down by any of them.
    """
    return _FIRST_USER + int(hashlib.sha256(runtime_uid.encode()).hexdigest()[:7], 16)


def command() -> list[str]:
    """How Envoy is started."""
    return [
        "envoy",
        "--config-yaml",
        bootstrap(),
        "--concurrency",
        "1",
        # its socket and shared memory would be open to every container of the pod
        "--disable-hot-restart",
        "--drain-time-s",
        str(_DRAIN_SECONDS),
        "--drain-strategy",
        "immediate",
        "--log-level",
        "warning",
        "--component-log-level",
        _SILENT,
    ]


def _from_file(source: dict[str, Any]) -> dict[str, Any]:
    return {"path_config_source": source, "resource_api_version": "V3"}


def _typed(name: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": f"{_API}{kind}", **fields}}


def _connection_limit() -> dict[str, Any]:
    kind = "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    return _typed(
        "envoy.resource_monitors.global_downstream_max_connections",
        kind,
        max_active_downstream_connections=_CONNECTIONS,
    )


def _cluster(route: Route, authorities: str) -> dict[str, Any]:
    address = {"socket_address": {"address": route.host, "port_value": route.port}}
    http = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {
        "@type": f"{_API}config.cluster.v3.Cluster",
        "name": route.name,
        "cluster_type": _resolved(),
        "connect_timeout": "10s",
        "per_connection_buffer_limit_bytes": 65536,
        "load_assignment": {
            "cluster_name": route.name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        "transport_socket": _verified(route.host, authorities),
        "typed_extension_protocol_options": {
            http: {
                "@type": f"type.googleapis.com/{http}",
                "explicit_http_config": {"http_protocol_options": {}},
                "common_http_protocol_options": {"idle_timeout": "60s"},
            }
        },
    }


def _resolved() -> dict[str, Any]:
    """By DNS. Who answers falsely gains nothing: the certificate decides."""
    resolver = _typed(
        "envoy.network.dns_resolver.cares",
        "extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
        # the host's name is complete: no search through the domains of the cluster
        dns_resolver_options={"no_default_search_domain": True},
    )
    return _typed(
        "envoy.cluster.dns",
        "extensions.clusters.dns.v3.DnsCluster",
        # connections stay when a large service answers with other addresses each time
        all_addresses_in_single_endpoint=True,
        dns_lookup_family="V4_PREFERRED",
        dns_refresh_rate="60s",
        respect_dns_ttl=True,
        typed_dns_resolver_config=resolver,
    )


def _verified(host: str, authorities: str) -> dict[str, Any]:
    """TLS to exactly this host, whatever a request says."""
    trust = {
        "trusted_ca": {"filename": authorities},
        "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": host}}],
    }
    # the maximum is 1.2 if nothing is said
    versions = {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"}
    return _typed(
        "tls",
        "extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        sni=host,
        common_tls_context={"tls_params": versions, "validation_context": trust},
    )


def _listener(route: Route) -> dict[str, Any]:
    # the port is in the name: bindings that exchange their ports are other listeners, for which there is room
    return {
        "@type": f"{_API}config.listener.v3.Listener",
        "name": f"{route.binding}:{route.local_port}",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": route.local_port}},
        "per_connection_buffer_limit_bytes": 65536,
        "filter_chains": [{"filters": [_connection(route)]}],
    }


def _connection(route: Route) -> dict[str, Any]:
    return _typed(
        "http",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="proxy",
        codec_type="HTTP1",
        # so that Envoy's own headers, sent by the workload, do not steer it
        use_remote_address=True,
        skip_xff_append=True,
        generate_request_id=False,
        server_header_transformation="PASS_THROUGH",
        normalize_path=True,
        merge_slashes=True,
        # part of names in many APIs; no decision here depends on the path
        path_with_escaped_slashes_action="KEEP_UNCHANGED",
        # many servers read x_api_key as x-api-key
        common_http_protocol_options={"headers_with_underscores_action": "REJECT_REQUEST", "idle_timeout": "300s"},
        request_headers_timeout="10s",
        http_filters=[
            _credential(route),
            _typed("router", "extensions.filters.http.router.v3.Router", suppress_envoy_headers=True),
        ],
        route_config=_http_routes(route),
    )


def _credential(route: Route) -> dict[str, Any]:
    """Replaces the header; a request for which there is no value gets 401 and goes nowhere."""
    generic = _typed(
        "generic",
        "extensions.http.injected_credentials.generic.v3.Generic",
        header=route.header,
        header_value_prefix=route.prefix,
        credential={"name": route.name, "sds_config": _from_file({"path": f"{PROXY_DIR}/{route.file}"})},
    )
    return _typed(
        "credential",
        "extensions.filters.http.credential_injector.v3.CredentialInjector",
        overwrite=True,
        allow_request_without_credential=False,
        credential=generic,
    )


def _http_routes(route: Route) -> dict[str, Any]:
    """Only requests to this very host; all others get 404. CONNECT and upgrades match nothing."""
    authority = route.host if route.port == _HTTPS else f"{route.host}:{route.port}"
    # TRACE asks the host to send the request back, with the credential
    trace = {
        "match": {"prefix": "/", "headers": [{"name": ":method", "string_match": {"exact": "TRACE"}}]},
        "direct_response": {"status": 405},
    }
    everything_else = {
        "match": {"prefix": "/"},
        "route": {"cluster": route.name, "host_rewrite_literal": authority, "timeout": "0s"},
    }
    local = {f"{name}:{route.local_port}" for name in ("127.0.0.1", "localhost")}
    host = {
        "name": "host",
        "domains": sorted(local | {route.host, authority}),
        "request_headers_to_remove": list(_REMOVED),
        "routes": [trace, everything_else],
    }
    # its cluster comes and goes a moment before the listener
    return {"virtual_hosts": [host], "validate_clusters": False}
