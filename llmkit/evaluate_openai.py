"""Answers from a server that speaks OpenAI's chat completions.

    backend = Remote(cfg.remote, cfg.prompt, domain, max_tokens=192)

The messages are those that a local prompt is rendered from: one system message (system prompt, how
to write a command, the context) and the turns. The server's own chat template does the rest.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib import import_module
from typing import Any

from llmkit.config_evaluate import RemoteConfig
from llmkit.config_prompt import CallStyle, ContextPosition, PromptOptions
from llmkit.domain import Domain
from llmkit.errors import LlmkitError, MissingExtra
from llmkit.evaluate_run import Answer, OnAnswer, Sampling
from llmkit.prompt import FORMAT, system_prompt_text
from llmkit.score import Case

_AGAIN = frozenset((408, 409, 425, 429, 500, 502, 503, 504))


class Remote:
    """A server; every request is tried `retries` times more. Raises MissingExtra without httpx."""

    def __init__(
        self,
        cfg: RemoteConfig,
        options: PromptOptions,
        domain: Domain,
        *,
        max_tokens: int,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> None:
        self.cfg, self.options = cfg, options
        self.max_tokens, self.temperature, self.seed = max_tokens, temperature, seed
        self.system = system_prompt_text(options.system_prompt, domain)
        self.httpx = _client_package()

    def messages(self, case: Case) -> list[dict[str, Any]]:
        """What is sent."""
        turns = [dict(message) for message in case.messages]
        parts = [self.system]
        if self.options.call_style is CallStyle.shell:
            parts.append(FORMAT)
        if self.options.context_position is ContextPosition.system:
            parts.append(case.system_context.strip())
        else:
            turns[-1]["content"] = f"{case.system_context.strip()}\n\n{turns[-1]['content']}"
        return [{"role": "system", "content": "\n\n".join(parts)}, *turns]

    def answer(
        self, cases: Sequence[Case], on_answer: OnAnswer, sampling: Sampling | None = None
    ) -> None:
        key = os.environ.get(self.cfg.key_env, "")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        with (
            self.httpx.Client(headers=headers, timeout=self.cfg.timeout) as client,
            ThreadPoolExecutor(self.cfg.concurrency) as pool,
        ):
            places = {
                pool.submit(self._ask, client, case, sampling): place
                for place, case in enumerate(cases)
            }
            try:
                for future in as_completed(places):
                    on_answer(places[future], future.result())
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _ask(self, client: Any, case: Case, sampling: Sampling | None) -> Answer:
        messages = self.messages(case)
        body: dict[str, Any] = {
            "model": self.cfg.model,
            "messages": messages,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
        }
        if sampling is not None:
            body |= {name: getattr(sampling, name) for name in ("temperature", "top_p", "seed")}
        elif self.seed is not None and self.temperature > 0:
            body["seed"] = self.seed
        url = f"{self.cfg.base_url.rstrip('/')}/chat/completions"
        for attempt in range(self.cfg.retries + 1):
            last = attempt == self.cfg.retries
            try:
                response = client.post(url, json=body)
            except self.httpx.HTTPError as error:
                if last:
                    raise LlmkitError(f"{url}: {error or type(error).__name__}") from error
            else:
                if response.status_code == 200:
                    return _answer(response, messages, url)
                said = f"{url}: status {response.status_code}: {response.text[:200]}"
                if last or response.status_code not in _AGAIN:
                    raise LlmkitError(said)
            time.sleep(0.5 * 2**attempt)
        raise AssertionError("the last attempt returns or raises")


def _answer(response: Any, messages: list[dict[str, Any]], url: str) -> Answer:
    try:
        data = response.json()
        choice = data["choices"][0]
        message = choice["message"]
        text = message.get("content") or ""
        for call in message.get("tool_calls") or ():
            function = call["function"]
            arguments = function["arguments"]
            if isinstance(arguments, str):
                arguments = json.loads(arguments)
            made = json.dumps({"name": function["name"], "arguments": arguments})
            text += f"<tool_call>{made}</tool_call>"
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise LlmkitError(f"{url}: no chat completion: {response.text[:200]}") from error
    usage = data.get("usage") or {}
    return Answer(
        json.dumps(messages, ensure_ascii=False, indent=1),
        text,
        str(choice.get("finish_reason") or "stop"),
        int(usage.get("prompt_tokens") or 0),
        int(usage.get("completion_tokens") or 0),
    )


def _client_package() -> Any:
    for name in ("httpx2", "httpx"):  # the extra `openai` brings one of them
        try:
            return import_module(name)
        except ImportError:
            continue
    raise MissingExtra("openai", "backend=openai", "httpx2")
