"""Constrained decoding: which tokens may come next, so that a reply is what was asked for.

    from llmkit.grammar import Grammars
    grammars = Grammars(tokenizer, renderer.stop_ids, model.config.vocab_size)
    grammar = grammars.for_tools([domain.tool_schema(state)], "auto", CallStyle.shell)
    engine.generate([Request(ids, max_tokens=192, grammar=grammar)])

What is compiled is kept (the last `kept` of them), so that a request with known tools costs a copy.
A reply that may be text cannot hold a command in any of the forms that llmkit.reply reads, but for
the one that was asked for. An answer that runs into `max_tokens` is cut where it stands.
Needs llguidance (`pip install 'llmkit[serve]'`).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from llmkit.config_prompt import CallStyle
from llmkit.errors import ConfigError, MissingExtra
from llmkit.generate import common_length
from llmkit.grammar_text import MARKS, call_rules, command_terminal, free_text, json_rule

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

ToolChoice = str | Mapping[str, Any]  # auto, none, required or {"name": …}
KEPT = 64  # compiled grammars
STATES = 50_000  # of a grammar's lexer, which all requests share and add to; up to 2 KB each
SYMBOLS = 20_000  # of a grammar; 1,000 properties are about as many

_MALFORMED = (ValueError, TypeError, AttributeError, RecursionError)  # of what a client sends


class GrammarError(ConfigError):
    """A schema that cannot be compiled, or a tool choice that names no tool."""


class _Full(GrammarError):
    """The lexer has no room for another state."""


class _Compiled:
    """A grammar, and the matcher that requests copy."""

    def __init__(self, compile_it: Callable[[], Any]) -> None:
        self._compile = compile_it
        self._lock = threading.Lock()
        self.matcher = compile_it()

    def renewed(self, old: Any) -> Any:
        """A matcher without the states that filled the old one."""
        with self._lock:
            if self.matcher is old:
                self.matcher = self._compile()
            return self.matcher


class Constraint:
    """The grammar of one request: llmkit.generate's `Grammar`. Not for two requests at once."""

    def __init__(self, compiled: _Compiled, width: int, stop_ids: frozenset[int]) -> None:
        self._compiled = compiled
        self._origin = compiled.matcher
        self._matcher = self._origin.deep_copy()
        self._read: list[int] = []
        self._width = width
        self._stops = sorted(stop_ids)

    def start(self) -> Constraint:
        """The same grammar for another request."""
        return Constraint(self._compiled, self._width, frozenset(self._stops))

    def mask(self, ids: Sequence[int]) -> torch.Tensor:
        """Which tokens may follow `ids`: bool [width]. A stop token may exactly where the answer is
        complete.

        Raises GrammarError when `ids` are not of this grammar, or it is too large to go on.
        """
        return self._with_room(self._mask, ids)

    def allows(self, ids: Sequence[int], token: int) -> bool:
        """Whether `token` may follow `ids`: what the mask says of it, for far less than a mask."""
        return self._with_room(self._allows, ids, token)

    def _with_room(self, ask: Callable[..., Any], *args: Any) -> Any:
        try:
            return ask(*args)
        except _Full:
            self._origin = self._compiled.renewed(self._origin)
            self._matcher, self._read = self._origin.deep_copy(), []
            return ask(*args)

    def _mask(self, ids: Sequence[int]) -> torch.Tensor:
        import torch

        self._follow(ids)
        allowed = torch.zeros(self._width, dtype=torch.bool)
        if not self._matcher.is_stopped():
            found = torch.frombuffer(
                bytearray(self._matcher.compute_logit_bias()), dtype=torch.uint8
            )
            allowed[: len(found)] = found[: self._width] != 0
        self._check()
        allowed[self._stops] = self._matcher.is_accepting()
        if not allowed.any():
            raise GrammarError("the grammar leaves no way to go on")
        return allowed

    def _allows(self, ids: Sequence[int], token: int) -> bool:
        self._follow(ids)
        if token in self._stops:
            found = bool(self._matcher.is_accepting())
        else:
            found = self._matcher.validate_tokens([token]) == 1
        self._check()
        return found

    def _follow(self, ids: Sequence[int]) -> None:
        """Read what is new in `ids`; go back first where they differ from what was read."""
        same = len(self._read)
        if list(ids[:same]) != self._read:
            same = common_length(self._read, ids)
            self._matcher.rollback(len(self._read) - same)
            del self._read[same:]
        for token in ids[same:]:
            if not self._matcher.consume_token(token):
                self._check(f"token {token} is not of the grammar")
            self._read.append(token)

    def _check(self, what: str = "the grammar cannot go on") -> None:
        if self._matcher.is_error():
            error = _first(self._matcher.get_error())
            full = error.startswith("lexer error")
            raise (_Full if full else GrammarError)(f"{what}: {error}")


class Grammars:
    """Makes the grammars of a model's requests. May be used from several threads.

    `width`: how many logits the model has, when that is not the tokenizer's number of tokens.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        stop_ids: frozenset[int],
        width: int | None = None,
        *,
        kept: int = KEPT,
        states: int = STATES,
    ) -> None:
        try:
            from llguidance.hf import from_tokenizer
        except ImportError as error:
            raise MissingExtra("serve", "constrained decoding", "llguidance") from error
        size = len(tokenizer)
        self._width = size if width is None else width
        self._stop_ids = stop_ids
        self._tokenizer = from_tokenizer(tokenizer, max(size, self._width), sorted(stop_ids))
        # Single tokens are no text to llguidance. What decoding would drop stays unused.
        self._tokens = {
            added.content: f"<[{token}]>"
            for token, added in tokenizer.added_tokens_decoder.items()
            if added.content in MARKS and not added.special
        }
        self._kept, self._states = kept, states
        self._compiled: OrderedDict[str, _Compiled] = OrderedDict()
        self._lock = threading.Lock()

    def for_tools(
        self,
        tools: Sequence[Mapping[str, Any]],
        tool_choice: ToolChoice,
        style: CallStyle,
        *,
        thinking: bool = True,
    ) -> Constraint | None:
        """The grammar of a reply that may, must, or must not call a tool; None without tools.

        `tools`: function schemas, or OpenAI's {"type": "function", "function": …}. In the style
        `shell` a tool is called by its argument `command`, so only tools with that one count.
        `thinking`: a reply may begin with <think>…</think>.

        Raises GrammarError.
        """
        found = [_function(tool) for tool in tools]
        if isinstance(tool_choice, Mapping):
            name = _function(tool_choice).get("name")
            found = [tool for tool in found if tool.get("name") == name]
            if not found:
                raise GrammarError(f"tool_choice names {name!r}, which is not among the tools")
        elif tool_choice not in ("auto", "none", "required"):
            raise GrammarError(f"tool_choice={tool_choice!r}: auto, none, required or a name")
        if not found:
            if tool_choice == "required":
                raise GrammarError("tool_choice=required without tools")
            return None
        try:
            if tool_choice == "none":
                return self._constraint(free_text(thinking, self._tokens))
            free = tool_choice == "auto"
            if style is CallStyle.shell:
                return self._constraint(command_terminal(found, free, thinking, self._tokens))
            return self._constraint(call_rules(found, free, thinking, self._tokens))
        except _MALFORMED as error:
            raise GrammarError(f"the tools cannot be read: {error}") from error

    def for_schema(self, schema: Mapping[str, Any]) -> Constraint:
        """The grammar of an answer that is JSON, as the schema says; raises GrammarError."""
        if not isinstance(schema, Mapping):
            raise GrammarError("a JSON Schema must be an object")
        try:
            return self._constraint(json_rule(schema))
        except _MALFORMED as error:
            raise GrammarError(f"the schema cannot be read: {error}") from error

    def _constraint(self, lark: str) -> Constraint:
        with self._lock:
            found = self._compiled.get(lark)
            if found is not None:
                self._compiled.move_to_end(lark)
        if found is None:
            found = _Compiled(partial(self._compile, lark))
            with self._lock:
                self._compiled[lark] = found
                while len(self._compiled) > self._kept:
                    self._compiled.popitem(last=False)
        return Constraint(found, self._width, self._stop_ids)

    def _compile(self, lark: str) -> Any:
        from llguidance import LLMatcher, LLParserLimits

        limits = LLParserLimits(
            max_lexer_states=self._states, max_grammar_size=SYMBOLS, verbose_errors=False
        )
        matcher = LLMatcher(self._tokenizer, lark, log_level=0, limits=limits)
        if not matcher.is_error():
            matcher.compute_logit_bias()  # some faults show only here
        if matcher.is_error():
            raise GrammarError(f"the schema cannot be compiled: {_first(matcher.get_error())}")
        return matcher


def _function(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A function schema, out of OpenAI's wrapping if it is in one."""
    inner = tool.get("function", tool)
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        raise GrammarError("a tool without a name")
    return dict(inner)


def _first(error: str) -> str:
    """llguidance's errors are followed by the grammar and by its state."""
    return error.strip().partition("\n")[0][:300]
