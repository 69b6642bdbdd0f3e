"""Constrained decoding: what a grammar lets through is what was asked for, token by token."""

from __future__ import annotations

import itertools
import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("llguidance")

from tokenizers import AddedToken  # noqa: E402

from llmkit.config_engine import EngineConfig  # noqa: E402
from llmkit.config_model import ModelConfig  # noqa: E402
from llmkit.config_prompt import CallStyle  # noqa: E402
from llmkit.domain import get_domain  # noqa: E402
from llmkit.errors import ConfigError  # noqa: E402
from llmkit.evaluate import local  # noqa: E402
from llmkit.evaluate_cases import load_cases  # noqa: E402
from llmkit.evaluate_run import run_cases  # noqa: E402
from llmkit.generate import Engine, Request  # noqa: E402
from llmkit.grammar import Constraint, GrammarError, Grammars  # noqa: E402
from llmkit.grammar_text import MARKS  # noqa: E402
from llmkit.installer.state import SystemState  # noqa: E402
from llmkit.model import load_model  # noqa: E402
from llmkit.model_tiny import tiny_tokenizer  # noqa: E402
from llmkit.reply import parse_reply  # noqa: E402
from llmkit.stage_errors import validated  # noqa: E402
from tests.test_evaluate import config  # noqa: E402
from tests.test_grounding import absent_disks  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
TOKENIZER = tiny_tokenizer()
END, END_OF_TEXT = 2, 0
STOPS = frozenset({END, END_OF_TEXT})
WIDTH = len(TOKENIZER) + 21  # a model may have more logits than there are tokens
SHELL, JSON = CallStyle.shell, CallStyle.tool_call
NAMED = {"name": "run_shell_command"}


def tool(name: str = "run_shell_command", **command: Any) -> dict[str, Any]:
    return {
        "name": name,
        "parameters": {
            "type": "object",
            "properties": {"command": {"type": "string", **command}},
            "required": ["command"],
            "additionalProperties": False,
        },
    }


LETTERS = tool(pattern="^[a-z -]+$")
WEATHER = {
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {
            "place": {"type": "string", "maxLength": 6},
            "unit": {"enum": ["C", "F"]},
            "code": {"type": "string", "pattern": "^[A-Z]{2}[0-9]+$", "maxLength": 5},
            "days": {"type": "integer", "minimum": 1, "maximum": 14},
            "inner": {"$ref": "#/$defs/point"},
        },
        "required": ["place", "unit", "code", "days", "inner"],
        "$defs": {
            "point": {
                "type": "object",
                "properties": {"x": {"type": "boolean"}, "y": {"type": "null"}},
                "required": ["x", "y"],
            }
        },
    },
}


@cache
def grammars() -> Grammars:
    return Grammars(TOKENIZER, STOPS, WIDTH)


def grammar(tools: list[dict[str, Any]], choice: Any, style: CallStyle) -> Constraint:
    found = grammars().for_tools(tools, choice, style)
    assert found is not None
    return found


def ids_of(text: str) -> list[int]:
    encoded: Any = TOKENIZER(text, add_special_tokens=False)
    return list(encoded["input_ids"])


def takes(constraint: Constraint, text: str) -> bool:
    """Whether every token of `text` may follow, and then the end."""
    fresh, ids = constraint.start(), ids_of(text)
    for at, token in enumerate(ids):
        if not fresh.mask(ids[:at])[token]:
            return False
    return bool(fresh.mask(ids)[END])


def walk(constraint: Constraint, draw: random.Random, limit: int) -> str | None:
    """A reply drawn token by token, each that is allowed being as likely as the others; None when
    it did not end."""
    ids: list[int] = []
    for _ in range(limit):
        token = draw.choice(constraint.mask(ids).nonzero().flatten().tolist())
        if token in STOPS:
            return str(TOKENIZER.decode(ids, clean_up_tokenization_spaces=False))
        ids.append(token)
    return None


def call(command: str, name: str = "run_shell_command") -> str:
    body = json.dumps({"name": name, "arguments": {"command": command}}, ensure_ascii=False)
    return f"<tool_call>\n{body}\n</tool_call>"


TEXTS = ("Which disk?", "", "It costs $ 5.", "$5", "```\nls\n```", "a < b", "Příliš žluťoučký kůň")
COMMANDS = ("$ lsblk -f", "<think>\nso </thin it\n</think>\n\n$ lsblk")
CALLS = (call("lsblk -f"), "<think>x</think>" + call("ls"), call("ls").replace("\n", ""))
# Commands in the forms that were not asked for, and broken ones.
NEVER = (
    "$ LSBLK", "$ ", "$   ", "x\n$ ls", " $ ls", "\u00a0$ ls", "```bash\nls\n```", "x\n```sh\nls\n```",
    "call:run_shell_command{command:<escape>ls<escape>}", "<tool_call>", "<think>so",
    "<think>a</think>\n$ LS",
    call("LS"), call(" ls"), call("ls") + call("ls"), call("ls") + " ", call("ls", "other"), call("ls")[:-3],
)  # fmt: skip
TABLE = [
    (SHELL, "auto", TEXTS + COMMANDS, CALLS),
    (SHELL, "required", COMMANDS, TEXTS + CALLS),
    (SHELL, NAMED, COMMANDS, TEXTS + CALLS),
    (SHELL, "none", TEXTS, COMMANDS + CALLS),
    (JSON, "auto", TEXTS + CALLS, COMMANDS),
    (JSON, "required", CALLS, TEXTS + COMMANDS),
    (JSON, NAMED, CALLS, TEXTS + COMMANDS),
    (JSON, "none", TEXTS, COMMANDS + CALLS),
]


@pytest.mark.parametrize(("style", "choice", "good", "bad"), TABLE)
def test_a_reply_is_what_the_tool_choice_asks_for(
    style: CallStyle, choice: Any, good: tuple[str, ...], bad: tuple[str, ...]
) -> None:
    """Text, a command or a call may be written as the choice says, and no other form of one."""
    constraint = grammar([LETTERS], choice, style)
    assert [text for text in good if not takes(constraint, text)] == []
    assert [text for text in bad + NEVER if takes(constraint, text)] == []


_pieces = st.sampled_from(
    ("$", " ", "\n", "```", "bash", "sh", "<think>", "</think>", "<tool_call>", "</tool_call>", "call:",
     "x", "{", "}", "command:<escape>ls<escape>", "$ ls", "\r", "\u2003", "\x1f", "ls", "é", '"', ":", "<")
)  # fmt: skip


@given(style=st.sampled_from(CallStyle), pieces=st.lists(_pieces, max_size=10))
def test_text_that_may_be_written_is_read_as_text(style: CallStyle, pieces: list[str]) -> None:
    """However close to a command a text comes: when it is allowed, no command is read in it; and a
    text far from one is allowed."""
    text = "".join(pieces)
    allowed = takes(grammar([LETTERS], "none", style), text)
    if allowed:
        reply = parse_reply(text)
        assert (reply.type, reply.calls, reply.problem) == ("text", (), None)
    if not set(pieces) & {"$", "$ ls", "```", "<think>", "<tool_call>", "call:"}:
        assert allowed or text[0].isspace()


@settings(max_examples=25)
@given(seed=st.integers(0, 10**9), style=st.sampled_from(CallStyle))
def test_a_command_drawn_at_random_keeps_to_its_schema(seed: int, style: CallStyle) -> None:
    """pattern, minLength and maxLength hold for whatever is drawn, and the reply is one command."""
    schema = tool(pattern="^(?:[^/]|/x)*$", minLength=3, maxLength=12)
    text = walk(grammar([schema], "required", style), random.Random(seed), 400)
    if text is not None and "<think>" not in text:
        reply = parse_reply(text)
        assert reply.problem is None and reply.command is not None
        jsonschema.validate({"command": reply.command}, schema["parameters"])


@settings(max_examples=25)
@given(seed=st.integers(0, 10**9))
def test_a_call_drawn_at_random_keeps_to_its_schema(seed: int) -> None:
    """enum, pattern, maxLength, bounds and references hold: JSON that validates, always."""
    constraint = grammar([WEATHER], {"type": "function", "function": {"name": "weather"}}, JSON)
    text = walk(constraint, random.Random(seed), 600)
    if text is not None and "<think>" not in text:
        (found,) = parse_reply(text).calls
        assert found.name == "weather"
        jsonschema.validate(dict(found.arguments), WEATHER["parameters"])


@settings(max_examples=25)
@given(seed=st.integers(0, 10**9))
def test_an_answer_in_a_schema_is_json_that_validates(seed: int) -> None:
    """response_format: nothing but a value as the schema says."""
    schema: dict[str, Any] = WEATHER["parameters"]
    text = walk(grammars().for_schema(schema), random.Random(seed), 600)
    if text is not None:
        jsonschema.validate(json.loads(text), schema)


@pytest.mark.parametrize("style", list(CallStyle))
def test_each_tool_has_its_own_arguments(style: CallStyle) -> None:
    """Among several tools the arguments are those of the one that is named."""
    both = [tool("one", enum=["ls", "pwd"]), tool("two", const="id")]
    constraint = grammar(both, "required", style)
    if style is SHELL:
        assert all(takes(constraint, f"$ {command}") for command in ("ls", "pwd", "id"))
        assert not takes(constraint, "$ cd")
    else:
        assert takes(constraint, call("ls", "one")) and takes(constraint, call("id", "two"))
        assert not takes(constraint, call("ls", "two")) and not takes(constraint, call("id", "one"))


def test_marks_that_are_single_tokens_are_known() -> None:
    """Where <tool_call> and <think> are tokens of the model, they are the way to write them; in text
    they are not allowed."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in MARKS])
    several = Grammars(tokenizer, STOPS)
    for style, reply in ((JSON, call("ls")), (SHELL, "$ ls"), (SHELL, "Hello"), (JSON, "Hello")):
        constraint = several.for_tools([LETTERS], "auto", style)
        assert constraint is not None
        for text in (reply, f"<think>\na < b\n</think>\n\n{reply}"):
            encoded: Any = tokenizer(text, add_special_tokens=False)
            ids = list(encoded["input_ids"])
            for at, token in enumerate(ids):
                assert constraint.mask(ids[:at])[token], (style, text, ids[:at])
            assert constraint.mask(ids)[END]
    constraint = several.for_tools([LETTERS], "none", SHELL, thinking=False)
    assert constraint is not None
    assert not constraint.mask([])[len(TOKENIZER) :].any()


def test_a_command_cannot_end_its_call_early() -> None:
    """`</tool_call>` within a command would be read as the end of the call."""
    constraint = grammar([tool()], "required", JSON)
    assert takes(constraint, call("echo '</tool' \"<\" \\ é\n"))
    assert not takes(constraint, call("echo '</tool_call>'"))


def test_patterns_may_match_anywhere_unless_anchored() -> None:
    """As in JSON Schema; anchors within a pattern are refused rather than misread."""
    constraint = grammar([tool(pattern="disk|drive")], "required", SHELL)
    assert takes(constraint, "$ show drives") and not takes(constraint, "$ show")
    for pattern in ("^a|b$", "^(a$|b)c", "(^a|b)"):
        with pytest.raises(GrammarError, match="pattern"):
            grammars().for_tools([tool(pattern=pattern)], "required", SHELL)


@pytest.mark.parametrize(
    ("tools", "choice", "message"),
    [
        ([LETTERS], {"name": "other"}, "'other'"),
        ([LETTERS], "sometimes", "sometimes"),
        ([], "required", "without tools"),
        ([{"name": 3}], "auto", "name"),
        ([tool(pattern="(")], "required", "compile"),
        ([WEATHER], "required", "command"),
    ],
)
def test_what_cannot_be_is_an_error(tools: list[Any], choice: Any, message: str) -> None:
    """A clear error, not a crash: the server answers 400."""
    with pytest.raises(GrammarError, match=message):
        grammars().for_tools(tools, choice, SHELL)


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


BAD: list[Any] = [
    {"type": "strange"}, {"enum": 5}, {"properties": 5}, {"allOf": 3, "type": "string"}, {"$ref": "#"},
    {"$ref": "http://localhost:1/x"}, {"not": {"type": "string"}}, {"pattern": "(", "type": "string"},
    {"const": "\ud800"}, {"type": "string", "pattern": "(?=a)b"}, nested(300), nested(30_000), 5, None,
    {"enum": [f"x{number}" for number in range(100_000)]},

]  # fmt: skip


@pytest.mark.parametrize("number", range(len(BAD)))  # some cannot be printed
def test_a_schema_that_cannot_be_compiled_is_an_error(number: int) -> None:
    """Malformed, unsupported, recursive without end, too deep or too large: an error and no crash."""
    schema = BAD[number]
    with pytest.raises(ConfigError):
        grammars().for_schema(schema)
    bad = {"name": "f", "parameters": {"properties": {"x": schema}, "required": ["x"]}}
    if schema != {"$ref": "#"}:  # there it is an object within an object, without end but no fault
        with pytest.raises(ConfigError):
            grammars().for_tools([bad], "auto", JSON)


def test_no_tools_are_no_constraint() -> None:
    """Without tools anything may be said."""
    assert grammars().for_tools([], "auto", SHELL) is None


def test_masks_are_as_wide_as_the_logits() -> None:
    """Logits beyond the tokenizer's tokens are never allowed, and control tokens but the ends are
    not either."""
    mask = grammar([LETTERS], "auto", SHELL).mask([])
    assert mask.dtype == torch.bool and mask.shape == (WIDTH,)
    assert not mask[len(TOKENIZER) :].any()
    assert [bool(mask[token]) for token in (END_OF_TEXT, 1, END)] == [True, False, True]


def test_the_same_object_may_go_back() -> None:
    """A mask depends on the ids alone, whatever was asked before; `allows` says the same."""
    constraint = grammar([LETTERS], "required", SHELL)
    ids = ids_of("$ lsblk -f")
    asked = [ids[:3], ids, ids[:1], [], [*ids[:2], *ids_of("ls")], ids]
    for prefix in asked:
        wanted = constraint.start().mask(prefix)
        assert torch.equal(constraint.mask(prefix), wanted)
        for token in (*range(40, 60), END, ids[0]):
            assert constraint.allows(prefix, token) == wanted[token]


def test_ids_that_are_not_of_the_grammar_are_an_error() -> None:
    """Rather than a mask that means nothing."""
    with pytest.raises(GrammarError, match="not of the grammar"):
        grammar([LETTERS], "required", SHELL).mask(ids_of("hello"))


def test_what_is_compiled_is_kept_and_bounded() -> None:
    """A known schema is not compiled again; the oldest is forgotten."""
    few = Grammars(TOKENIZER, STOPS, kept=2)
    for text in "abcaa":
        few.for_schema({"const": text})
    assert len(few._compiled) == 2
    assert any('"a"' in lark for lark in few._compiled)


def test_a_lexer_that_is_full_begins_anew() -> None:
    """What requests share grows with what is written; when it is full, nobody notices."""
    pattern = "^([a-z]{3,40} [0-9]{2,50})*$"
    small, large = Grammars(TOKENIZER, STOPS, states=70), Grammars(TOKENIZER, STOPS)
    schema, draw, used = tool(pattern=pattern), random.Random(0), []
    for _ in range(20):
        one, other = (g.for_tools([schema], "required", SHELL) for g in (small, large))
        assert one is not None and other is not None
        ids: list[int] = []
        for _ in range(40):
            mask = one.mask(ids)
            assert torch.equal(mask, other.mask(ids))
            ids.append(draw.choice([t for t in mask.nonzero().flatten().tolist() if t != END]))
            if ids[-1] in STOPS:
                break
        used.append(one._origin)
    assert any(matcher is not used[0] for matcher in used)


# With a model


SIZES = {"sda": 500 * 10**9, "nvme0n1": 10**12, "vda": 2 * 10**10}
ABSENT = ("sdb", "sdz", "sdaa", "vdb", "nvme1n1", "nvme0n2", "mmcblk0", "xvda")


def engine() -> tuple[Any, Engine]:
    model = yaml.safe_load((ROOT / "conf/model/tiny.yaml").read_text())
    loaded = load_model(validated(ModelConfig, model | {"device": "cpu"}))
    batch = yaml.safe_load((ROOT / "conf/engine/batch.yaml").read_text())
    return loaded, Engine(loaded, validated(EngineConfig, batch), STOPS)


@pytest.mark.parametrize("style", list(CallStyle))
def test_no_command_names_a_device_that_is_not_there(style: CallStyle) -> None:
    """200 requests for absent devices at temperature 1.5, a call being required: each reply is a
    command, as JSON where it is a call, and none names an absent disk."""
    loaded, made = engine()
    all_grammars = Grammars(TOKENIZER, STOPS, loaded.model.config.get_text_config().vocab_size)
    domain = get_domain("installer")
    requests, states = [], []
    for number, (asked, name) in enumerate(itertools.islice(
        itertools.product(ABSENT * 9, SIZES), 200
    )):  # fmt: skip
        state = SystemState.from_dict({"disks": [{"name": name, "size": SIZES[name]}]})
        schema = domain.tool_schema(state)
        schema["parameters"]["properties"]["command"]["maxLength"] = 40  # so that each one ends
        constraint = all_grammars.for_tools([schema], "required", style, thinking=False)
        prompt = ids_of(f"format /dev/{asked}\n$ mkfs.ext4 /dev/{asked}\n")
        requests.append(Request(tuple(prompt), 400, 1.5, seed=number, grammar=constraint))
        states.append(state)
    done = made.generate(requests)
    for state, completion in zip(states, done, strict=True):
        assert completion.finish_reason == "stop"
        reply = parse_reply(completion.text)
        assert reply.problem is None and reply.command, completion.text
        assert not absent_disks(reply.command, state)
        assert not set(domain.check(state, reply.command).missing) & {f"/dev/{x}" for x in ABSENT}


def test_evaluate_grounds_its_answers() -> None:
    """evaluate grounded=true gives each case the grammar of its own machine: no answer is a broken
    command, and none names a disk that is not there."""
    domain = get_domain("installer")
    made = local(config("grounded=true", "temperature=1.5", "max_tokens=24"), domain, None)
    cases = load_cases(ROOT / "data/test_cases.jsonl", domain, limit=12, seed=1)
    assert made.grammar is not None
    for case in cases:
        constraint = made.grammar(case)
        disk = case.state.disks[0]
        assert takes(constraint, f"$ lsblk {disk.path}")
        assert not takes(constraint, "$ lsblk /dev/sdq")
    results = run_cases(cases, made, domain, ["type"])
    assert len(results) == 12
    for result in results:
        assert result.answer.error is None and result.reply.problem is None
        assert not absent_disks(result.reply.command or "", result.case.state)
