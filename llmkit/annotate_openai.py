"""OpenAI's chat completions, through its SDK: any server that speaks them, llmkit's own included.

client = OpenAI(cfg.provider, key)
client.ask(prompt)
"""

from __future__ import annotations

from typing import Any

from llmkit.annotate_client import Prompt, Reply, failure
from llmkit.annotate_keys import Scrubber
from llmkit.config_annotate import OpenAIConfig
from llmkit.errors import MissingExtra

try:
    import openai
except ImportError as error:
    raise MissingExtra("openai", "provider=openai", error.name) from error

_NO_KEY = "none"  # the SDK wants one; servers without keys do not look


class OpenAI:
    """The client."""

    def __init__(self, provider: OpenAIConfig, key: str) -> None:
        self.provider = provider
        self.scrub = Scrubber(key)
        self._sdk = openai.OpenAI(
            api_key=key or _NO_KEY,
            base_url=provider.base_url,
            timeout=provider.timeout,
            max_retries=0,
        )

    def ask(self, prompt: Prompt) -> Reply:
        """One chat completion."""
        params: dict[str, Any] = {
            "model": self.provider.model,
            self.provider.length_field.value: self.provider.max_tokens,
            "messages": [
                {"role": "system", "content": prompt.system},
                {"role": "user", "content": prompt.user},
            ],
        }
        if self.provider.temperature is not None:
            params["temperature"] = self.provider.temperature
        try:
            return _reply(self._sdk.chat.completions.create(**params), self.scrub)
        except openai.APIStatusError as error:
            raised = failure(
                error.status_code, str(error.message), error.response.headers, self.scrub
            )
        except openai.APIConnectionError as error:
            kind = "no answer in time" if isinstance(error, openai.APITimeoutError) else ""
            raised = failure(None, kind or f"no connection: {error}", None, self.scrub)
        except (openai.OpenAIError, OSError, ValueError) as error:
            raised = failure(None, f"{type(error).__name__}: {error}", None, self.scrub)
        except Exception as error:
            if not type(error).__module__.startswith("http"):
                raise
            raised = failure(None, f"{type(error).__name__}: {error}", None, self.scrub)
        raise raised from None  # the original may hold the key


def _reply(completion: Any, scrub: Scrubber) -> Reply:
    if not getattr(completion, "choices", None):
        return Reply("", "the server sent no choice", (0, 0))
    choice = completion.choices[0]
    usage = completion.usage
    tokens = (usage.prompt_tokens, usage.completion_tokens) if usage else (0, 0)
    text = choice.message.content or ""
    bad = ""
    if getattr(choice.message, "refusal", None) or choice.finish_reason == "content_filter":
        bad = "refused by the model"
    elif choice.finish_reason == "length":
        bad = "cut off (length)"
    elif choice.message.tool_calls:
        bad = "called a tool instead of answering"
    return Reply(scrub(text), bad, tokens)
