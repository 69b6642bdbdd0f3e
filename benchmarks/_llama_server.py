"""llama.cpp's own server out of the wheel xllamacpp, which brings it compiled: for benchmarks/serve.py.

    VENV/bin/python benchmarks/_llama_server.py MODEL.gguf PORT THREADS SLOTS TOKENS

Run by a Python that has xllamacpp (nothing of llmkit is needed there). Needs no compiler. TOKENS are
shared by SLOTS, which are answered in one batch; a prompt finds the slot that holds most of it.
"""

from __future__ import annotations

import signal
import sys
from typing import Any


def main() -> None:
    import xllamacpp  # type: ignore[import-not-found, unused-ignore]

    file, port, threads, slots, tokens = sys.argv[1], *map(int, sys.argv[2:])
    params: Any = xllamacpp.CommonParams()
    params.model.path = file
    params.hostnames, params.port = ["127.0.0.1"], port
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.n_parallel, params.n_ctx, params.kv_unified = slots, tokens, True
    params.fit_params = False  # take these sizes as they are
    params.n_gpu_layers = 0
    server = xllamacpp.Server(params)  # it loads, and listens in threads of its own
    print(xllamacpp.get_system_info(), server.listening_address, file=sys.stderr, flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
