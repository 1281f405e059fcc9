"""A proxy in front of OpenBao and Keycloak that counts what passes and can misbehave for one tenant or all.

Own code, because no proxy at hand tells tenants apart by OpenBao's namespace header and Keycloak's realm path
(toxiproxy sees only bytes), and aiohttp's parser refuses OpenBao's method LIST.
"""

import asyncio
import contextlib
import json
import re
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final

_LIMIT: Final = 4 * 2**20
_REALM: Final = re.compile(r"^(?:/admin)?/realms/([^/?]+)")
_NAMESPACE: Final = re.compile(rb"(?im)^x-vault-namespace:[^\r]*\r\n")
_WRITES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class Backend(StrEnum):
    """Who stands behind the proxy."""

    OPENBAO = "openbao"
    KEYCLOAK = "keycloak"


class Mode(StrEnum):
    """What happens to a request."""

    HANG = "hang"
    """No answer, until the fault is lifted; then the connection ends."""
    DELAY = "delay"
    """Passed on late."""
    STATUS = "status"
    """Answered by the proxy with a status code."""
    RESET = "reset"
    """The connection is reset once the request has been read."""
    NO_NAMESPACES = "no-namespaces"
    """Passed on without OpenBao's namespace, as a server sees it that knows no namespaces (Vault CE)."""
    HALF_BODY = "half-body"
    """Passed on, and the connection ends in the middle of the answer."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a backend."""

    mode: Mode
    tenant: str = ""
    """OpenBao namespace or realm, whole; empty for all."""
    status: int = 503
    seconds: float = 0.0
    """Of a delay."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One request."""

    at: float
    """Monotonic seconds."""
    backend: Backend
    tenant: str
    method: str
    path: str

    @property
    def is_write(self) -> bool:
        """Whether it changes something; a login does not."""
        return self.method in _WRITES and not self.path.endswith(("/login", "/token"))


@dataclass
class _Upstream:
    port: int
    tls: ssl.SSLContext | None
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)


class Proxy:
    """Runs in a thread of its own. Everything here may be called from any thread."""

    def __init__(self, ports: dict[Backend, int], tls: Mapping[Backend, ssl.SSLContext]) -> None:
        """`ports`: where clients find each backend; `tls`: whom they find there over TLS."""
        self._ports = ports
        self._tls = tls
        self._upstreams: dict[Backend, _Upstream] = {}
        self._faults: dict[Backend, Fault] = {}
        self._lifted = asyncio.Event()
        self._seen: list[Seen] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        for backend, port in ports.items():
            client = partial(self._client, backend=backend)
            serve = asyncio.start_server(client, "127.0.0.1", port, limit=_LIMIT, ssl=tls.get(backend))
            asyncio.run_coroutine_threadsafe(serve, self._loop).result(10)

    def url(self, backend: Backend) -> str:
        """What clients are told."""
        return f"{'https' if backend in self._tls else 'http'}://127.0.0.1:{self._ports[backend]}"

    def lead_to(self, backend: Backend, port: int, ca_file: Path | None = None) -> None:
        """Where the real server is; TLS if its authority is given."""
        self._upstreams[backend] = _Upstream(port, ssl.create_default_context(cafile=ca_file) if ca_file else None)

    @contextmanager
    def fault(self, backend: Backend, fault: Fault) -> Iterator[None]:
        """The backend misbehaves for as long as the context lasts."""
        self._faults[backend] = fault
        try:
            yield
        finally:
            del self._faults[backend]
            self._loop.call_soon_threadsafe(self._lift)

    def since(self, moment: float) -> list[Seen]:
        """The requests that came after a moment of the monotonic clock."""
        return [seen for seen in self._seen if seen.at >= moment]

    def forget(self) -> None:
        """Drops the record of past requests."""
        self._seen = []

    def stop(self) -> None:
        """Ends the thread; connections end with it."""
        self._loop.call_soon_threadsafe(self._end)
        self._thread.join(5)

    def _end(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        # behind what the cancelled tasks still have to do
        self._loop.call_soon(self._loop.stop)

    def _lift(self) -> None:
        self._lifted.set()
        self._lifted = asyncio.Event()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, backend: Backend) -> None:
        with contextlib.suppress(OSError, EOFError, asyncio.LimitOverrunError):
            while await self._request(reader, writer, backend):
                pass
        writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, backend: Backend) -> bool:
        """Serves one request; whether the connection can take another one."""
        message = await _read(reader)
        method, target, _ = message.start.split(" ", 2)
        tenant = _tenant(backend, target, message.headers)
        self._seen.append(Seen(time.monotonic(), backend, tenant, method, target.partition("?")[0]))
        fault = self._faults.get(backend)
        if fault is None or fault.tenant not in {"", tenant}:
            return await self._pass(message, writer, backend)
        match fault.mode:
            case Mode.HANG:
                await self._lifted.wait()
                return False
            case Mode.DELAY:
                await asyncio.sleep(fault.seconds)
                return await self._pass(message, writer, backend)
            case Mode.STATUS:
                body = json.dumps({"errors": ["fault"]})
                head = f"HTTP/1.1 {fault.status} Fault\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
                writer.write(f"{head}\r\n\r\n{body}".encode())
                await writer.drain()
                return True
            case Mode.RESET:
                return _reset(writer)
            case Mode.NO_NAMESPACES:
                return await self._pass(replace(message, head=_NAMESPACE.sub(b"", message.head)), writer, backend)
            case Mode.HALF_BODY:
                return await self._pass(message, writer, backend, half=True)

    async def _pass(
        self, message: "_Message", writer: asyncio.StreamWriter, backend: Backend, *, half: bool = False
    ) -> bool:
        upstream = self._upstreams[backend]
        try:
            answer, connection = await _exchange(upstream, message)
        except (OSError, EOFError):
            return _reset(writer)
        if answer.keeps_open:
            upstream.idle.append(connection)
        else:
            connection[1].close()
        if half:
            raw = answer.raw
            writer.write(raw[: len(raw) - max(1, len(answer.body) // 2)])
            await writer.drain()
            return False
        writer.write(answer.raw)
        await writer.drain()
        return answer.keeps_open


@dataclass(frozen=True, slots=True)
class _Message:
    """A request or an answer, as it came."""

    head: bytes
    body: bytes
    start: str
    headers: dict[str, str]

    @property
    def raw(self) -> bytes:
        return self.head + self.body

    @property
    def keeps_open(self) -> bool:
        return self.headers.get("connection", "").lower() != "close"


async def _exchange(
    upstream: _Upstream, request: _Message
) -> tuple[_Message, tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Sends a request and reads the answer; once more on a new connection if the kept one was closed meanwhile."""
    while True:
        kept = bool(upstream.idle)
        reader, writer = upstream.idle.pop() if kept else await _connect(upstream)
        try:
            writer.write(request.raw)
            await writer.drain()
            return await _read(reader, of=request.start.split(" ", 1)[0]), (reader, writer)
        except (OSError, EOFError):
            writer.close()
            if not kept:
                raise


async def _connect(upstream: _Upstream) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", upstream.port, ssl=upstream.tls, limit=_LIMIT)


async def _read(reader: asyncio.StreamReader, of: str = "") -> _Message:
    """One message. `of`: the method of the request that it answers; empty for a request."""
    head = await reader.readuntil(b"\r\n\r\n")
    start, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if of == "HEAD" or (of and start.split(" ", 2)[1] in {"204", "304"}):
        body = b""
    elif "chunked" in headers.get("transfer-encoding", ""):
        body = await _chunks(reader)
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return _Message(head, body, start, headers)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while True:
        size = await reader.readuntil(b"\r\n")
        parts += [size, await reader.readexactly(int(size, 16) + 2)]
        if int(size, 16) == 0:
            return b"".join(parts)


def _tenant(backend: Backend, target: str, headers: dict[str, str]) -> str:
    if backend is Backend.OPENBAO:
        return headers.get("x-vault-namespace", "").rpartition("/")[2]
    found = _REALM.match(target)
    return found[1] if found else ""


def _reset(writer: asyncio.StreamWriter) -> bool:
    """RST instead of FIN."""
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return False


def per_second(requests: list[Seen]) -> Counter[int]:
    """How many came in each second."""
    return Counter(int(seen.at) for seen in requests)
