"""Conversations as token ids, the same way for training and for serving.

    python -m llmkit.prompt show=3

A `Renderer` turns messages and a machine's context into the model's own chat format. Training uses
`example` (prompt, answer, and where the answer begins), serving `prompt_ids`; both build the prompt
by one function, so the model is asked exactly what it was taught on. As a stage: prints examples
with the tokens that the loss is taken on.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from llmkit import records
from llmkit.config import plain
from llmkit.config_prompt import CallStyle, ContextPosition, PromptConfig, PromptOptions, Tools
from llmkit.domain import Domain, get_domain
from llmkit.errors import ConfigError, LlmkitError
from llmkit.reply import ARGUMENT, ReplyError, write_command, write_reply
from llmkit.stage import stage
from llmkit.stage_errors import validated
from llmkit.template import environment
from llmkit.toolkit import find_toolkit
from llmkit.wording import Wording, read_wording, words_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SAVED = "prompt_config.json"  # beside an adapter's weights
FORMAT = "To run a command, answer with `$ ` and the command."
_FORMAT_TOOLS = (
    "To run a command, answer with one of these tools, as "
    '<tool_call>{"name": NAME, "arguments": {…}}</tool_call>:'
)
_MARK = "\x00answer\x00"
_BATCH = 512  # texts that are encoded at once

Messages = Sequence[Mapping[str, Any]]


class PromptError(LlmkitError):
    """Messages that the chat template does not take, or that leave nothing to answer."""


class PromptTooLong(LlmkitError):
    """A prompt of more tokens than prompt.max_tokens."""

    def __init__(self, tokens: int, limit: int) -> None:
        super().__init__(f"the prompt has {tokens:,} tokens, more than prompt.max_tokens={limit:,}")
        self.tokens = tokens
        self.limit = limit


@dataclass(frozen=True, slots=True)
class Example:
    """One training example; the loss is taken on ids[prompt_length:], the end of turn included."""

    ids: list[int]
    prompt_length: int
    is_text: bool = False  # the answer is text, not a command


class _Pair(NamedTuple):
    """The two texts of an example."""

    prompt: str
    answer: str
    is_text: bool


class Renderer:
    """Messages → token ids in a model's chat format.

    `tools` are function schemas (name, description, parameters), as a domain gives them; `wording` has the
    words that a person's messages are brought to (llmkit.wording), None: they stay as they are typed.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        options: PromptOptions,
        *,
        system_prompt: str,
        tools: Sequence[Mapping[str, Any]] = (),
        wording: Wording | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.wording = wording if options.wording else None
        self.options = options
        self.system_prompt = system_prompt
        self.tools = tuple(tools)
        template = tokenizer.chat_template
        if not isinstance(template, str):
            raise ConfigError("the model has no single chat template: set model.chat_template")
        self.template = template
        added = tokenizer.added_tokens_decoder.values()
        special = {str(token) for token in added if token.special}
        # The longest first: one may begin with another.
        self._special = sorted(special | set(tokenizer.all_special_tokens), key=len, reverse=True)
        self._knows_tools = self._renders_tools()
        self.end_of_turn = self._find_end_of_turn()
        self.stop_ids = frozenset({self.end_of_turn, tokenizer.eos_token_id} - {None})

    # Prompts

    def prompt_text(
        self,
        messages: Messages,
        system_context: str,
        *,
        system_prompt: str | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> str:
        """The prompt as text, up to where the answer begins."""
        tools = self.tools if tools is None else tools
        turns = self._turns(messages, system_context)
        if not turns or turns[-1]["role"] != "user":
            raise PromptError("the last message must be the user's")
        parts = [self.system_prompt if system_prompt is None else system_prompt]
        native = None
        if self.options.tools is Tools.render and tools:
            if self._knows_tools:
                native = [{"type": "function", "function": dict(tool)} for tool in tools]
            else:
                lines = [json.dumps(tool, ensure_ascii=False) for tool in tools]
                as_json = self.options.call_style is CallStyle.tool_call
                parts.append("\n".join([_FORMAT_TOOLS if as_json else "Tools:", *lines]))
        if self.options.call_style is CallStyle.shell:
            parts.append(FORMAT)
        parts = [self._plain(part) for part in parts]
        context = self._plain(system_context.strip())
        if self.options.context_position is ContextPosition.system:
            parts.append(context)
        elif context:
            turns[-1] = turns[-1] | {"content": f"{context}\n\n{turns[-1]['content']}"}
        system = "\n\n".join(filter(None, (part.strip() for part in parts)))
        head = [{"role": "system", "content": system}] if system else []
        return self._apply([*head, *turns], native)

    def prompt_ids(
        self,
        messages: Messages,
        system_context: str,
        *,
        system_prompt: str | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> list[int]:
        """The prompt's token ids, the header of the answer included.

        Raises PromptTooLong, and PromptError for messages that cannot be rendered.
        """
        return self.encode_prompt(
            self.prompt_text(messages, system_context, system_prompt=system_prompt, tools=tools)
        )

    def encode_prompt(self, text: str) -> list[int]:
        """The token ids of a prompt's text. Raises PromptTooLong."""
        (ids,) = self._encode([text])
        if len(ids) >= self.options.max_tokens:
            raise PromptTooLong(len(ids), self.options.max_tokens)
        return ids

    def answer_text(self, expected: Mapping[str, Any]) -> str:
        """The answer as the model should write it; ReplyError when it cannot be written."""
        text = write_reply(expected, self.options.call_style, thinking=self.options.thinking)
        for token in self._special:
            if token in text:
                raise ReplyError(f"the answer {text[:80]!r} holds the control token {token}")
        return text

    def answer_ids(self, expected: Mapping[str, Any]) -> list[int]:
        """The answer's token ids, the end of turn included."""
        (ids,) = self._encode([self.answer_text(expected)])
        return [*ids, self.end_of_turn]

    def example(self, snapshot: Mapping[str, Any]) -> Example:
        """A snapshot as a training example; see `examples` for many."""
        (example,) = self.examples([snapshot])
        if isinstance(example, LlmkitError):
            raise example
        return example

    def examples(self, snapshots: Iterable[Mapping[str, Any]]) -> Iterator[Example | LlmkitError]:
        """Snapshots as examples, in their order; the error in place of one that is none."""
        batch: list[_Pair | LlmkitError] = []
        for snapshot in snapshots:
            try:
                prompt = self.prompt_text(snapshot["messages"], snapshot["system_context"])
                expected = snapshot["expected_response"]
                is_text = expected["type"] == "text"
                batch.append(_Pair(prompt, self.answer_text(expected), is_text))
            except LlmkitError as error:
                batch.append(error)
            if len(batch) == _BATCH:
                yield from self._encoded(batch)
                batch = []
        yield from self._encoded(batch)

    def _encoded(self, batch: list[_Pair | LlmkitError]) -> Iterator[Example | LlmkitError]:
        pairs = [pair for pair in batch if not isinstance(pair, LlmkitError)]
        ids = iter(self._encode([text for pair in pairs for text in (pair.prompt, pair.answer)]))
        for pair in batch:
            if isinstance(pair, LlmkitError):
                yield pair
                continue
            prompt, answer = next(ids), next(ids)
            whole = [*prompt, *answer, self.end_of_turn]
            if len(whole) > self.options.max_tokens:
                yield PromptTooLong(len(whole), self.options.max_tokens)
            else:
                yield Example(whole, len(prompt), pair.is_text)

    # What an adapter keeps

    def to_dict(self) -> dict[str, Any]:
        """What shapes a prompt, as JSON: written beside an adapter as prompt_config.json."""
        return {
            "options": plain(self.options),
            "system_prompt": self.system_prompt,
            "tools": [dict(tool) for tool in self.tools],
            "chat_template_sha256": hashlib.sha256(self.template.encode()).hexdigest(),
        }

    @classmethod
    def from_dict(
        cls,
        tokenizer: PreTrainedTokenizerFast,
        saved: Mapping[str, Any],
        wording: Wording | None = None,
    ) -> Renderer:
        """The renderer that `to_dict` describes, with the words of its training data.

        Raises ConfigError when the tokenizer's chat template is another one.
        """
        options: Any = validated(PromptOptions, dict(saved["options"]))
        made = cls(
            tokenizer, options, system_prompt=saved["system_prompt"], tools=saved.get("tools", []),
            wording=wording,
        )  # fmt: skip
        if made.to_dict()["chat_template_sha256"] != saved["chat_template_sha256"]:
            raise ConfigError(
                "the adapter was trained with another chat template than the model has now"
            )
        return made

    # Parts

    def _turns(self, messages: Messages, context: str) -> list[dict[str, str]]:
        """Messages as role and text: a tool call and `$ COMMAND` become the same turn."""
        turns: list[dict[str, str]] = []
        known = set(words_of([context])) if self.wording is not None else set()
        for message in messages:
            role, content = message["role"], _text_of(message.get("content"))
            if role not in ("user", "assistant", "tool"):
                raise PromptError(f"a message of role {role!r}: there are user, assistant and tool")
            if role == "tool":
                if turns and turns[-1]["role"] == "assistant" and content.strip():
                    turns[-1]["content"] += "\n\n" + self._plain(content.rstrip("\n"))
                    known |= words_of([content]) if self.wording is not None else set()
                continue
            if role == "assistant":
                content = self._history(content, message.get("tool_calls") or ())
            if self.wording is not None:
                if role == "user":
                    content = self.wording.normalized(content, known)
                else:  # only what came before: a turn reads the same in each later prompt
                    known |= words_of([content])
            turns.append({"role": role, "content": self._plain(content)})
        return turns

    def _history(self, content: str, calls: Sequence[Mapping[str, Any]]) -> str:
        if calls:
            commands = [_command_of(call) for call in calls]
            written = [write_command(command, self.options.call_style) for command in commands]
            return "\n".join([*([content.strip()] if content.strip() else []), *written])
        if not content.startswith("$ ") or self.options.call_style is CallStyle.shell:
            return content
        command, gap, output = content[2:].partition("\n\n")
        if "<<" in command:  # a here-document may hold blank lines
            command, gap, output = content[2:], "", ""
        return write_command(command, self.options.call_style) + gap + output

    def _plain(self, text: str) -> str:
        """Text in which no control token stands: what a person types must not end their turn."""
        for token in self._special:
            text = text.replace(token, f"{token[0]} {token[1:]}")
        return text

    def _apply(self, turns: list[dict[str, str]], tools: Any, *, generate: bool = True) -> str:
        from jinja2 import TemplateError

        try:
            text = self.tokenizer.apply_chat_template(
                turns,
                tools=tools,
                tokenize=False,
                add_generation_prompt=generate,
                enable_thinking=self.options.thinking,
            )
        except (TemplateError, TypeError, KeyError) as error:
            raise PromptError(f"the chat template refuses these messages: {error}") from error
        return str(text)

    def _encode(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        encoded: Any = self.tokenizer(texts, add_special_tokens=False, return_attention_mask=False)
        return list(encoded["input_ids"])

    def _renders_tools(self) -> bool:
        """Whether the template writes tools into the prompt."""
        tool = {"name": _MARK, "description": "", "parameters": {"type": "object"}}
        turns = [{"role": "system", "content": "a"}, {"role": "user", "content": "a"}]
        try:
            text = self._apply(turns, [{"type": "function", "function": tool}])
        except PromptError:
            return False
        return "answer" in text  # the mark's letters, however they are escaped

    def _find_end_of_turn(self) -> int:
        """The control token that the template writes behind an assistant's message."""
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": _MARK}]
        _, mark, rest = self._apply(turns, None, generate=False).partition(_MARK)
        (ids,) = self._encode([rest]) if mark else ([],)
        special = set(self.tokenizer.all_special_ids) | set(self.tokenizer.added_tokens_decoder)
        for token in ids:
            if token in special:
                return int(token)
        if self.tokenizer.eos_token_id is None:
            raise ConfigError("the chat template ends no turn, and the model has no end token")
        return int(self.tokenizer.eos_token_id)


def _text_of(content: Any) -> str:
    """A message's text: a string, nothing, or OpenAI's list of parts."""
    if content is None or isinstance(content, str):
        return content or ""
    parts = content if isinstance(content, list) else [content]
    if not all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in parts):
        raise PromptError("a message's content must be text")
    return "".join(part["text"] for part in parts)


def _command_of(call: Mapping[str, Any]) -> str:
    """The command of an OpenAI-style tool call, whose arguments are JSON text or an object."""
    function = call.get("function", call)
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError as error:
            raise PromptError(f"a tool call's arguments are not JSON: {error}") from error
    if not isinstance(arguments, dict) or not isinstance(arguments.get(ARGUMENT), str):
        raise PromptError(f"a tool call without the argument {ARGUMENT!r}")
    return str(arguments[ARGUMENT])


def system_prompt_text(name: str, domain: Domain) -> str:
    """The system prompt: a template of the domain or of templates/, or a file.

    Raises ConfigError when there is none of that name.
    """
    folders = [*domain.templates(), find_toolkit().templates]
    if any((folder / name).is_file() for folder in folders):
        return environment(folders).get_template(name).render().strip()
    path = Path(name).expanduser()
    if path.is_file():
        return path.read_text(encoding="utf-8").strip()
    raise ConfigError(f"prompt.system_prompt={name}: neither a file nor a template in {folders[0]}")


def prompt_identity(options: PromptOptions, domain: Domain) -> dict[str, Any]:
    """What a prompt without an adapter depends on, the system prompt as its text: JSON data."""
    values: dict[str, Any] = plain(options)
    return {**values, "system_prompt": system_prompt_text(options.system_prompt, domain)}


def renderer(
    tokenizer: PreTrainedTokenizerFast,
    options: PromptOptions,
    domain: Domain,
    adapter: Path | None = None,
) -> Renderer:
    """The renderer for a model: as its adapter was trained, or else as `options` say."""
    if adapter is not None and (adapter / SAVED).is_file():
        return saved_renderer(tokenizer, adapter)
    system = system_prompt_text(options.system_prompt, domain)
    return Renderer(tokenizer, options, system_prompt=system, tools=[domain.tool_schema(None)])


def saved_renderer(tokenizer: PreTrainedTokenizerFast, adapter: Path) -> Renderer:
    """The renderer that an adapter was trained with.

    Raises ConfigError where its folder does not say which that is.
    """
    try:
        saved = json.loads((adapter / SAVED).read_text(encoding="utf-8"))
        return Renderer.from_dict(tokenizer, saved, read_wording(adapter))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{adapter / SAVED} cannot be read: {error!r}") from error


def prompt(cfg: PromptConfig) -> None:
    """Print `cfg.show` examples of `cfg.file`, drawn by `cfg.seed`.

    Raises ConfigError when the file or the model is missing, RecordError for a bad record.
    """
    from llmkit.model import load_tokenizer

    snapshots = []
    for path in records.paths_of(cfg.file):
        for line, value in records.read_jsonl(path):
            records.check_record("snapshot", records.Located(value, str(path), line))
            snapshots.append(value)
    if not snapshots:
        raise LlmkitError(f"{cfg.file} holds no record")
    drawn = random.Random(cfg.seed).sample(snapshots, min(cfg.show, len(snapshots)))
    made = renderer(load_tokenizer(cfg.model), cfg.prompt, get_domain(cfg.domain.name))
    for number, snapshot in enumerate(drawn, 1):
        _show(made, made.example(snapshot), number)


def _show(made: Renderer, example: Example, number: int) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True, highlight=False)
    count, answer = len(example.ids), len(example.ids) - example.prompt_length
    console.rule(f"example {number}: {count} tokens, {answer} supervised")
    read = made.tokenizer.decode
    console.print(Text(str(read(example.ids[: example.prompt_length])), style="dim"), end="")
    plain = not console.is_terminal or console.no_color
    for token in example.ids[example.prompt_length :]:
        text = str(read([token]))
        console.print(Text(f"‹{text}›" if plain else text, style="black on green"), end="")
    console.print()


main = stage("prompt", prompt, schema=PromptConfig, summary=__doc__.splitlines()[0])

if __name__ == "__main__":
    main()
