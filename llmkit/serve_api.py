"""The model behind the server, as LitServe's LitAPI: `setup` loads it in the worker's process.

api = Api(cfg, voices)
api.setup("cpu")
request, tools = api.request(job)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from litserve import LitAPI  # type: ignore[import-untyped]

from llmkit.config_prompt import PromptOptions
from llmkit.config_serve import ServeConfig
from llmkit.domain import get_domain
from llmkit.errors import DomainError
from llmkit.serve_voices import Voices
from llmkit.serve_worker import Refused, split_system

if TYPE_CHECKING:
    import torch

    from llmkit.generate import Grammar, Request
    from llmkit.scheduler import Scheduler


Found = TypeVar("Found")
_GRAMMAR_SECONDS = 1.0  # of computing that an answer's grammar may take
_GRAMMAR_SECONDS_A_TOKEN = 0.02  # and for each token; usual ones need 0.001 to 0.005


class Bounded:
    """A grammar that may not hold up the others: a small pattern can cost half a second a token."""

    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        self._spent = 0.0

    def mask(self, ids: Sequence[int]) -> torch.Tensor | None:
        """See llmkit.generate.Grammar. Raises Refused when too much time was spent."""
        return self._timed(len(ids), self._grammar.mask, ids)

    def allows(self, ids: Sequence[int], token: int) -> bool:
        """See llmkit.generate.Grammar; the time counts as that of the mask does."""
        return self._timed(len(ids), self._grammar.allows, ids, token)

    def _timed(self, tokens: int, ask: Callable[..., Found], *args: Any) -> Found:
        began = time.thread_time()
        found = ask(*args)
        self._spent += time.thread_time() - began
        if self._spent > _GRAMMAR_SECONDS + _GRAMMAR_SECONDS_A_TOKEN * (tokens + 1):
            raise Refused(400, "the schema takes too long to follow", "schema_too_costly")
        return found


class Api(LitAPI):  # type: ignore[misc]
    """What a worker needs of the config; the model after `setup`."""

    scheduler: Scheduler = None  # type: ignore[assignment]  # until `setup`
    ids_for: Callable[[int, Sequence[int]], tuple[int, ...]]  # a voice's tokens for the scheduler

    def __init__(self, cfg: ServeConfig, voices: Voices) -> None:
        super().__init__()
        self.cfg, self.voices = cfg, voices

    def setup(self, device: str) -> None:
        """Load model, renderer and grammars, and begin to schedule."""
        from llmkit.grammar import Grammars
        from llmkit.model import load_model
        from llmkit.prompt import renderer
        from llmkit.scheduler import Scheduler

        cfg, folders = self.cfg, self.voices.folders
        self.domain = get_domain(cfg.domain.name)
        self._rendering = threading.Lock()  # tokenizers are not for several threads
        several = len(folders) > 1
        loaded = load_model(replace(cfg.model, device=device), None if several else folders[0])
        self.renderers = [
            renderer(loaded.tokenizer, cfg.prompt, self.domain, folder) for folder in folders
        ]
        stop_ids = self.renderers[0].stop_ids
        width = loaded.model.config.get_text_config().vocab_size
        self.grammars = Grammars(loaded.tokenizer, stop_ids, width)
        longest = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
        # The pool counts who runs and who waits; requests that come at once wait here for a moment
        # even where there is room.
        engine = replace(cfg.engine, queue=cfg.engine.max_batch + cfg.engine.queue)
        scheduler: Scheduler
        if several:
            from llmkit.serve_adapters import AdapterScheduler

            adapters = [folder for folder in folders if folder is not None]
            scheduler = AdapterScheduler(loaded, engine, stop_ids, adapters)
            self.ids_for = scheduler.ids_for
        else:
            scheduler = Scheduler(loaded, engine, stop_ids)
            self.ids_for = _plain
        self.longest = min(scheduler.limit, longest or scheduler.limit)
        self.scheduler = scheduler

    def predict(self, x: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("requests go through the scheduler")

    def request(self, job: Mapping[str, Any]) -> tuple[Request, Sequence[Mapping[str, Any]] | None]:
        """A job for the scheduler, and the tools that may be called (see serve_worker.answer).
        From any thread.

        Raises Refused, PromptError, PromptTooLong and GrammarError.
        """
        from llmkit.generate import Request

        made_for = self.renderers[job["voice"]]
        options = made_for.options
        system, context, messages = split_system(job["messages"], options.call_style)
        if system is not None and job["system_prompt"] is not None:
            raise Refused(400, "system_prompt and a system message do not go together")
        system = job["system_prompt"] if system is None else system
        if job["system_context"] is not None:
            context = job["system_context"]
        with self._rendering:
            ids = made_for.prompt_ids(
                messages, context or "", system_prompt=system, tools=job["tools"]
            )
        room = self.longest - len(ids)
        if room < 1:
            raise Refused(
                400, f"the prompt has {len(ids):,} tokens, all that the model can read",
                "context_length_exceeded",
            )  # fmt: skip
        grammar, tools = self._constrain(job, context, options)
        if grammar is not None:
            grammar = Bounded(grammar)
            grammar.mask([])  # what is compiled late is compiled here, not between others' tokens
        made = Request(
            self.ids_for(job["voice"], ids), min(job["max_tokens"], room), job["temperature"],
            job["top_p"], job["seed"], tuple(job["stop"]), grammar, job["tool_threshold"],
        )  # fmt: skip
        return made, tools

    def _constrain(
        self, job: Mapping[str, Any], context: str | None, options: PromptOptions
    ) -> tuple[Any, Sequence[Mapping[str, Any]] | None]:
        """The grammar of the answer, and the tools that it may call."""
        choice = job["tool_choice"]
        if job["schema"] is not None:
            if job["tools"] and choice != "none" and choice != "auto":
                raise Refused(400, "response_format and a tool that must be called do not agree")
            return self.grammars.for_schema(job["schema"]), None
        compiled = partial(
            self.grammars.for_tools, style=options.call_style, thinking=options.thinking
        )
        tools = job["tools"]
        if tools is None:
            tools = [self.domain.tool_schema(self._state(context))]
        if choice == "none" or not tools:
            if choice not in ("none", "auto"):
                raise Refused(400, f"tool_choice={choice!r} without tools")
            return (compiled(tools, "none") if tools else None), None
        grammar = compiled(tools, choice)
        if isinstance(choice, Mapping):
            tools = [tool for tool in tools if tool["name"] == choice["name"]]
        return grammar, tools

    def _state(self, context: str | None) -> Any:
        """The machine that the context tells of; None where there is none to be held to."""
        if not self.cfg.grounded or not (context or "").strip():
            return None
        try:
            return self.domain.parse_context(context or "")
        except DomainError as error:
            raise Refused(
                400, f"system_context cannot be read: {error}; without it, or with tools of"
                " its own, a request is not held to a machine", "invalid_context",
            ) from error  # fmt: skip


def _plain(voice: int, ids: Sequence[int]) -> tuple[int, ...]:
    return tuple(ids)
