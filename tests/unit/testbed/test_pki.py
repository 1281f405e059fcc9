"""Certificates are kept while they fit, and made anew when their names or their authority change."""

import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from axon_testbed import pki
from axon_testbed.layout import Layout


def test_a_server_certificate_verifies_against_the_authority(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    authority = pki.ensure_authority(layout)
    chain, _ = pki.ensure_server(layout, "server", ("server", "127.0.0.1"))
    certificate = x509.load_pem_x509_certificate(chain.encode())
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.encode()))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["server"]
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("127.0.0.1")]
    # the key is the certificate's own
    ssl.create_default_context().load_cert_chain(layout.pki / "server.crt", layout.pki / "server.key")
    stranger = x509.load_pem_x509_certificate(pki.ensure_authority(Layout(tmp_path / "other")).encode())
    with pytest.raises(InvalidSignature):
        certificate.verify_directly_issued_by(stranger)


def test_keys_are_private(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    pki.ensure_server(layout, "server", ("server",))
    assert {(layout.pki / name).stat().st_mode & 0o777 for name in ("ca.key", "server.key")} == {0o600}


def test_a_certificate_is_kept_until_its_names_change(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    first = pki.ensure_server(layout, "server", ("one",))
    assert pki.ensure_server(layout, "server", ("one",)) == first
    assert pki.ensure_server(layout, "server", ("one", "two")) != first


def test_a_new_authority_renews_the_servers(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    first = pki.ensure_server(layout, "server", ("one",))
    (layout.pki / "ca.crt").unlink()
    assert pki.ensure_server(layout, "server", ("one",)) != first
