"""Serve the model over HTTP: /generate and OpenAI's API.

    python -m llmkit.serve adapter=none port=8765
    curl -s localhost:8765/generate -d '{"messages": [{"role": "user", "content": "list disks"}]}'

One process speaks HTTP, one for each device holds the model; nothing is kept of a request but what
makes a like one cheaper. See docs/serving.md for the routes, the limits and how it ends.
"""

from __future__ import annotations

import socket

from llmkit.config_serve import ServeConfig
from llmkit.domain import get_domain
from llmkit.errors import ConfigError, LlmkitError, MissingExtra
from llmkit.serve_voices import Voices, voices
from llmkit.stage import stage


def serve(cfg: ServeConfig) -> None:
    """Serve until SIGTERM (then return) or SIGINT (KeyboardInterrupt), each after what runs.

    Raises:
        MissingExtra: the packages of the extra `serve` are not there.
        ConfigError: the adapter, the model or the devices are not there.
        LlmkitError: the port is taken, or the model cannot be loaded.
    """
    voices = checked(cfg)
    listener = listen(cfg.host, cfg.port)
    from llmkit.serve_log import log_as_json
    from llmkit.serve_server import LlmServer

    log_as_json()
    LlmServer(cfg, voices).run_on(listener)


def checked(cfg: ServeConfig) -> Voices:
    """The adapters, and who answers to which name. Raises what can be known to fail before anything
    is loaded."""
    from importlib.util import find_spec

    for package in ("litserve", "llguidance"):
        if find_spec(package) is None:
            raise MissingExtra("serve", "the server", package)
    from llmkit.model_adapter import adapter_path

    get_domain(cfg.domain.name)
    known = {"domain": cfg.domain.name, "model": cfg.model.name}
    more = {name: adapter_path(value, **known) for name, value in cfg.adapters.items()}
    return voices(cfg, adapter_path(cfg.adapter, **known), more)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; LlmkitError when the address is taken or none of this machine."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    except OSError as error:
        raise ConfigError(f"host={host}: {error.strerror}") from error
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(2048)
    except OSError as error:
        made.close()
        raise LlmkitError(f"{host} port {port}: {error.strerror}") from error
    made.setblocking(False)
    return made


main = stage("serve", serve, schema=ServeConfig, summary=__doc__.splitlines()[0])

if __name__ == "__main__":
    main()
