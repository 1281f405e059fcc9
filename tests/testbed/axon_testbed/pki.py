"""Certificates of the backends: one authority in the cache folder, one certificate per server."""

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from axon_testbed import stamps
from axon_testbed.layout import Layout

_CA_LIFETIME = datetime.timedelta(days=3650)
_LIFETIME = datetime.timedelta(days=365)
_RENEW_BEFORE = datetime.timedelta(days=30)
_LOCAL = ("localhost", "127.0.0.1")

Key = ec.EllipticCurvePrivateKey


def service_names(service: str, namespace: str) -> tuple[str, ...]:
    """The names under which a Service is dialled, and those of a port-forward."""
    full = f"{service}.{namespace}.svc"
    return (service, full, f"{full}.cluster.local", *_LOCAL)


def ensure_authority(layout: Layout) -> str:
    """The authority's certificate in PEM, made on first use."""
    certificate, key = layout.pki / "ca.crt", layout.pki / "ca.key"
    if not (_is_fresh(certificate) and key.exists()):
        private = ec.generate_private_key(ec.SECP256R1())
        name = _name("axon test bed")
        built = (
            _builder(name, name, private.public_key(), _CA_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_ca_usage(), critical=True)
            .sign(private, hashes.SHA256())
        )
        _write(certificate, key, built, private)
    return certificate.read_text()


def ensure_server(layout: Layout, name: str, hosts: Sequence[str]) -> tuple[str, str]:
    """A server's certificate chain and key in PEM; made anew when the authority, names or time call for it."""
    authority = x509.load_pem_x509_certificate(ensure_authority(layout).encode())
    certificate, key = layout.pki / f"{name}.crt", layout.pki / f"{name}.key"
    inputs = stamps.digest(authority.fingerprint(hashes.SHA256()), *hosts)
    stamp = f"certificate-{name}"
    if not (_is_fresh(certificate) and stamps.is_current(layout, stamp, inputs, [key])):
        signer = serialization.load_pem_private_key((layout.pki / "ca.key").read_bytes(), password=None)
        assert isinstance(signer, Key)
        private = ec.generate_private_key(ec.SECP256R1())
        built = (
            _builder(_name(name), authority.subject, private.public_key(), _LIFETIME)
            .add_extension(x509.SubjectAlternativeName([_san(host) for host in hosts]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            # all authorities have one name: in a file with several of them this tells which
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
            .sign(signer, hashes.SHA256())
        )
        _write(certificate, key, built, private)
        stamps.mark(layout, stamp, inputs)
    return certificate.read_text(), key.read_text()


def _is_fresh(certificate: Path) -> bool:
    if not certificate.exists():
        return False
    ends = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    return ends - _RENEW_BEFORE > _now()


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _san(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, lifetime: datetime.timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - datetime.timedelta(hours=1))
        .not_valid_after(_now() + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _ca_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write(certificate: Path, key: Path, built: x509.Certificate, private: Key) -> None:
    certificate.parent.mkdir(parents=True, exist_ok=True)
    # gone first and back last: an interrupted change leaves no certificate, rather than one of another key
    certificate.unlink(missing_ok=True)
    key.touch(mode=0o600)
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    part = certificate.with_suffix(".part")
    part.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    part.rename(certificate)
