"""Addresses of servers, as settings and options name them."""

import ipaddress
from urllib.parse import urlsplit


def check_url(what: str, url: str, *, with_path: bool) -> None:
    """Raises ValueError unless it is scheme, host, port (and path), and encrypted on all ways but loopback."""
    parts = urlsplit(url)
    clean = ".." not in parts.path if with_path else parts.path in {"", "/"}
    if parts.username is not None or parts.query or parts.fragment or not clean:
        form = "scheme, host, port and path" if with_path else "scheme, host and port"
        raise ValueError(f"{what} has to be {form}, nothing more")
    if not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname))):
        raise ValueError(f"{what} has to begin with https:// (http:// only to loopback)")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
