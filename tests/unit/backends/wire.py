"""A server on loopback that records exactly what arrives, and answers what it is told."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CANARY = "c4n4ry-s3cr3t"
"""Stands for whatever a library or a server might say; must never come out of an adapter."""


@dataclass(frozen=True)
class Seen:
    """A request as it came over the wire; the path is not normalised by anything on this side."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """An answer; `body` is sent as JSON unless it is text."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Wire:
    """The running server. `answer` may be replaced at any time."""

    url: str
    answer: Callable[[Seen], Reply]
    seen: list[Seen] = field(default_factory=list)

    def paths(self, login: str) -> list[str]:
        """Of all requests but logins."""
        return [request.path for request in self.seen if request.path != login]

    def count(self, path: str) -> int:
        return sum(request.path == path for request in self.seen)


class LoginServer:
    """Answers for a system: logs in with numbered tokens; any other request gets `reply`."""

    def __init__(self, login: str, granted: Callable[[str], Any], body: Any) -> None:
        """`login`: the path of a login; `granted`: what is answered to one, by its token; `body`: to anything else."""
        self.logins = 0
        self.reply: Callable[[Seen], Reply] = lambda _: Reply(200, body)
        self.login_reply: Callable[[], Reply] = self.welcome
        self._login = login
        self._granted = granted
        self._lock = threading.Lock()

    def welcome(self) -> Reply:
        return Reply(200, self._granted(f"token-{self.logins}"))

    def __call__(self, request: Seen) -> Reply:
        if request.path != self._login:
            return self.reply(request)
        with self._lock:
            self.logins += 1
        return self.login_reply()


class Clock:
    """A monotonic clock that only moves when told, and knows how often each thread has looked at it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.looks: Counter[int] = Counter()

    def __call__(self) -> float:
        self.looks[threading.get_ident()] += 1
        return self.now

    def pause(self, seconds: float) -> None:
        """As whoever sleeps sees it."""
        self.now += seconds


@contextmanager
def serving(answer: Callable[[Seen], Reply]) -> Iterator[Wire]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # head and body in one packet: in two, the kernel holds the second back for 40 ms
        wbufsize = -1

        def answer_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            request = Seen(self.command, self.path, dict(self.headers), self.rfile.read(length))
            wire.seen.append(request)
            reply = wire.answer(request)
            content = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
            sent = b"" if reply.body is None else content.encode()
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(sent)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the base class's name)
            pass

        do_GET = do_POST = do_PUT = do_DELETE = do_LIST = answer_any  # noqa: N815

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        # all workers connect at once
        request_queue_size = 128

    server = Server(("127.0.0.1", 0), Handler)
    wire = Wire(f"http://127.0.0.1:{server.server_address[1]}", answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield wire
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
