"""The validate stage: every kind of bad record, named with its place."""

from __future__ import annotations

import json

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit import records

SNAPSHOT = {
    "system_context": "## Current System State",
    "messages": [
        {"role": "user", "content": "list disks"},
        {"role": "assistant", "content": "$ lsblk"},
        {"role": "user", "content": "which is bigger?"},
    ],
    "expected_response": {"type": "text", "response": "sda."},
}


def changed(path: str, value: object) -> dict:
    """A copy of SNAPSHOT with one place replaced (None: removed)."""
    copy = json.loads(json.dumps(SNAPSHOT))
    *parents, last = [int(key) if key.isdigit() else key for key in path.strip("/").split("/")]
    place = copy
    for key in parents:
        place = place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return copy


@pytest.mark.parametrize(
    ("record", "pointer", "reason"),
    [
        (changed("/messages/1/role", "user"), "/messages/1/role", "user where assistant is due"),
        (changed("/messages/2", None), "/messages/1/role", "the last message must be the user's"),
        (changed("/messages/0/content", "  "), "/messages/0/content", "is empty"),
        (changed("/messages/1/content", "$ "), "/messages/1/content", "is empty"),
        (changed("/messages/0/content", "x" * 200_000), "/messages/0/content", "more than"),
        (changed("/messages/0/content", 5), "/messages/0/content", "5 is not of type"),
        (changed("/system_context", None), "", '"system_context" is a required property'),
        (changed("/expected_response/response", " "), "/expected_response/response", "is empty"),
    ],
)
def test_a_bad_snapshot_is_named_with_line_and_pointer(
    run_stage, tmp_path, record, pointer, reason
):
    """`file:line: /pointer: reason` on stdout, exit 1, for the second of two lines."""
    path = tmp_path / "s.jsonl"
    path.write_text(json.dumps(SNAPSHOT) + "\n" + json.dumps(record) + "\n")
    done = run_stage("validate", f"file={path}", "schema=snapshot", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    line = next(text for text in done.stdout.splitlines() if text.startswith(f"{path}:2:"))
    assert reason in line
    assert not pointer or f": {pointer}: " in line
    assert "2 snapshot records" in done.stdout and "1 bad" in done.stdout


def test_lines_that_are_not_json_do_not_end_the_check(run_stage, tmp_path):
    """A broken line and bytes that are not UTF-8 are named, and the rest is still checked."""
    path = tmp_path / "s.jsonl"
    good = json.dumps(SNAPSHOT).encode()
    path.write_bytes(b'{"a": \n' + b'{"b": "\xff"}\n' + good + b"\n")
    done = run_stage("validate", f"file={path}", "schema=snapshot", cwd=tmp_path)
    assert done.returncode == 1
    assert f"{path}:1: not JSON" in done.stdout and f"{path}:2: not JSON" in done.stdout
    assert "3 snapshot records" in done.stdout and "2 bad" in done.stdout


def test_duplicates_are_counted_and_may_be_errors(run_stage, tmp_path):
    """Two equal snapshots: exit 0 and a count; with duplicates=error exit 1 and the first place."""
    path = tmp_path / "s.jsonl"
    path.write_text((json.dumps(SNAPSHOT) + "\n") * 2)
    done = run_stage("validate", f"file={path}", "schema=snapshot", cwd=tmp_path)
    assert (done.returncode, "1 duplicates" in done.stdout) == (0, True)
    strict = run_stage(
        "validate", f"file={path}", "schema=snapshot", "duplicates=error", cwd=tmp_path
    )
    assert strict.returncode == 1
    assert f"{path}:2: the same as {path}:1" in strict.stdout


def test_authored_conversations_are_checked_with_their_templates(run_stage, tmp_path):
    """An id that stands twice and a template that does not compile, each with its own line."""
    path = tmp_path / "c.yaml"
    path.write_text(
        "- id: a\n  categories: [x]\n  turns:\n    - user: hi\n      text: 'hello {{ name'\n"
        "- id: a\n  categories: [x]\n  turns:\n    - user: hi\n      command: ls\n"
    )
    done = run_stage("validate", f"file={path}", "schema=conversation", cwd=tmp_path)
    assert done.returncode == 1
    assert f"{path}:5: /turns/0/text:" in done.stdout
    assert f"{path}:6: /id: 'a' stands already at {path}:1" in done.stdout


def test_a_good_test_case_passes_and_a_name_used_twice_does_not(run_stage, tmp_path):
    """`expected` may be text, a list of texts, or null."""
    cases = [
        {"name": n, "messages": [{"role": "user", "content": "x"}], "expected": e, "category": "c"}
        for n, e in (("a", "lsblk"), ("b", ["mkfs", "/dev/sda2"]), ("c", None))
    ]
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(case) + "\n" for case in cases))
    done = run_stage("validate", f"file={path}", "schema=test_case", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    path.write_text("".join(json.dumps(case) + "\n" for case in [*cases, cases[0]]))
    done = run_stage("validate", f"file={path}", "schema=test_case", cwd=tmp_path)
    assert done.returncode == 1 and "'a' stands already" in done.stdout


def test_a_missing_file_is_a_mistake_on_the_command_line(run_stage, tmp_path):
    """Exit 2, one line, no traceback."""
    done = run_stage("validate", "file=/no/such/file.jsonl", "schema=snapshot", cwd=tmp_path)
    assert done.returncode == 2
    assert "/no/such/file.jsonl" in done.stderr and "Traceback" not in done.stderr


leaves = st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=5)
messages = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["user", "assistant", "system", 3]),
            "content": leaves | st.just("x"),
        },
        optional={"extra": leaves},
    ),
    max_size=3,
)
answers = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["command", "text", "other"]),
        "command": leaves,
        "response": leaves,
        "thinking": leaves,
    },
)
snapshots = st.fixed_dictionaries(
    {},
    optional={
        "system_context": leaves,
        "messages": messages | leaves,
        "expected_response": answers | leaves,
        "meta": leaves | st.dictionaries(st.text(max_size=3), leaves, max_size=2),
        "more": leaves,
    },
)


@given(snapshots)
def test_the_two_schema_libraries_agree(record):
    """jsonschema (the reference) and jsonschema-rs (in bulk) accept the same snapshots."""
    reference = jsonschema.Draft202012Validator(records.schema("snapshot"))
    assert records.validator("snapshot").is_valid(record) == reference.is_valid(record)
