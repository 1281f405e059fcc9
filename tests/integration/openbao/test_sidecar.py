"""The sidecar's script with the real `bao agent`, OpenBao and PostgreSQL: leased credentials over their whole life.

Leases last seconds here instead of minutes; nothing else is different from a pod.
"""

import ctypes
import dataclasses
import json
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from axon_operator.api.secretbinding import EnvDelivery
from axon_operator.backends.vault.adapter import OpenBao, OpenBaoSettings
from axon_operator.domain import agent
from axon_operator.domain.agent import CredentialFile, Folder, templates
from axon_operator.domain.names import TenantNames
from axon_operator.domain.proxy import Route, secret_template
from axon_operator.domain.runtime.vault import vault_role
from axon_testbed import pins, tools
from axon_testbed.layout import Layout
from integration.openbao.tenants import PLATFORM, make, runtime
from servers import debian
from servers.bao import Bao
from servers.kube import Kube
from servers.postgres import Postgres

LEASE: Final = 10
"""Seconds that a database account lives."""
LOGIN: Final = 25
"""Seconds that a login lasts: more than two leases, so that the test meets the end of both."""
CREATION: Final = """CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'"""
ACCOUNTS: Final = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'v-%'"


class Place:
    """A tenant with a database, and a runtime that may read of it."""

    def __init__(self, kube: Kube, bao: Bao, vault: OpenBao, postgres: Postgres) -> None:
        self.kube, self.bao, self.postgres = kube, bao, postgres
        self.tenant = TenantNames("acme", str(uuid.uuid4()))
        self.runtime = runtime(self.tenant)
        self.principal = self.runtime.names.principal
        self.namespace = f"axon/{self.tenant.vault_namespace}"
        self.account_uid = kube.service_account(self.tenant.namespace, self.principal)
        make(vault, self.tenant, self.account_uid)
        postgres.account("axon", "axon-1")
        where = f"127.0.0.1:{postgres.port}/postgres?sslmode=verify-full&sslrootcert={postgres.ca}"
        self.write("sys/mounts/database", {"type": "database"})
        self.write(
            "database/config/orders",
            {
                "plugin_name": "postgresql-database-plugin",
                "allowed_roles": ["orders.*"],
                "connection_url": f"postgresql://{{{{username}}}}:{{{{password}}}}@{where}",
                "username": "axon",
                "password": "axon-1",
            },
        )
        self.write("kv/data/org/billing/stripe", {"data": {"api_key": "c4n4ry"}})
        self.may_read("database/creds/orders.*", "kv/data/org/billing/*")
        self.login_lasts(LOGIN)

    def write(self, path: str, body: Any) -> None:
        self.bao.admin("POST", self.namespace, path, body)

    def may_read(self, *paths: str) -> None:
        """The runtime's policy, with what the script and the agent need beside."""
        rules = [f'path "{path}" {{ capabilities = ["read"] }}' for path in paths]
        rules += [f'path "runtime-status/{self.principal}/+" {{ capabilities = ["create", "update"] }}']
        own = ("auth/token/renew-self", "auth/token/revoke-self", "sys/leases/renew")
        rules += [f'path "{path}" {{ capabilities = ["update"] }}' for path in own]
        self.write(f"sys/policies/acl/{self.principal}", {"policy": "\n".join(rules)})

    def login_lasts(self, seconds: int) -> None:
        role = vault_role(self.runtime, self.account_uid)
        self.write(role.at.path, {**role.body, "token_ttl": seconds, "token_max_ttl": seconds})

    def role(self, name: str, ttl: int = LEASE) -> None:
        """Of the database."""
        ttls = {"default_ttl": f"{ttl}s", "max_ttl": f"{ttl}s"}
        self.write(f"database/roles/{name}", {"db_name": "orders", "creation_statements": [CREATION], **ttls})

    def leases(self, role: str) -> int:
        found = self.bao.look("LIST", self.namespace, f"sys/leases/lookup/database/creds/{role}")
        return len(found["keys"]) if found else 0

    def record(self, pod: str) -> dict[str, str] | None:
        found: dict[str, str] | None = self.bao.look("GET", self.namespace, f"runtime-status/{self.principal}/{pod}")
        return found

    def accounts(self) -> int:
        return int(self.postgres.sql(ACCOUNTS))


class Pod:
    """The script as in its container, with folders instead of the pod's volumes."""

    def __init__(self, folder: Path, place: Place, login_ttl: int = LOGIN) -> None:
        self.place = place
        self.uid = str(uuid.uuid4())
        self.config, self.out, self.work = (folder / n for n in ("config", "out", "work"))
        for made in (self.config, self.out / "secrets", self.out / "env", self.work):
            made.mkdir(parents=True)
        self.log = folder / "log"
        self.jwt = folder / "token"
        self.jwt.write_text(place.kube.token(place.tenant.namespace, place.principal, "openbao", 3600))
        self._login_ttl = login_ttl
        self._folders = 0
        binary = tools.wheel_binary(Layout.from_environment(), pins.OPENBAO_WHEEL)
        self._env = {
            "PATH": f"{binary.parent}:{os.environ['PATH']}",
            "BAO_ADDR": place.bao.address,
            "BAO_CACERT": str(self.config / "..data" / "ca.crt"),
            "BAO_NAMESPACE": place.namespace,
            "AUTH_MOUNT": "k8s",
            "STATUS_MOUNT": "runtime-status",
            "ROLE": place.principal,
            "JWT": str(self.jwt),
            "CONFIG": str(self.config),
            "OUT": str(self.out),
            "WORK": str(self.work),
            "HOME": str(self.work),
            "POD_UID": self.uid,
        }

    def start(self) -> None:
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", agent.SCRIPT], env=self._env, stderr=self.log.open("ab"), start_new_session=True
        )

    def end(self) -> float:
        """As the kubelet does; seconds that it took."""
        began = time.monotonic()
        self.process.terminate()
        self.process.wait(15)
        return time.monotonic() - began

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def configure(self, revision: str, files: dict[str, str], overlap: int = 3) -> None:
        """Swaps the configuration as a whole; `files`: what each holds, as a template."""
        self._folders += 1
        folder = self.config / f"..{self._folders}"
        folder.mkdir()
        data = agent.config_map_data(
            [_credential(place, contents) for place, contents in files.items()],
            revision,
            overlap=overlap,
            principal=self.place.principal,
            vault_namespace=self.place.namespace.rpartition("/")[2],
            platform=dataclasses.replace(PLATFORM, vault_ca=self.place.bao.ca_file.read_text()),
        )
        data["login-ttl"] = f"{self._login_ttl}s\n"
        # as in a pod, but for the places
        there = data["agent.json"].replace(agent.WORK_DIR, str(self.work))
        data["agent.json"] = there.replace(f"{agent.TOKEN_DIR}/token", str(self.jwt))
        for name, text in data.items():
            (folder / name).write_text(text)
        link = self.config / "..new"
        link.symlink_to(folder)
        link.rename(self.config / "..data")

    def record(self) -> dict[str, str] | None:
        """What this pod serves, as the operator reads it."""
        return self.place.record(self.uid)

    def path(self, file: str = "secrets/db.json") -> Path:
        return self.out / file

    def user(self, file: str = "secrets/db.json") -> str:
        """The account that the workload reads now; empty if there is none."""
        return str(json.loads(self.path(file).read_text())["username"]) if self.path(file).exists() else ""


def _credential(place: str, contents: str) -> CredentialFile:
    folder, _, name = place.partition("/")
    head = contents[: contents.index("}}") + 2]
    lease = f"{head}{{{{ .LeaseDuration }}}}{{{{ end }}}}" if "database/creds" in contents else ""
    return CredentialFile(Folder(folder), name, contents, "0440", lease)


def account(role: str) -> str:
    """A file with an account of the database."""
    read = f'{{{{ with secret "database/creds/{role}" }}}}'
    return f'{read}{{"username":"{{{{ .Data.username }}}}","password":"{{{{ .Data.password }}}}"}}{{{{ end }}}}'


API_KEY: Final = '{{ with secret "kv/data/org/billing/stripe" }}{{ .Data.data.api_key }}{{ end }}'
WRONG: Final = '{{ with secret "kv/data/org/billing/stripe" }}{{ sprig_fail "key missing" }}{{ end }}'


class Client(threading.Thread):
    """Reads the file and logs in to the database, again and again, as a workload does for each connection."""

    def __init__(self, pod: Pod, library: Path, every: float = 0.05) -> None:
        super().__init__(daemon=True)
        self._pod, self._every = pod, every
        self.logins = 0
        self.failures: list[str] = []
        self.users: list[str] = []
        self.stopped = threading.Event()
        self._pq = ctypes.CDLL(str(library))
        self._pq.PQconnectdb.restype = self._pq.PQerrorMessage.restype = ctypes.c_void_p

    def run(self) -> None:
        while not self.stopped.wait(self._every):
            read = json.loads(self._pod.path().read_text())
            if read["username"] not in self.users:
                self.users.append(read["username"])
            self._log_in(read)

    def _log_in(self, read: dict[str, str]) -> None:
        database = self._pod.place.postgres
        where = f"host=127.0.0.1 port={database.port} dbname=postgres sslmode=verify-full sslrootcert={database.ca}"
        connection = ctypes.c_void_p(
            self._pq.PQconnectdb(f"{where} user={read['username']} password={read['password']}".encode())
        )
        self.logins += 1
        if self._pq.PQstatus(connection) != 0:
            said = ctypes.string_at(self._pq.PQerrorMessage(connection)).decode()
            self.failures.append(f"{time.strftime('%X')} {said}")
        self._pq.PQfinish(connection)


def until(probe: Callable[[], Any], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    folder = tmp_path_factory.mktemp("postgres")
    server = Postgres(folder / "postgres", folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def library(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client's, out of the same packages."""
    root = tmp_path_factory.mktemp("libpq") / "root"
    debian.unpack(root, ("libpq5", "libldap-2.5-0", "libsasl2-2"))
    folder = debian.libraries(root)
    for needed in ("libsasl2.so.2", "liblber-2.5.so.0", "libldap-2.5.so.0"):
        ctypes.CDLL(str(folder / needed), mode=ctypes.RTLD_GLOBAL)
    return folder / "libpq.so.5"


@pytest.fixture(scope="module")
def place(kube: Kube, bao: Bao, settings: OpenBaoSettings, postgres: Postgres) -> Place:
    return Place(kube, bao, OpenBao(settings), postgres)


@pytest.fixture
def pod(place: Place, tmp_path: Path) -> Iterator[Pod]:
    """Not yet started; afterwards all accounts are gone."""
    place.login_lasts(LOGIN)
    made = Pod(tmp_path, place)
    yield made
    if made.process.poll() is None:
        made.end()
    until(lambda: place.accounts() == 0, 2 * LOGIN)


def test_a_client_never_meets_a_dead_credential(pod: Pod, place: Place, library: Path) -> None:
    """Over several leases, several logins of the agent and a change of the configuration."""
    place.role("orders.long")
    pod.configure("r1", {"secrets/db.json": account("orders.long"), "secrets/key": API_KEY})
    pod.start()
    until(pod.record)
    client = Client(pod, library)
    client.start()
    most = 0
    for second in range(70):
        if second == 40:
            pod.configure("r2", {"secrets/db.json": account("orders.long")})
        time.sleep(1)
        most = max(most, place.accounts())
    client.stopped.set()
    client.join()
    assert client.failures == []
    assert client.logins > 500
    assert len(client.users) >= 7
    # beside the account that is read: one or two that were read, and their like
    assert most <= 5


def test_the_end_of_the_first_lease_is_on_record(pod: Pod, place: Place) -> None:
    for role, ttl in (("orders.soon", LEASE), ("orders.late", 600)):
        place.role(role, ttl)
    pod.configure("r1", {"env/late": account("orders.late"), "secrets/db.json": account("orders.soon")})
    pod.start()
    began = time.time()
    until(pod.record)
    first = pod.record() or {}
    assert first["revision"] == "r1"
    assert LEASE - 2 <= int(first["expires"]) - began <= LEASE + 5
    # one lease each, although two templates read it
    assert (place.leases("orders.soon"), place.leases("orders.late")) == (1, 1)
    until(lambda: int((pod.record() or {})["expires"]) > int(first["expires"]), 2 * LEASE)


def test_a_lease_that_outlives_its_login_is_recorded_to_end_with_it(pod: Pod, place: Place) -> None:
    place.role("orders.late", 600)
    pod.configure("r1", {"secrets/db.json": account("orders.late")})
    pod.start()
    began = time.time()
    until(pod.record)
    assert LOGIN - 2 <= int((pod.record() or {})["expires"]) - began <= LOGIN + 5


def test_old_leases_end_after_the_overlap_and_not_before(pod: Pod, place: Place) -> None:
    place.role("orders.late", 600)
    place.login_lasts(600)
    pod.configure("r1", {"secrets/db.json": account("orders.late")})
    pod.start()
    until(pod.record)
    former = pod.user()
    for revision in ("r2", "r3"):
        pod.configure(revision, {"secrets/db.json": account("orders.late"), "secrets/key": API_KEY}, overlap=6)
        until(lambda r=revision: (pod.record() or {})["revision"] == r)  # type: ignore[misc]
    assert pod.user() != former
    assert place.accounts() == 3
    until(lambda: place.accounts() == 1, 12)


def test_all_accounts_end_with_the_pod(pod: Pod, place: Place) -> None:
    place.role("orders.late", 600)
    place.login_lasts(600)
    pod.configure("r1", {"secrets/db.json": account("orders.late")})
    pod.start()
    until(pod.record)
    pod.configure("r2", {"secrets/db.json": account("orders.late")}, overlap=600)
    until(lambda: (pod.record() or {})["revision"] == "r2")
    assert place.accounts() == 2
    assert pod.end() < 5
    until(lambda: place.accounts() == 0, 3)


def test_accounts_of_a_killed_container_end_once_the_next_has_its_own(pod: Pod, place: Place) -> None:
    place.role("orders.late", 600)
    place.login_lasts(600)
    pod.configure("r1", {"secrets/db.json": account("orders.late")})
    pod.start()
    until(pod.record)
    former = pod.user()
    pod.kill()
    pod.start()
    until(lambda: pod.user() not in {"", former})
    until(lambda: place.accounts() == 1, 15)


def test_the_end_of_the_pod_does_not_wait_for_an_openbao_that_is_mute(pod: Pod, place: Place) -> None:
    place.role("orders.late", 600)
    pod.configure("r1", {"secrets/db.json": account("orders.late")})
    pod.start()
    until(pod.record)
    with place.bao.mute():
        # two tries of three seconds; the pod's grace is ten
        assert pod.end() < 9


@pytest.mark.parametrize("kind", ["no such role", "not allowed", "not as it should be"])
def test_a_credential_that_cannot_be_had_holds_up_no_other_and_costs_no_account(
    pod: Pod, place: Place, kind: str
) -> None:
    place.role("orders.late", 600)
    place.login_lasts(600)
    wrong = {
        "no such role": account("orders.none"),
        "not allowed": '{{ with secret "kv/data/org/others/stripe" }}{{ .Data.data.api_key }}{{ end }}',
        "not as it should be": WRONG,
    }[kind]
    files = {"secrets/a": wrong, "secrets/db.json": account("orders.late"), "secrets/key": API_KEY}
    pod.configure("r1", files)
    pod.start()
    until(lambda: pod.user() and pod.path("secrets/key").exists())
    user = pod.user()
    time.sleep(20)
    assert pod.user() == user
    assert place.accounts() == 1
    record = pod.record() or {}
    assert record["expires"].isdecimal()
    told = {name: text for name, text in record.items() if name != "expires"}
    assert told == {"revision": "", "partly": "r1", "unfit": "", "absent": "secrets/a"}
    assert not (pod.work / ".started").exists()


HEADER: Final = Route("odd", "api.example", 443, 9001, "authorization", "", "org/billing/odd#key")


@pytest.mark.parametrize(
    ("value", "unfit"),
    [
        ("c4n4ry's", "env/odd"),
        ("c4n4ry\x00", f"env/odd,proxy/{HEADER.file}"),
        ("c4n4ry\nof two lines", f"proxy/{HEADER.file}"),
        ("", f"proxy/{HEADER.file}"),
        (" c4n4ry", f"proxy/{HEADER.file}"),
    ],
)
def test_a_value_that_does_not_fit_is_on_record_by_its_file_and_never_itself(
    pod: Pod, place: Place, value: str, unfit: str
) -> None:
    """The record tells what the operator makes the binding's status of, and the next value clears it."""
    (pod.out / "proxy").mkdir()
    fetch = templates.kv("org/billing/odd", ("key",))
    variable = EnvDelivery.model_validate({"variables": [{"name": "ODD", "key": "key"}]})
    files = {
        "env/odd": fetch.around(templates.env_text(variable)),
        f"proxy/{HEADER.file}": fetch.around(secret_template(HEADER, 'index $d "key"')),
        "secrets/odd": fetch.around('{{ index $d "key" }}'),
    }
    place.write("kv/data/org/billing/odd", {"data": {"key": value}})
    pod.configure("r1", files)
    pod.start()
    began = time.monotonic()
    until(pod.record)
    assert time.monotonic() - began > 9
    assert pod.record() == {"revision": "", "expires": "", "partly": "r1", "unfit": unfit, "absent": ""}
    assert pod.path("secrets/odd").read_text() == value
    assert [pod.path(file).exists() for file in unfit.split(",")] == [False] * len(unfit.split(","))
    assert not (pod.work / ".started").exists()
    until(lambda: f"values that do not fit: {unfit}" in pod.log.read_text())
    assert "c4n4ry" not in pod.log.read_text()
    place.write("kv/data/org/billing/odd", {"data": {"key": "plain $(text)"}})
    until(lambda: pod.record() == {"revision": "r1", "expires": ""}, 40)
    assert pod.path("env/odd").read_text() == "ODD='plain $(text)'\n"
    until((pod.work / ".started").exists)


def test_neither_token_nor_password_nor_lease_is_in_the_log_or_in_the_workloads_folders(pod: Pod, place: Place) -> None:
    place.role("orders.long")
    pod.configure("r1", {"secrets/db.json": account("orders.long"), "secrets/a": account("orders.none")})
    pod.start()
    seen: set[str] = set()
    for _ in range(2 * LEASE):
        if pod.user():
            seen |= set(json.loads(pod.path().read_text()).values())
        seen |= {path.read_text().strip() for path in (pod.work / ".tokens").glob("[0-9]*")}
        time.sleep(1)
    log = pod.log.read_text()
    assert "orders.none" in log
    assert len(seen) >= 5
    assert [word for word in seen if word in log] == []
    assert sorted(p.name for p in pod.out.rglob("*") if p.is_file()) == ["db.json"]
