"""A receiver of webhooks: a real HTTP server, which answers what the test says."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from types import TracebackType
from typing import Any


class Receiver:
    """Answers each request with the next of ``answers``, the last one for ever.

    An answer is a status; 0 closes the connection without one, -1 keeps the caller waiting.
    """

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers) or [204]
        self.messages: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.release = Event()
        receiver = self

        class Answering(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver._answer(self)

            def log_message(self, *_: Any) -> None:
                """Nothing is printed."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self._thread = Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        self.paths.append(request.path)
        self.headers.append(dict(request.headers.items()))
        self.messages.append(json.loads(body))
        status = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if status == -1:
            self.release.wait(30)
        if status > 0:
            request.send_response(status)
            if status in (301, 302, 307, 308):
                request.send_header("Location", self.url + "/elsewhere")
            request.end_headers()
        else:
            request.close_connection = True

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
