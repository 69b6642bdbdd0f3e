"""Anthropic's Messages and Message Batches, through its SDK.

    client = Anthropic(cfg.provider, key)
    client.ask(prompt)
    batch = client.submit([("a1b2-1-0", prompt), …])

The SDK's own retries are off: those of annotate_client.py honour the run's limits. Nothing outside
this module knows the SDK.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from llmkit.annotate_client import BadRequest, Prompt, Reply, Transient, failure
from llmkit.annotate_keys import Scrubber
from llmkit.config_annotate import AnthropicConfig
from llmkit.errors import LlmkitError, MissingExtra
from llmkit.records import shorten

try:
    import anthropic
except ImportError as error:
    raise MissingExtra("anthropic", "provider=anthropic", error.name) from error

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Remote:
    """A batch as the server describes it."""

    id: str
    ended: bool
    created: datetime
    counts: dict[str, int]  # processing, succeeded, errored, canceled, expired

    @property
    def total(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one request of a batch: a reply, or the error that says why there is none."""

    custom_id: str
    outcome: Reply | LlmkitError


class Anthropic:
    """The client."""

    def __init__(self, provider: AnthropicConfig, key: str) -> None:
        self.provider = provider
        self.scrub = Scrubber(key)
        self._sdk = anthropic.Anthropic(
            api_key=key, base_url=provider.base_url, timeout=provider.timeout, max_retries=0
        )

    def ask(self, prompt: Prompt) -> Reply:
        """One request of the Messages API."""
        message = self._call(lambda: self._sdk.messages.create(**self._params(prompt)))
        return _reply(message, self.scrub)

    def submit(self, requests: Sequence[tuple[str, Prompt]]) -> Remote:
        """Create a batch of (custom_id, prompt)."""
        made: list[Any] = [
            {"custom_id": name, "params": self._params(prompt)} for name, prompt in requests
        ]
        return _remote(self._call(lambda: self._sdk.messages.batches.create(requests=made)))

    def retrieve(self, identifier: str) -> Remote:
        """A batch as it stands now."""
        return _remote(self._call(lambda: self._sdk.messages.batches.retrieve(identifier)))

    def listed(self, since: datetime) -> list[Remote]:
        """Every batch of the account that was made after `since`, the newest first."""

        def read() -> list[Remote]:
            found = []
            for batch in self._sdk.messages.batches.list(limit=100):  # fetches further pages
                if batch.created_at < since:
                    break
                found.append(_remote(batch))
            return found

        return self._call(read)

    def results(self, identifier: str) -> Iterator[Result]:
        """The results of an ended batch, in whatever order the server has them."""
        stream = iter(self._call(lambda: self._sdk.messages.batches.results(identifier)))
        while True:
            line = self._call(lambda: next(stream, None))
            if line is None:
                return
            yield Result(line.custom_id, self._outcome(line.result))

    def _outcome(self, result: Any) -> Reply | LlmkitError:
        if result.type == "succeeded":
            return _reply(result.message, self.scrub)
        if result.type == "errored":
            inner = result.error.error
            said = shorten(self.scrub(f"errored: {inner.type}: {inner.message}"), 300)
            return BadRequest(said) if inner.type == "invalid_request_error" else Transient(said)
        return Transient(str(result.type))  # canceled or expired: never tried

    def _params(self, prompt: Prompt) -> dict[str, Any]:
        params: dict[str, Any] = {
            "model": self.provider.model,
            "max_tokens": self.provider.max_tokens,
            "system": prompt.system,
            "messages": [{"role": "user", "content": prompt.user}],
        }
        if self.provider.temperature is not None:
            params["temperature"] = self.provider.temperature
        return params

    def _call(self, function: Callable[[], T]) -> T:
        try:
            return function()
        except anthropic.APIStatusError as error:
            raised = failure(error.status_code, _said(error), error.response.headers, self.scrub)
        except anthropic.APIConnectionError as error:
            kind = "no answer in time" if isinstance(error, anthropic.APITimeoutError) else ""
            raised = failure(None, kind or f"no connection: {error}", None, self.scrub)
        except (anthropic.AnthropicError, OSError, ValueError) as error:  # half an answer
            raised = failure(None, f"{type(error).__name__}: {error}", None, self.scrub)
        except Exception as error:
            if not type(error).__module__.startswith("http"):  # the SDK lets its HTTP errors out
                raise
            raised = failure(None, f"{type(error).__name__}: {error}", None, self.scrub)
        raise raised from None  # the original may hold the key


def _said(error: anthropic.APIStatusError) -> str:
    body: Any = error.body
    try:
        return f"{body['error']['type']}: {body['error']['message']}"
    except (TypeError, KeyError):
        return str(error.message)


def _reply(message: Any, scrub: Scrubber) -> Reply:
    text = "".join(block.text for block in message.content if block.type == "text")
    tokens = (message.usage.input_tokens, message.usage.output_tokens)
    stop = message.stop_reason
    bad = ""
    if stop == "refusal":
        bad = "refused by the model"
    elif stop in ("max_tokens", "model_context_window_exceeded"):
        bad = f"cut off ({stop})"
    elif stop not in ("end_turn", "stop_sequence"):
        bad = f"ended with {stop}"
    return Reply(scrub(text), bad, tokens)


def _remote(batch: Any) -> Remote:
    counts = batch.request_counts
    names = ("processing", "succeeded", "errored", "canceled", "expired")
    return Remote(
        batch.id,
        batch.processing_status == "ended",
        batch.created_at,
        {name: getattr(counts, name) for name in names},
    )
