"""The Debian root file system under every image that is built here."""

import shutil
import ssl
from pathlib import Path

from axon_testbed import pins, shell, stamps
from axon_testbed.docker import Daemon, release_mounts
from axon_testbed.layout import Layout
from axon_testbed.progress import step

_MIRROR = "http://deb.debian.org"
_SOURCES = f"""\
deb {_MIRROR}/debian {pins.DEBIAN_SUITE} main
deb {_MIRROR}/debian {pins.DEBIAN_SUITE}-updates main
deb {_MIRROR}/debian-security {pins.DEBIAN_SUITE}-security main
"""
# Smaller and faster installs: no manuals, no syncing of files that a failed build throws away.
_DPKG = """\
force-unsafe-io
path-exclude /usr/share/doc/*
path-exclude /usr/share/man/*/*
path-exclude /usr/share/locale/*
"""
_CONFIGURATION = {
    "etc/apt/sources.list": _SOURCES,
    "etc/apt/apt.conf.d/90testbed": 'APT::Install-Recommends "false";\nAcquire::Languages "none";\n',
    "etc/dpkg/dpkg.cfg.d/90testbed": _DPKG,
    # Builds on this machine trust what this machine trusts, also behind a proxy with a CA of its own.
    "etc/pip.conf": "[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n",
    "etc/uv/uv.toml": "system-certs = true\n",
}
_WASTE = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale")


def ensure_image(layout: Layout, daemon: Daemon) -> str:
    """Imports the root file system as an image and returns its id."""
    archive = _ensure_archive(layout)
    inputs = stamps.of_big_files([archive])
    stamp = "debian-image"
    image = daemon.image_id(pins.DEBIAN_IMAGE)
    if image and stamps.is_current(layout, stamp, inputs + image, []):
        return image
    with step(f"import {pins.DEBIAN_IMAGE}"):
        stamps.forget(layout, stamp)
        image = daemon.output("import", "--change", 'CMD ["/bin/sh"]', archive, pins.DEBIAN_IMAGE)
    stamps.mark(layout, stamp, inputs + image)
    return image


def _ensure_archive(layout: Layout) -> Path:
    archive = layout.downloads / f"debian-{pins.DEBIAN_SUITE}.tar"
    trust = _host_trust()
    inputs = stamps.digest(pins.DEBIAN_SUITE, repr(_CONFIGURATION), trust)
    if stamps.is_current(layout, archive.name, inputs, [archive]):
        return archive
    shell.install_debian({"debootstrap": "debootstrap"}, layout.logs / "debootstrap-install.log")
    root = layout.cache / "scratch" / "debian"
    with step(f"unpack Debian {pins.DEBIAN_SUITE} (debootstrap)"):
        stamps.forget(layout, archive.name)
        # a killed debootstrap leaves its /proc mounted
        release_mounts(root)
        if root.exists():
            shutil.rmtree(root)
        root.mkdir(parents=True)
        archive.parent.mkdir(parents=True, exist_ok=True)
        shell.run(
            [
                "debootstrap",
                "--variant=minbase",
                "--include=ca-certificates",
                pins.DEBIAN_SUITE,
                root,
                f"{_MIRROR}/debian",
            ],
            layout.logs / "debootstrap.log",
        )
        for waste in _WASTE:
            shutil.rmtree(root / waste, ignore_errors=True)
        for name, text in {**_CONFIGURATION, "etc/ssl/certs/ca-certificates.crt": trust}.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        part = archive.with_name(f"{archive.name}.part")
        shell.output(["tar", "--directory", root, "--create", "--file", part, "."])
        part.rename(archive)
        shutil.rmtree(root)
    stamps.mark(layout, archive.name, inputs)
    return archive


def _host_trust() -> str:
    """The certificate authorities that this machine trusts."""
    bundle = ssl.get_default_verify_paths().cafile
    return Path(bundle).read_text() if bundle else ""
