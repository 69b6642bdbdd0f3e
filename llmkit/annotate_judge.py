"""Is an answer the reasoning that was asked for? Two to four lines that name nothing absent.

    judge("The person wants …\\n/dev/sda is empty …", item, domain)  # the text, or Failed

What an answer may name is the domain's to say (`absent`), and so is whether it is specific
(`vague`): about this machine and this conversation, not about machines in general.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from llmkit.annotate_corpus import Item
from llmkit.annotate_journal import CONTENT, Failed
from llmkit.config_prompt import CallStyle
from llmkit.domain import Domain
from llmkit.errors import DomainError
from llmkit.reply import ReplyError, write_reply

FEWEST, MOST = 2, 4  # lines
LONGEST = 400  # characters in a line


class Judge:
    """Checks answers against the snapshot that they are about."""

    def __init__(self, domain: Domain) -> None:
        self.domain = domain
        self.absent: Callable[[Any, str], tuple[str, ...]] | None = getattr(domain, "absent", None)
        self.vague: Callable[[Any, Any, Any, str], str] | None = getattr(domain, "vague", None)
        self._parse = lru_cache(maxsize=512)(domain.parse_context)

    def state(self, item: Item) -> Any:
        """What the snapshot's context says. DomainError when it cannot be read."""
        return self._parse(item.value["system_context"])

    def full_state(self, item: Item) -> Any:
        """The same machine with all that the snapshot keeps of it, where that agrees with its
        context; else what the context says."""
        kept = item.value.get("meta", {}).get("state")
        if kept is not None:
            try:
                state = self.domain.from_dict(kept)
                if self.domain.to_context(state) == item.value["system_context"]:
                    return state
            except DomainError:
                pass
        return self.state(item)

    def __call__(self, text: str, item: Item) -> str | Failed:
        """The reasoning as it goes into the snapshot, or why it does not."""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if not lines:
            return Failed(CONTENT, "the answer is empty")
        if not FEWEST <= len(lines) <= MOST:
            return Failed(CONTENT, f"{len(lines)} lines where {FEWEST} to {MOST} are asked for")
        if max(map(len, lines)) > LONGEST:
            return Failed(CONTENT, f"a line of more than {LONGEST} characters")
        thinking = "\n".join(lines)
        try:
            write_reply({**item.expected, "thinking": thinking}, CallStyle.shell)
        except ReplyError as error:
            return Failed(CONTENT, str(error))
        if self.absent is not None:
            try:
                state = self.state(item)
            except DomainError as error:
                return Failed(CONTENT, f"the context cannot be read: {error}")
            missing = self.absent(state, thinking)
            if missing:
                return Failed(CONTENT, f"names what is not there: {', '.join(missing)}")
        return thinking

    def specific(self, thinking: str, item: Item) -> bool | None:
        """Whether it is about this very snapshot; None where the domain cannot tell."""
        if self.vague is None:
            return None
        value = item.value
        return not self.vague(self.state(item), value["messages"], item.expected, thinking)
