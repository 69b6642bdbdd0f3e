"""The plainest server of a chat model: `http.server`, a lock and `model.generate` in float32.

    python benchmarks/_plain_server.py FOLDER PORT

What benchmarks/serve.py is held against: one request at a time, every prompt read from its
beginning. Speaks as much of OpenAI's streaming protocol as the benchmark needs.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.generation.streamers import TextStreamer


class Events(TextStreamer):
    """Writes each piece of text as an event."""

    def __init__(self, tokenizer: Any, out: Any) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._out = out
        self.tokens = -1  # the prompt is put first

    def put(self, value: Any) -> None:
        """A token, sent at once. (Parts of a character come broken; nobody reads them.)"""
        self.tokens += 1
        if self.tokens:
            self._send({"content": self.tokenizer.decode(value, skip_special_tokens=True)})

    def end(self) -> None:
        pass

    def _send(self, delta: dict[str, str], **more: Any) -> None:
        body = {"choices": [{"index": 0, "delta": delta, **more}]}
        self._out.write(b"data: " + json.dumps(body).encode() + b"\n\n")
        self._out.flush()


def handler(folder: str) -> type[BaseHTTPRequestHandler]:
    """A class of handlers around one model."""
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder, local_files_only=True, dtype=torch.float32
    )
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            ids = tokenizer.apply_chat_template(
                asked["messages"], add_generation_prompt=True, return_tensors="pt", return_dict=True
            )
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            with lock, contextlib.suppress(OSError):  # the client is gone
                out = Events(tokenizer, self.wfile)
                model.generate(
                    **ids, max_new_tokens=asked["max_tokens"], do_sample=False, streamer=out
                )
                read = ids["input_ids"].shape[1]
                usage = {"prompt_tokens": read, "completion_tokens": out.tokens}
                last = {"choices": [], "usage": usage}
                self.wfile.write(b"data: " + json.dumps(last).encode() + b"\n\ndata: [DONE]\n\n")

        def log_message(self, *args: Any) -> None:
            pass

    return Handler


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), handler(sys.argv[1])).serve_forever()
