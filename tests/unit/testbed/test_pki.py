"""Certificates are kept while they fit, and made anew when their names or their authority change."""

import ssl
from pathlib import Path

from axon_testbed import pki
from axon_testbed.layout import Layout


def test_a_server_certificate_verifies_against_the_authority(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    authority = pki.ensure_authority(layout)
    pki.ensure_server(layout, "server", ("server", "127.0.0.1"))
    trust = ssl.create_default_context(cadata=authority)
    trust.load_cert_chain(layout.pki / "server.crt", layout.pki / "server.key")
    assert trust.cert_store_stats()["x509_ca"] == 1


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
