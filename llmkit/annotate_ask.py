"""How a snapshot is put before a model, and what a run will cost.

    asker = Asker(cfg.provider, domain, judge)
    asker.prompt(item).user
    asker.estimate(len(todo), some_items, share=0.5)

The two templates of the provider's `system` and `request` see the snapshot (`context`, `messages`,
`expected`), what its command does (`effect`, the domain's words) and how long an answer may be.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmkit.annotate_client import Prompt
from llmkit.annotate_corpus import Item
from llmkit.annotate_judge import FEWEST, MOST, Judge
from llmkit.config_annotate import AnthropicConfig, OpenAIConfig, PricesConfig
from llmkit.domain import Domain
from llmkit.errors import ConfigError, DomainError
from llmkit.template import render
from llmkit.toolkit import find_toolkit

# In a token, on the low side: paths and sizes fall into many. (2.4 is what llmkit's own server counted
# for these prompts; large models' vocabularies need fewer tokens.)
_CHARACTERS = 2.4
SAMPLE = 64  # prompts that an estimate is made from
_ANSWER = 110  # tokens in an answer, about


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run is expected to take. `dollars` None: no prices are known."""

    requests: int
    input: int
    output: int
    dollars: float | None

    def __str__(self) -> str:
        cost = "no prices are known" if self.dollars is None else f"about ${self.dollars:,.2f}"
        return (
            f"{self.requests:,} requests, about {self.input:,} tokens in and {self.output:,} out, "
            f"{cost}"
        )


class Asker:
    """Writes prompts."""

    def __init__(
        self, provider: AnthropicConfig | OpenAIConfig, domain: Domain, judge: Judge
    ) -> None:
        self.provider, self.domain, self.judge = provider, domain, judge
        folders = [*domain.templates(), find_toolkit().templates]
        self.sources = {
            name: _source(getattr(provider, name), folders) for name in ("system", "request")
        }
        shown = {"fewest": FEWEST, "most": MOST}
        self.system = render(self.sources["system"], shown, f"{provider.system}").strip()

    def fingerprint(self) -> str:
        """A hash of all that answers depend on beside the snapshot and the model."""
        text = "\0".join([self.system, self.sources["request"]])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def prompt(self, item: Item) -> Prompt:
        """The request about a snapshot."""
        value, expected = item.value, item.expected
        effect = ""
        if expected["type"] == "command":
            try:
                effect = self.domain.explain(self.judge.full_state(item), expected["command"])
            except DomainError as error:
                effect = f"not known: {error}"
        shown: dict[str, Any] = {
            "context": value["system_context"].strip(),
            "messages": value["messages"],
            "expected": expected,
            "effect": effect,
            "fewest": FEWEST,
            "most": MOST,
        }
        user = render(self.sources["request"], shown, self.provider.request).strip()
        size = _tokens(len(self.system) + len(user)) + _ANSWER
        return Prompt(self.system, user, size)

    def estimate(self, requests: int, sample: Iterable[Item], share: float) -> Estimate:
        """What `requests` requests like those about `sample` take; `share`: of the price."""
        cost: PricesConfig | None = self.provider.prices
        sizes = [prompt.tokens - _ANSWER for prompt in map(self.prompt, sample)]
        inputs = round(requests * sum(sizes) / len(sizes)) if sizes else 0
        outputs = requests * _ANSWER
        dollars = None
        if cost is not None:
            dollars = share * (inputs * cost.input + outputs * cost.output) / 1e6
        return Estimate(requests, inputs, outputs, dollars)


def _tokens(characters: int) -> int:
    return round(characters / _CHARACTERS)


def _source(name: str, folders: list[Path]) -> str:
    for path in [*(folder / name for folder in folders), Path(name).expanduser()]:
        if path.is_file():
            return path.read_text("utf-8")
    where = ", ".join(map(str, folders))
    raise ConfigError(f"provider: no template {name!r} in {where}, nor such a file")
