"""A token endpoint (OAuth 2.0, client credentials) on loopback, for tests."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

from tests.certificates import TokenIssuer

CLIENT_ID, CLIENT_SECRET = "worker:7", "s3cret / with & signs"
"""With characters that RFC 6749 has encoded before they go into the header."""


@dataclass
class TokenEndpoint:
    """Where it listens, and what it has issued."""

    url: str
    lifetime_s: float
    issued: list[str] = field(default_factory=list)


@contextmanager
def token_endpoint(issuer: TokenIssuer, lifetime_s: float = 300.0) -> Iterator[TokenEndpoint]:
    """Sells tokens of the subject "worker" to the one client that it knows."""
    expected = base64.b64encode(b"worker%3A7:s3cret+%2F+with+%26+signs").decode()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            if self.headers["Authorization"] != f"Basic {expected}":
                self._answer(401, {"error": "invalid_client"})
            elif form != {"grant_type": ["client_credentials"], "scope": ["kafka"]}:
                self._answer(400, {"error": "invalid_request"})
            else:
                endpoint.issued.append(issuer.token("worker", lifetime_s))
                self._answer(200, {"access_token": endpoint.issued[-1], "expires_in": lifetime_s})

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def _answer(self, status: int, value: object) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        endpoint = TokenEndpoint(f"http://127.0.0.1:{server.server_port}/token", lifetime_s)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield endpoint
        server.shutdown()
        thread.join()
