"""A small OpenID Connect provider: whoever comes is logged in as its one user, and it is strict about its client."""

import base64
import hashlib
import json
import secrets
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

CLIENT = "axon-realm"


class Provider:
    """Its user, the secret of its client, and what it has refused."""

    def __init__(self, client_secret: str, user: Mapping[str, Any]) -> None:
        self.client_secret = client_secret
        self.user = user
        self.refused = 0
        self.port = 0
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._codes: dict[str, Mapping[str, str]] = {}

    @property
    def issuer(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def begin(self, query: Mapping[str, str]) -> str:
        """Where the browser goes next."""
        code = secrets.token_urlsafe(16)
        self._codes[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def tokens(self, form: Mapping[str, str]) -> dict[str, Any] | None:
        """For a code, the client's secret and the verifier of PKCE; None if one of them is wrong."""
        query = self._codes.pop(form.get("code", ""), None)
        verifier = _b64(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if query is None or form.get("client_secret") != self.client_secret or verifier != query["code_challenge"]:
            self.refused += 1
            return None
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "typ": "ID", **self.user}
        token = self._signed({**claims, "nonce": query.get("nonce", "")})
        return {"access_token": token, "id_token": token, "token_type": "Bearer", "expires_in": 300}

    def keys(self) -> dict[str, Any]:
        numbers = self._key.public_key().public_numbers()
        key = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "one"}
        return {"keys": [{**key, "n": _b64(numbers.n.to_bytes(256, "big")), "e": _b64(b"\x01\x00\x01")}]}

    def _signed(self, claims: Mapping[str, Any]) -> str:
        header = {"alg": "RS256", "kid": "one", "typ": "JWT"}
        text = ".".join(_b64(json.dumps(part).encode()) for part in (header, claims))
        return f"{text}.{_b64(self._key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


@contextmanager
def serving(provider: Provider, certificate: Path, key: Path) -> Iterator[Provider]:
    """While it answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path == "/keys":
                return self._json(200, provider.keys())
            self.send_response(302)
            self.send_header("Location", provider.begin(_flat(parts.query)))
            self.send_header("Content-Length", "0")
            return self.end_headers()

        def do_POST(self) -> None:
            tokens = provider.tokens(_flat(self.rfile.read(int(self.headers["Content-Length"])).decode()))
            self._json(200 if tokens else 401, tokens or {"error": "invalid_client"})

        def _json(self, status: int, body: Any) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    provider.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()


def _flat(query: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(query).items()}


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
