"""Talk to the assistant in a terminal; commands run on a made-up machine, nowhere, or here.

    python -m llmkit.chat disk=sata_nvme boot=uefi

It answers with text or proposes a command, shows what that would do in plain words, and runs it when
you say so. See docs/chat.md.
"""

from __future__ import annotations

import logging
import random
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from llmkit.chat_types import Asker, Assistant, Execute, OnText
from llmkit.config_chat import ChatConfig
from llmkit.domain import Domain, get_domain
from llmkit.errors import ConfigError, LlmkitError, MissingExtra
from llmkit.stage import run_info, stage

if TYPE_CHECKING:
    from llmkit.client import Client
    from llmkit.client_wire import Answer, Ask

_FOR_SERVER = re.compile(r"\+{0,2}(model|domain)(\.[\w.]+)?=")


def chat(cfg: ChatConfig) -> int:
    """Hold a conversation until the person leaves or the script ends; returns the corrections.

    Raises:
        ConfigError: the script or the address is wrong, or execute=real is not possible here.
        MissingExtra: the packages of the extra `chat` (or `serve`) are not there.
        LlmkitError: no server; or a script that failed, or whose machine would not start.
    """
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it logs every request
    domain = get_domain(cfg.domain.name)
    make = getattr(domain, "assistant", None)
    if make is None:
        raise ConfigError(f"domain={domain.name} has no assistant")
    lines = None
    if cfg.script is not None:
        from llmkit.chat_script import read_script

        if cfg.execute is Execute.real:
            raise ConfigError(
                "a script is not carried out for real: nobody would see what it erases\n"
                "run it with execute=simulate, and the replay.sh of its output_dir as root"
            )
        lines = read_script(cfg.script)
    state = drawn(domain, cfg) if cfg.execute is Execute.simulate else None
    with connected(cfg) as asker:
        assistant: Assistant = make(
            asker, cfg.ask, cfg.execute, state=state, allow_installed=cfg.allow_installed
        )
        from llmkit.chat_log import Transcript

        log = Transcript(cfg.output_dir, cfg.execute.value, assistant.facts())
        if lines is not None:
            return _script(cfg, lines, assistant, log)
        from llmkit.chat_screen import Screen

        Screen(cfg, assistant, log).run()
        return 0


def _script(cfg: ChatConfig, lines: Any, assistant: Assistant, log: Any) -> int:
    from llmkit.chat_script import play

    print(assistant.facts(), end="\n\n")
    report = play(lines, assistant, log, print)
    print(*report.lines(), sep="\n")
    problems = assistant.problems()
    done = [step.name for step in assistant.stages() if step.done]
    print(f"stages done: {', '.join(done) or 'none'}")
    if assistant.finished():
        print("end state: " + ("; ".join(problems) if problems else "it would start by itself"))
    log.add("end", corrections=len(report.corrections), failed=report.failed, problems=problems,
            finished=assistant.finished())  # fmt: skip
    if report.failed:
        raise LlmkitError(f"{len(report.failed)} commands of {cfg.script} failed")
    if assistant.finished() and problems:
        raise LlmkitError(f"the machine would not start: {problems[0]}")
    return len(report.corrections)


def drawn(domain: Domain, cfg: ChatConfig) -> Any:
    """The machine of `disk=` and `boot=`; the same for the same seed."""
    found = next(domain.scenarios(cfg, random.Random(cfg.seed), {}, None), None)
    if found is None:
        raise ConfigError("disk= and boot= have no machine in common")
    return domain.begin(found, None)


@contextmanager
def connected(cfg: ChatConfig) -> Iterator[Asker]:
    """Who answers requests: a server that runs, or one that is started for as long."""
    try:
        from llmkit.client import Client
        from llmkit.client_server import local_server
    except ImportError as error:
        raise MissingExtra("chat", "the chat", error.name) from error
    waited = False

    def on_wait(seconds: float) -> None:
        nonlocal waited
        if not waited and seconds > 1:
            print("loading the model ...", file=sys.stderr, flush=True)
            waited = True

    with (
        local_server(cfg.server, cfg.client, server_overrides(cfg), on_wait) as server,
        Client(server.url, cfg.client, server.key) as client,
    ):
        whose = "started for this chat" if server.process else "already running"
        print(f"server: {server.url}, model {server.model}, {whose}", file=sys.stderr, flush=True)
        yield asker(client)


def asker(client: Client) -> Asker:
    """Sends a request; with `on_text` the text comes piece by piece."""
    from llmkit.client_wire import Delta, ServerError

    def ask(request: Ask, on_text: OnText | None = None) -> Answer:
        if on_text is None:
            return client.generate(request)
        for piece in client.stream(request):
            if isinstance(piece, Delta):
                on_text(piece.text)
            else:
                return piece
        raise ServerError(f"{client.url}: no answer")

    return ask


def server_overrides(cfg: ChatConfig) -> list[str]:
    """What the server that is started is told: model, adapter and domain as chosen here."""
    overrides = [text for text in run_info()["overrides"] if _FOR_SERVER.match(text)]
    return [*overrides, f"adapter={cfg.adapter}", *cfg.server.overrides]


main = stage("chat", chat, schema=ChatConfig, summary=__doc__.splitlines()[0])

if __name__ == "__main__":
    main()
