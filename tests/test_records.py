"""Records: what is read, from where, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from augment_support import CORPUS, corpus
from hypothesis import given
from hypothesis import strategies as st

from llmkit import records
from llmkit.errors import ConfigError, RecordError

TEXT = st.text(max_size=5)
LEAF = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), TEXT)
WORDS = ("user", "assistant", "command", "text", "yes", "a-b")
VALUE = st.recursive(
    st.one_of(LEAF, st.sampled_from(WORDS)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(WORDS), inner, max_size=3)
    ),
    max_leaves=6,
)


def shaped(fields: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects in which each field is what it should be, or anything, or missing."""
    return st.fixed_dictionaries(
        {},
        optional={
            name: st.one_of(good, good, good, VALUE) for name, good in {**fields, "x": LEAF}.items()
        },
    )


def full(fields: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """As `shaped`, or with every field as it should be."""
    return st.one_of(st.fixed_dictionaries(fields), shaped(fields))


MESSAGE = full({"role": st.sampled_from(["user", "assistant"]), "content": TEXT})
MESSAGES = st.lists(MESSAGE, max_size=3)
WORDING = st.one_of(TEXT, st.lists(TEXT, max_size=2))
KINDS: dict[str, st.SearchStrategy[Any]] = {
    "snapshot": full(
        {
            "system_context": TEXT,
            "messages": MESSAGES,
            "expected_response": st.one_of(
                full({"type": st.just("command"), "command": TEXT}),
                full({"type": st.just("text"), "response": TEXT}),
            ),
            "meta": full({"conversation": TEXT, "seed": st.integers(-1, 9), "state": VALUE}),
        }
    ),
    "conversation": full(
        {
            "id": st.sampled_from(["a-1", "B.2", "-x", ""]),
            "categories": st.lists(st.sampled_from(["a-b", "x", "A", ""]), max_size=2),
            "turns": st.lists(
                st.one_of(
                    full({"user": WORDING, "command": TEXT, "reply": WORDING}),
                    full({"user": WORDING, "text": WORDING}),
                ),
                max_size=2,
            ),
        }
    ),
    "test_case": full(
        {"name": TEXT, "messages": MESSAGES, "expected": st.one_of(WORDING, st.none()),
         "category": TEXT}
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", records.KINDS)
@given(data=st.data())
def test_both_validators_agree(kind: str, data: st.DataObject) -> None:
    """jsonschema-rs, which checks in bulk, accepts what jsonschema, the reference, accepts."""
    record = data.draw(st.one_of(KINDS[kind], KINDS[kind], VALUE))
    reference = jsonschema.Draft202012Validator(records.schema(kind))
    assert records.validator(kind).is_valid(record) == reference.is_valid(record)


@pytest.mark.parametrize("kind", records.KINDS)
def test_the_schemas_are_schemas(kind: str) -> None:
    """Each schema file is valid under its own dialect."""
    jsonschema.Draft202012Validator.check_schema(records.schema(kind))


def test_lines_of_conversations_and_turns_are_kept(tmp_path: Path) -> None:
    """Every conversation and turn knows the line on which it stands."""
    talks, _, _ = records.load_conversations(corpus(tmp_path))
    assert [(talk.id, talk.line) for talk in talks] == [
        ("look-01", 1), ("install-01", 9), ("name-01", 19)
    ]  # fmt: skip
    assert [turn.line for turn in talks[0].turns] == [4, 7]
    assert talks[1].where(2) == f"{tmp_path}/talks.yaml:15"


def test_what_a_person_types_is_text(tmp_path: Path) -> None:
    """yes, no, 12 and 1e3 are words, not bools and numbers."""
    path = corpus(
        tmp_path, "- {id: a, categories: [b], turns: [{user: [yes, no, 12, 1e3], text: on}]}"
    )
    (talk,), _, _ = records.load_conversations(path)
    assert talk.turns[0].user == ("yes", "no", "12", "1e3")
    assert talk.turns[0].text == ("on",)


def test_a_record_written_is_a_record_read(tmp_path: Path) -> None:
    """dump_yaml(to_authored(x)) reads back as x, but for where it stands."""
    talks, _, _ = records.load_conversations(corpus(tmp_path))
    again = corpus(tmp_path, records.dump_yaml(map(records.to_authored, talks)))

    def bare(talk: records.Conversation) -> records.Conversation:
        turns = tuple(dataclasses.replace(turn, line=None) for turn in talk.turns)
        return dataclasses.replace(talk, turns=turns, line=None, file="")

    assert list(map(bare, records.load_conversations(again)[0])) == list(map(bare, talks))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- {id: a, categories: [b], turns: [{user: x}]}", "1: /turns/0: a turn needs"),
        (
            "- id: a\n  categories: [b]\n  turns:\n    - user: x\n      command: ls\n      text: y\n",
            "4: /turns/0: a turn has either `command` or `text`",
        ),
        (
            "- id: a\n  categories: [b]\n  turns:\n    - user: x\n      text: y\n      reply: z\n",
            "4: /turns/0: `reply` is for turns with a `command`",
        ),
        (
            "- id: a\n  categories: [b]\n  turns:\n    - user:\n      text: y\n",
            "4: /turns/0/user: must be text",
        ),
        ("- id: a\n  id: b\n", "2: : the key 'id' stands twice"),
        ("id: a\n", "1: the file must be a list"),
        ("- [\n", "not YAML"),
        ("- &a [*a]\n", "nested too deeply, or an alias to itself"),
        ("- {id: a, categories: [b], turns: [{user: x, text: y}], wen: {}}", "1: "),
    ],
)
def test_a_bad_record_is_named_by_file_line_and_pointer(
    tmp_path: Path, text: str, message: str
) -> None:
    """The error says where and what, in words about conversations."""
    with pytest.raises(RecordError) as caught:
        records.load_conversations(corpus(tmp_path, text))
    assert str(caught.value).startswith(f"{tmp_path}/talks.yaml:")
    assert message.replace(": : ", ": ") in str(caught.value)


def test_an_id_may_stand_once(tmp_path: Path) -> None:
    """The same id in two files is an error that names both places."""
    (tmp_path / "a.yaml").write_text(CORPUS)
    (tmp_path / "b.yaml").write_text(CORPUS)
    with pytest.raises(
        RecordError, match=r"b\.yaml:1: /id: .*look-01 stands already at .*a\.yaml:1"
    ):
        records.load_conversations(tmp_path)


def test_files_folders_and_globs_are_read(tmp_path: Path) -> None:
    """A path means its file, the files below it, or what the glob matches; or it is an error."""
    (tmp_path / "sub").mkdir()
    for name in ("b.yaml", "sub/a.yml", "sub/c.jsonl", "notes.txt"):
        (tmp_path / name).write_text("")
    names = [path.name for path in records.paths_of(tmp_path)]
    assert names == ["b.yaml", "a.yml", "c.jsonl"]
    assert [path.name for path in records.paths_of(f"{tmp_path}/*.yaml")] == ["b.yaml"]
    with pytest.raises(ConfigError, match="no such file, folder or glob"):
        records.paths_of(tmp_path / "nowhere")


def test_jsonl_that_is_not_json_is_named_by_line(tmp_path: Path) -> None:
    """A broken line is an error with its number; blank lines are passed over."""
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1}\n\n{"a": \n')
    lines = records.read_jsonl(path)
    assert next(lines) == (1, {"a": 1})
    with pytest.raises(RecordError, match=r"x\.jsonl:3: not JSON"):
        next(lines)


def test_older_forms_are_told_apart() -> None:
    """Slots, literal contexts and authored records are known by their keys."""
    assert records.form_of({"id": "a", "turns": [{"user": "x", "text": "y"}]}) == "authored"
    assert records.form_of({"id": "a", "turns": [{"user": "x", "type": "text"}]}) == "slots"
    assert records.form_of({"system_context": "…", "messages": []}) == "literal"


def test_an_older_record_that_cannot_be_converted_is_returned_as_dropped(tmp_path: Path) -> None:
    """It is named with file, line and reason; the others are there."""
    good = {
        "id": "g",
        "turns": [{"user": "x", "type": "command", "command": "lsblk {PRIMARY_DISK}"}],
    }
    bad = {
        "id": "b",
        "turns": [{"user": "x", "type": "command", "command": "lsblk {NO_SUCH_SLOT}"}],
    }
    path = tmp_path / "old.jsonl"
    path.write_text("\n".join(map(json.dumps, (good, bad))))
    kept, dropped, _ = records.load_conversations(path)
    assert [(talk.id, talk.authored) for talk in kept] == [("g", False)]
    assert [(item.id, item.line) for item in dropped] == [("b", 2)]
    assert "NO_SUCH_SLOT" in dropped[0].reason
