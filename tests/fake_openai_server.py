"""A server of chat completions, as a test wants it to answer.

with completions(lambda body: ("$ lsblk", "stop", None)) as url: ...  # http://127.0.0.1:PORT/v1
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# a request's body → text, finish_reason and usage; None: turned away with 503
Answering = Callable[[dict[str, Any]], tuple[str, str, dict[str, int] | None] | None]


@contextmanager
def completions(answer: Answering) -> Iterator[str]:
    """Serve until the block ends; `answer` is called for one request at a time."""
    turn = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with turn:
                made = answer(body)
            data = b""
            if made is not None:
                text, reason, usage = made
                choice = {"message": {"content": text}, "finish_reason": reason}
                data = json.dumps({"choices": [choice], "usage": usage}).encode()
            self.send_response(503 if made is None else 200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{served.server_address[1]}/v1"
        finally:
            served.shutdown()
            thread.join()
