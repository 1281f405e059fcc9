"""A real PostgreSQL: Debian's out of its packages, not installed, with TLS, as a plain process."""

import os
import secrets
import subprocess
from pathlib import Path
from typing import Final

from axon_testbed import pki
from axon_testbed.layout import Layout
from servers import debian
from servers.processes import Process, ServerError, free_port, run

ADMIN: Final = "postgres"
_VERSION: Final = "15"
_PACKAGES: Final = (
    f"postgresql-{_VERSION}",
    f"postgresql-client-{_VERSION}",
    "libpq5",
    "libicu72",
    "libldap-2.5-0",
    "libsasl2-2",
    "libxml2",
)
_NOBODY: Final = 65534


class Postgres:
    """The server; `authority`: the folder of the test authority that vouches for it."""

    def __init__(self, folder: Path, authority: Path) -> None:
        folder.mkdir(parents=True)
        self.port = free_port()
        self.ca = Layout(authority).pki / "ca.crt"
        self._root = folder / "root"
        self._password = secrets.token_urlsafe(12)
        debian.unpack(self._root, _PACKAGES)
        self._env = {**os.environ, "LD_LIBRARY_PATH": str(debian.libraries(self._root))}
        certificate, key = pki.ensure_server(Layout(authority), "postgres", ("127.0.0.1",))
        for name, text in (("tls.crt", certificate), ("tls.key", key), ("password", self._password)):
            (folder / name).write_text(text)
            (folder / name).chmod(0o600)
        (folder / "hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
        # it does not run as root, which may not be able to become somebody who reaches this folder
        as_nobody = ["unshare", f"--map-user={_NOBODY}", f"--map-group={_NOBODY}"] if os.geteuid() == 0 else []
        made: list[str | Path] = [
            "-D",
            folder / "data",
            "-U",
            ADMIN,
            f"--pwfile={folder}/password",
            "--auth=scram-sha-256",
            "--no-sync",
        ]
        run([*as_nobody, self._program("initdb"), *made], self._env, timeout=60)
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "ssl": "on",
            "ssl_cert_file": folder / "tls.crt",
            "ssl_key_file": folder / "tls.key",
            "hba_file": folder / "hba.conf",
            "fsync": "off",
            "jit": "off",
            # what statements showed: no password may
            "log_statement": "all",
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        command: list[str | Path] = [*as_nobody, self._program("postgres"), "-D", folder / "data", *options]
        self._process = Process("postgres", command, folder, self._env)
        self.log = self._process.log

    def start(self) -> None:
        self._process.start(lambda: self.logs_in(ADMIN, self._password))

    def stop(self) -> None:
        self._process.stop()

    def account(self, name: str, password: str) -> None:
        """One that may make others, with a password that an administrator chose; or that password set anew."""
        exists = self.sql(f"SELECT 1 FROM pg_roles WHERE rolname = '{name}'")
        self.sql(f"""{"ALTER" if exists else "CREATE"} ROLE "{name}" LOGIN CREATEROLE PASSWORD '{password}'""")

    def sql(self, statement: str) -> str:
        """As the server's administrator.

        Raises:
            ServerError: it was refused.
        """
        done = self._psql(ADMIN, self._password, statement)
        if done.returncode:
            raise ServerError(done.stderr)
        return done.stdout.strip()

    def logs_in(self, user: str, password: str) -> bool:
        """Whether this is the password of an account."""
        return self.does(user, password, "SELECT 1")

    def does(self, user: str, password: str, statement: str) -> bool:
        """Whether an account may do this."""
        return self._psql(user, password, statement).returncode == 0

    def tries(self, user: str, password: str, statement: str) -> str:
        """What comes of a statement of an account: its answer, or why it is refused."""
        done = self._psql(user, password, statement)
        return f"{done.stdout}{done.stderr}".strip()

    def session(self, user: str, password: str, statement: str) -> "subprocess.Popen[str]":
        """One that goes on by itself."""
        command, env = self._command(user, password, statement)
        return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def _psql(self, user: str, password: str, statement: str) -> "subprocess.CompletedProcess[str]":
        command, env = self._command(user, password, statement)
        return subprocess.run(command, env=env, check=False, capture_output=True, text=True, timeout=30)

    def _command(self, user: str, password: str, statement: str) -> tuple[list[str | Path], dict[str, str]]:
        where = f"host=127.0.0.1 port={self.port} user={user} dbname=postgres sslmode=verify-full sslrootcert={self.ca}"
        return [self._program("psql"), where, "-tAqX", "-c", statement], {**self._env, "PGPASSWORD": password}

    def _program(self, name: str) -> Path:
        return self._root / "usr" / "lib" / "postgresql" / _VERSION / "bin" / name
