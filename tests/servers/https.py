"""TLS servers with any certificate, which write down what they are asked."""

import datetime
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = datetime.timedelta(days=1)


class Authority:
    """Vouches for anything."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        basic = x509.BasicConstraints(ca=True, path_length=0)
        self._certificate = _builder(self._name, self._name, self._key, _DAY).add_extension(basic, critical=True)
        self.pem = _pem(self._certificate.sign(self._key, hashes.SHA256()))

    def server(self, folder: Path, *names: str, ends: datetime.timedelta = _DAY) -> Path:
        """One file with key and certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        return _write(folder, key, _server(self._name, key, names, ends).sign(self._key, hashes.SHA256()))


def self_signed(folder: Path, *names: str) -> Path:
    """A certificate that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    return _write(folder, key, _server(_named(names[0]), key, names, _DAY).sign(key, hashes.SHA256()))


@dataclass
class Request:
    """As it arrived, byte by byte."""

    line: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""

    def values(self, name: str) -> list[bytes]:
        return [value for key, value in self.headers if key.lower() == name.lower().encode()]


class Host:
    """An HTTPS server on loopback. `/redirect?URL` redirects, `/slow?SECONDS` takes its time, `/stream?SECONDS` in the midst, all else is ok."""

    def __init__(self, certificate: Path) -> None:
        self.requests: list[Request] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        try:
            with self._context.wrap_socket(raw, server_side=True) as connection, connection.makefile("rb") as stream:
                while request := _read(stream):
                    self.requests.append(request)
                    for part in _answer(request):
                        connection.sendall(part)
        except OSError:
            raw.close()


def send(port: int, request: bytes, *, seconds: float = 10) -> bytes:
    """All that comes back on one connection, up to its end."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        connection.sendall(request)
        while received := connection.recv(65536):
            answer += received
    return answer


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def _read(stream: BinaryIO) -> Request | None:
    line = stream.readline().rstrip(b"\r\n")
    if not line:
        return None
    headers = []
    while header := stream.readline().rstrip(b"\r\n"):
        name, _, value = header.partition(b":")
        headers.append((name, value.strip(b" \t")))
    request = Request(line, headers)
    if request.values("transfer-encoding"):
        while size := int(stream.readline() or b"0", 16):
            request.body += stream.read(size)
            stream.readline()
        while stream.readline().strip():
            pass
    elif length := request.values("content-length"):
        request.body = stream.read(int(length[0]))
    return request


def _answer(request: Request) -> Iterator[bytes]:
    path, _, query = request.line.split(b" ")[1].partition(b"?")
    if path == b"/slow":
        time.sleep(float(query))
    if path == b"/redirect":
        yield b"HTTP/1.1 302 Found\r\nlocation: %s\r\ncontent-length: 0\r\n\r\n" % query
    elif path == b"/stream":
        yield b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n"
        time.sleep(float(query))
        yield b"4\r\nlast\r\n0\r\n\r\n"
    else:
        yield b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nserver: upstream\r\n\r\nok"


def _named(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, ends: datetime.timedelta
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 2 * _DAY)
        .not_valid_after(now + ends)
    )


def _server(
    issuer: x509.Name, key: ec.EllipticCurvePrivateKey, names: Sequence[str], ends: datetime.timedelta
) -> x509.CertificateBuilder:
    names_of_host = x509.SubjectAlternativeName([_name_of_host(name) for name in names])
    return _builder(_named(names[0]), issuer, key, ends).add_extension(names_of_host, critical=False)


def _name_of_host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _write(folder: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> Path:
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / f"{certificate.serial_number}.pem"
    path.write_bytes(key.private_bytes(*form) + _pem(certificate).encode())
    return path
