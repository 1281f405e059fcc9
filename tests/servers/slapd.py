"""A real directory: Debian's slapd out of its packages, not installed, with TLS, as a plain process."""

import os
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path

from axon_testbed import pki
from axon_testbed.layout import Layout
from servers import debian
from servers.processes import Process, free_port, run

SUFFIX = "dc=corp,dc=example"
READER = f"cn=reader,{SUFFIX}"
_PACKAGES = ("slapd", "libltdl7", "libodbc2", "libwrap0")
_CONFIG = """
include {root}/etc/ldap/schema/core.schema
include {root}/etc/ldap/schema/cosine.schema
include {root}/etc/ldap/schema/inetorgperson.schema
modulepath {root}/usr/lib/ldap
moduleload back_mdb
pidfile {folder}/slapd.pid
TLSCertificateFile {folder}/tls.crt
TLSCertificateKeyFile {folder}/tls.key
database mdb
suffix "{suffix}"
directory {folder}/data
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{reader}" read by * none
"""


class Slapd:
    """The server; `authority`: the folder of the test authority that vouches for it."""

    def __init__(self, folder: Path, authority: Path, people: Mapping[str, str], groups: Mapping[str, str]) -> None:
        """`people`: name to password; `groups`: name to its one member."""
        (folder / "data").mkdir(parents=True)
        self.port, self.start_tls_port = free_port(), free_port()
        self.reader_password = secrets.token_urlsafe(12)
        root, config = folder / "root", folder / "slapd.conf"
        debian.unpack(root, _PACKAGES)
        certificate, key = pki.ensure_server(Layout(authority), "slapd", ("127.0.0.1",))
        (folder / "tls.crt").write_text(certificate)
        (folder / "tls.key").write_text(key)
        config.write_text(_CONFIG.format(root=root, folder=folder, suffix=SUFFIX, reader=READER))
        (folder / "content.ldif").write_text(self._content(people, groups))
        env = {"LD_LIBRARY_PATH": str(debian.libraries(root))}
        slapd = root / "usr" / "sbin" / "slapd"
        run([slapd, "-T", "add", "-f", config, "-l", folder / "content.ldif"], {**os.environ, **env}, timeout=60)
        addresses = f"ldaps://127.0.0.1:{self.port} ldap://127.0.0.1:{self.start_tls_port}"
        self._process = Process("slapd", [slapd, "-d", "0", "-f", config, "-h", addresses], folder, env)

    def start(self) -> None:
        self._process.start(self._answers)

    def stop(self) -> None:
        self._process.stop()

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _content(self, people: Mapping[str, str], groups: Mapping[str, str]) -> str:
        entries = [
            f"dn: {SUFFIX}\nobjectClass: domain\ndc: corp",
            f"dn: {READER}\nobjectClass: person\ncn: reader\nsn: r\nuserPassword: {self.reader_password}",
            *(f"dn: ou={ou},{SUFFIX}\nobjectClass: organizationalUnit\nou: {ou}" for ou in ("people", "groups")),
        ]
        for name, password in people.items():
            entries.append(
                f"dn: {person_dn(name)}\nobjectClass: inetOrgPerson\nuid: {name}\ncn: {name}\nsn: Doe\n"
                f"mail: {name}@corp.example\nuserPassword: {password}"
            )
        for name, member in groups.items():
            entries.append(
                f"dn: cn={name},ou=groups,{SUFFIX}\nobjectClass: groupOfNames\ncn: {name}\nmember: {person_dn(member)}"
            )
        return "\n\n".join(entries) + "\n"


def person_dn(name: str) -> str:
    """Where a person stands."""
    return f"uid={name},ou=people,{SUFFIX}"
