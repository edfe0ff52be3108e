"""A custom allocation webhook over TLS, with a certificate of the emulator's CA."""

from __future__ import annotations

import contextlib
import http.server
import json
import pathlib
import ssl
import tempfile
import threading

import dev_ca
import documented

VERIFY = documented.python("allocation.md", "is_from_muster")["is_from_muster"]


class Webhook:
    """Sends `answers` in order, a list of (status, body), and then repeats the last one.

    A request whose signature is not that of the service instance is answered 401, by the code that the documents show.
    """

    def __init__(self, url: str, answers: list[tuple[int, dict]], key: str, id_scope: str):
        self.url = url
        self.key = key
        self.id_scope = id_scope
        # Each request as it came: the header with its signature, and the body.
        self.received: list[tuple[str, bytes]] = []
        self.requests: list[dict] = []
        self._answers = answers
        self._lock = threading.Lock()

    def answer(self, path: str, header: str, body: bytes) -> tuple[int, dict]:
        """Verifies and records the request, and returns the response."""
        if not VERIFY(header, body, self.key, self.id_scope, self.url):
            return 401, {}
        with self._lock:
            self.received.append((header, body))
            self.requests.append({"path": path, **json.loads(body)})
            return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    def definition(self) -> dict:
        """Returns the members of an enrollment that name this webhook."""
        definition = {"webhookUrl": self.url, "apiVersion": "2021-10-01"}
        return {"allocationPolicy": "custom", "customAllocationDefinition": definition}


@contextlib.contextmanager
def serving(dev, *answers: tuple[int, dict]):
    """Serves a webhook on a free port until the context ends."""
    with tempfile.TemporaryDirectory() as directory:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*dev_ca.issue(dev, pathlib.Path(directory), "127.0.0.1"))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        url = f"https://127.0.0.1:{server.server_port}/choose?code=secret"
        server.webhook = Webhook(url, list(answers), dev.webhook_key(), dev.id_scope)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.webhook
        finally:
            server.shutdown()
            server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        header = self.headers.get("x-muster-signature-v2", "")
        status, answer = self.server.webhook.answer(self.path, header, body)
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        """Logs nothing; failures show the requests."""
