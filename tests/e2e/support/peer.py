"""A server outside the cluster that lets in whoever proves to be one runtime, and a client in that runtime's pod.

Both are Python, of the operator's image, which every test bed has.
"""

from e2e.support import operator
from e2e.support.cluster import Cluster
from e2e.support.kubectl import Json
from e2e.support.settings import DATABASE_ADDRESS, TESTBED_NAMESPACE

NAME = "peer"
PORT = 8443
WELCOME = "welcome"

_SERVER = """
import socket, ssl, sys, threading, time, urllib.request

address, port, authority, wanted = sys.argv[1:]
openbao = ssl.create_default_context(cafile="/ca/ca.crt")

def fetched(what):
    with urllib.request.urlopen(f"{authority}/{what}", context=openbao, timeout=5) as answer:
        return answer.read().decode()

def context():
    with open("/tmp/trusted.pem", "w") as trusted:
        trusted.write(fetched("ca/pem") + "\\n" + fetched("crl/pem") + "\\n")
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain("/tls/tls.crt", "/tls/tls.key")
    made.verify_mode = ssl.CERT_REQUIRED
    made.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    made.load_verify_locations("/tmp/trusted.pem")
    return made

def serve(raw):
    raw.settimeout(5)
    try:
        with raw, current.wrap_socket(raw, server_side=True) as client:
            names = client.getpeercert().get("subjectAltName", ())
            client.sendall(b"welcome\\n" if names == (("URI", wanted),) else b"somebody else\\n")
    except OSError as error:
        print(error, flush=True)

def listen():
    with socket.create_server((address, int(port)), backlog=100) as server:
        while True:
            threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

current = context()
threading.Thread(target=listen, daemon=True).start()
while True:
    time.sleep(1)
    try:
        current = context()
    except OSError as error:
        print(error, flush=True)
"""

CLIENT = """
import collections, os, socket, ssl, sys, time

path, seconds, rate = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
host, port = os.environ["PEER"].split(":")

def greeted():
    # what is delivered may have changed: it is read each time
    mine = ssl.create_default_context(cadata=os.environ["CA"])
    mine.load_cert_chain(path)
    with socket.create_connection((host, int(port)), timeout=5) as raw:
        with mine.wrap_socket(raw, server_hostname=host) as peer:
            return peer.recv(100).decode().strip()

said, due = collections.Counter(), time.monotonic()
end = due + seconds
while True:
    try:
        said[greeted()] += 1
    except OSError as error:
        said[str(error)] += 1
    due = max(due + 1 / rate, time.monotonic() - 1)
    if due >= end:
        break
    time.sleep(max(0, due - time.monotonic()))
for answer, count in said.items():
    print(count, answer)
"""
"""In the workload: `python3 -c CLIENT FILE SECONDS RATE` prints how often it heard which answer. It needs `environment`."""


class Peer:
    """The server: it asks for a certificate of a tenant's authority that names one runtime, and reads the authority's list
    of revoked ones each second."""

    def __init__(self, cluster: Cluster, vault: str, wanted: str) -> None:
        """`vault`: the tenant's OpenBao namespace; `wanted`: the SPIFFE id."""
        self._cluster = cluster
        self.remove()
        authority = f"https://openbao.openbao.svc:8200/v1/{vault}/pki"
        cluster.kubectl.apply(_pod(image(cluster), DATABASE_ADDRESS, str(PORT), authority, wanted))
        cluster.kubectl("-n", TESTBED_NAMESPACE, "wait", "--for=condition=Ready", f"pod/{NAME}", "--timeout=60s")

    def remove(self) -> None:
        """Ends it."""
        self._cluster.kubectl("-n", TESTBED_NAMESPACE, "delete", "pod", NAME, "--ignore-not-found")

    def environment(self) -> list[Json]:
        """What a runtime needs that calls it: its address, and who vouches for it."""
        return [
            {"name": "PEER", "value": f"{DATABASE_ADDRESS}:{PORT}"},
            {"name": "CA", "value": self._cluster.ca.read_text()},
        ]


def image(cluster: Cluster) -> str:
    """The operator's, for its Python."""
    container: Json = operator.pods(cluster)[0]["spec"]["containers"][0]
    return str(container["image"])


def _pod(image: str, *arguments: str) -> Json:
    container = {
        "name": "peer",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", _SERVER, *arguments],
        "readinessProbe": {"tcpSocket": {"host": DATABASE_ADDRESS, "port": PORT}, "periodSeconds": 1},
        "volumeMounts": [
            {"name": "tls", "mountPath": "/tls", "readOnly": True},
            {"name": "ca", "mountPath": "/ca", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": NAME, "namespace": TESTBED_NAMESPACE},
        "spec": {
            # beside the database: an address outside the cluster's ranges, for which there is a certificate
            "hostNetwork": True,
            "dnsPolicy": "ClusterFirstWithHostNet",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532},
            "containers": [container],
            "volumes": [
                {"name": "tls", "secret": {"secretName": "database-tls", "defaultMode": 0o440}},
                {"name": "ca", "configMap": {"name": "backend-ca"}},
                {"name": "tmp", "emptyDir": {}},
            ],
        },
    }
