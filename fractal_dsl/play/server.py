"""The server of the page. It listens on the loopback device only, and answers only the page that it has served.

Its address contains a key, so that other users of the machine cannot use it. It refuses requests with the name of
another host (DNS rebinding) or from another page (Origin).
"""

from __future__ import annotations

import contextlib
import errno
import hmac
import itertools
import json
import secrets
import sys
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from fractal_dsl.base.errors import UserError
from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.language.source import MAX_SOURCE_BYTES
from fractal_dsl.play.answers import KINDS
from fractal_dsl.play.asked import spec_text
from fractal_dsl.play.documents import SHARED, Documents
from fractal_dsl.play.pages import ASSETS, asset, page_config, page_html, page_policy
from fractal_dsl.play.worker import Superseded, Worker

HOST = "127.0.0.1"
MAX_BODY = 4 * MAX_SOURCE_BYTES
_PORTS = 100
_NAMES = (HOST, "localhost")
_WORKERS = {"check": "check", "picture": "picture", "export": "picture", "plan": "picture"}
"""The workers that answer questions by kind; ``assist`` answers all others."""


class Server(ThreadingHTTPServer):
    """Serves the page at ``address`` until ``shutdown``. ``server_close`` ends the processes that it started."""

    daemon_threads = True

    def __init__(
        self,
        port: int,
        documents: Documents,
        params: Mapping[str, str],
        net: str | None,
        *,
        allow_python: bool = False,
    ) -> None:
        """Listen on ``port``, or the next free one; 0 is any port. ``params`` and ``net`` are for the first document.

        ``allow_python`` lets ``extern`` load Python code.

        Raises UserError if no port is free.
        """
        self.documents, self.params, self.net = documents, params, net
        self.key = secrets.token_urlsafe(12)
        self.pages = itertools.count(1)
        self.latest: dict[tuple[str, int], int] = {}
        self.workers: dict[str, Worker] = {}
        self._bind(port)
        self.workers = {kind: Worker(allow_python=allow_python) for kind in ("check", "picture", "assist")}

    def _bind(self, port: int) -> None:
        for candidate in [port] if port == 0 else range(port, min(port + _PORTS, 65536)):
            try:
                super().__init__((HOST, candidate), _Handler)
                return
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise UserError(f"cannot listen on {HOST}: {error.strerror}") from None
        raise UserError(f"no free port from {port} on: choose another with `--port`")

    def server_bind(self) -> None:
        """Bind as the base class does, but without asking a name server for the name of the loopback device."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, int(self.server_address[1])

    @property
    def address(self) -> str:
        """The URL of the page."""
        return f"http://{HOST}:{self.server_port}/{self.key}/"

    def server_close(self) -> None:
        super().server_close()
        for worker in self.workers.values():
            worker.stop()

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if not isinstance(error, OSError):  # a client that disconnects is not an error
            print(f"internal error: {type(error).__name__}: {error}", file=sys.stderr)

    # --- requests

    def page(self) -> str:
        """The page, with its configuration."""
        config = page_config(self.documents) | {"page": next(self.pages), "params": self.params, "net": self.net}
        return page_html(config, "over_http.js")

    def asked(self, kind: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The answer of a worker, or ``stale`` if the page has sent a newer request."""
        page, number = int(asked["page"]), int(asked["number"])
        self.latest[kind, page] = max(number, self.latest.get((kind, page), 0))
        text = spec_text(self.documents, asked)
        trusted = asked["document"] != SHARED
        worker = self.workers[_WORKERS.get(kind, "assist")]
        try:
            return worker.ask(kind, text, asked, lambda: self.latest[kind, page] > number, trusted=trusted)
        except Superseded:
            return {"stale": True}


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "fractal-dsl", ""
    timeout = 60

    def do_GET(self) -> None:
        self._reply(self._get)

    def do_POST(self) -> None:
        self._reply(self._post)

    def _reply(self, method: Any) -> None:
        try:
            method(self._path())
        except _Refused as error:
            self.close_connection = True  # the body may not have been read
            self._json({"error": str(error)}, error.status)
        except FracError as error:
            self._json({"error": error.diagnostics[0].message})
        except UserError as error:
            self._json({"error": str(error)})
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
            self._json({"error": "malformed request"}, 400)

    def _path(self) -> str:
        """The path after the key. Refuses requests that do not come from the page itself."""
        host = self.headers.get("Host", "")
        if host.rpartition(":")[0] not in _NAMES:
            raise _Refused(403, "wrong Host header: open the address that `fractal-dsl play` has printed")
        origin = self.headers.get("Origin")
        if (self.command == "POST" or origin is not None) and origin != f"http://{host}":
            raise _Refused(403, "wrong Origin header: only the page of this server can send requests")
        _, key, path = self.path.split("/", 2) if self.path.count("/") >= 2 else ("", "", "")
        if not hmac.compare_digest(key.encode(), self.server.key.encode()):
            raise _Refused(404, "open the whole address that `fractal-dsl play` has printed")
        return path

    def _get(self, path: str) -> None:
        kind, _, name = path.partition("/")
        if path == "":
            self._send(self.server.page(), "text/html; charset=utf-8", page_policy(), 200)
        elif kind == "page" and name in ASSETS:
            self._send(asset(name), ASSETS[name], "default-src 'none'", 200)
        else:
            raise _Refused(404, "not found")

    def _post(self, path: str) -> None:
        asked = self._body()
        match path:
            case "open":
                self._json(self.server.documents.opened(str(asked["document"])))
            case "save":
                self._json({"digest": self.server.documents.save(str(asked["text"]), str(asked["digest"]))})
            case _ if path in KINDS:
                self._json(self.server.asked(path, asked))
            case _:
                raise _Refused(404, "not found")

    def _body(self) -> Any:
        if self.headers.get_content_type() != "application/json":
            raise _Refused(415, "the request must be JSON")
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise _Refused(411, "the Content-Length header is missing")
        if int(length) > MAX_BODY:
            raise _Refused(413, f"the text is over the limit of {MAX_SOURCE_BYTES:,} bytes")
        return json.loads(self.rfile.read(int(length)))

    def _json(self, content: Mapping[str, Any], status: int = 200) -> None:
        self._send(json.dumps(content), "application/json", "default-src 'none'", status)

    def _send(self, content: str, type: str, policy: str, status: int) -> None:
        data = content.encode("utf-8", "replace")
        headers = {
            "Content-Type": type,
            "Content-Length": str(len(data)),
            "Content-Security-Policy": policy,
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
        with contextlib.suppress(OSError):  # the client may have disconnected
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass
