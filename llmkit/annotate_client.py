"""What annotate asks of a provider behind an API, and how failures are told apart.

    client = make_client(cfg.provider, key)
    reply = ask(client, prompt, limits, cfg.provider)   # tries again, as the provider allows

A client turns its SDK's errors into three: `Transient` (overload, time-outs, broken connections: ask
again, not before `after` seconds), `BadRequest` (this request will never be taken) and ConfigError
(nothing will: no key, no such model). Everything that a server said is scrubbed of the key.
"""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass
from typing import Any, Protocol

from llmkit.annotate_keys import Scrubber
from llmkit.annotate_limits import Limits
from llmkit.config_annotate import AnthropicConfig, OpenAIConfig
from llmkit.errors import ConfigError, LlmkitError, MissingExtra
from llmkit.records import shorten

_FATAL = frozenset((401, 402, 403))
_AGAIN = frozenset((408, 409, 425, 429))  # and all from 500 up
MISSING = "no key: set {name} in the environment or in a .env file"


class Transient(LlmkitError):
    """May go well later. `after`: seconds that the server wants; `sure`: it took nothing on."""

    def __init__(self, reason: str, *, after: float | None = None, sure: bool = False) -> None:
        super().__init__(reason)
        self.after = after
        self.sure = sure


class BadRequest(LlmkitError):
    """The server will never take this request."""


class NotThere(ConfigError):
    """No such model, batch or address."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is asked about one snapshot. `tokens`: an estimate, its answer included."""

    system: str
    user: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said. `bad`: why it does not count (cut off, refused), else ""."""

    text: str
    bad: str
    tokens: tuple[int, int]  # input, output


class Client(Protocol):
    """A provider."""

    scrub: Scrubber

    def ask(self, prompt: Prompt) -> Reply:
        """One request. Raises Transient, BadRequest or ConfigError."""


def make_client(provider: AnthropicConfig | OpenAIConfig, key: str) -> Client:
    """The client of a provider. Raises MissingExtra without its SDK, ConfigError without a key."""
    for name in ("httpx", "httpx2"):  # a line for each request, on the stage's log
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        import tenacity  # noqa: F401
    except ImportError as error:
        raise MissingExtra(provider.kind, f"provider={provider.kind}", error.name) from error
    if isinstance(provider, AnthropicConfig):
        from llmkit.annotate_anthropic import Anthropic

        if not key:
            raise ConfigError(MISSING.format(name=provider.key_env))
        return Anthropic(provider, key)
    from llmkit.annotate_openai import OpenAI

    return OpenAI(provider, key)


def failure(status: int | None, said: str, headers: Any, scrub: Scrubber) -> LlmkitError:
    """The error that a status means. None: there was no answer at all."""
    text = shorten(scrub(said), 300)
    if status is None:
        return Transient(text)
    text = f"status {status}: {text}"
    if status == 404:
        return NotThere(text)
    if status in _FATAL:
        return ConfigError(text)
    if status in _AGAIN or status >= 500:
        return Transient(text, after=retry_after(headers), sure=status == 429)
    return BadRequest(text)


def retry_after(headers: Any) -> float | None:
    """Seconds of a Retry-After header (a number or a date), or None."""
    if headers is None:
        return None
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) / scale
        except ValueError:
            seconds = _until(value)
        if 0 <= seconds < float("inf"):
            return seconds
    return None


def _until(date: str) -> float:
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    try:
        then = parsedate_to_datetime(date)
    except ValueError:
        return -1.0
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return max((then - datetime.now(UTC)).total_seconds(), 0.0)


def retrying(limits: Limits, provider: AnthropicConfig | OpenAIConfig) -> Any:
    """tenacity's loop: Transient errors, Retry-After or doubling waits with jitter, `retries`
    times. A wait beyond `patience` is not begun."""
    import tenacity

    def wait(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        after = error.after if isinstance(error, Transient) else None
        grown = min(provider.backoff * 2 ** (state.attempt_number - 1), provider.patience)
        seconds = grown * random.uniform(0.5, 1.0)
        if after is None:
            return seconds
        if after <= provider.patience:
            limits.pause(after)  # for all threads: the server said it to one
        return max(seconds, after)

    def give_up(state: tenacity.RetryCallState) -> bool:
        return state.attempt_number > provider.retries or state.upcoming_sleep > provider.patience

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(Transient),
        wait=wait,
        stop=give_up,
        sleep=limits.sleep,
        reraise=True,
    )
