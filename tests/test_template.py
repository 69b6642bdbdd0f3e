"""Templates: what is refused, and what an error names."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from llmkit import template
from llmkit.errors import TemplateError


def test_slots_are_filled() -> None:
    """A slot takes its variable, attributes and filters included."""
    source = "{{ disks | length }} drives, {{ disks[0].name }}"
    assert template.render(source, {"disks": [{"name": "sda"}]}, "x") == "1 drives, sda"


def test_nothing_is_escaped() -> None:
    """Shell text comes out as it went in."""
    assert template.render("{{ c }}", {"c": "a && b > '/x'"}, "x") == "a && b > '/x'"


def test_block_tags_leave_no_line_and_the_last_newline_stays() -> None:
    """A line with only a block tag vanishes; a trailing newline is kept."""
    assert template.render("a\n  {% if true %}\nb\n  {% endif %}\nc\n", {}, "x") == "a\nb\nc\n"


@pytest.mark.parametrize(
    ("source", "variable"),
    [
        ("use {{ target }}", "target"),
        ("use {{ disk.pth }}", "pth"),
        ("{% if no %}{% endif %}", "no"),
    ],
)
def test_undefined_names_are_errors(source: str, variable: str) -> None:
    """An undefined name raises, and the error says where and which."""
    with pytest.raises(
        TemplateError, match=r"beginner-01, turn 2: .*undefined|no attribute"
    ) as caught:
        template.render(source, {"disk": {}}, "beginner-01, turn 2")
    assert caught.value.variable == variable


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ f.__globals__ }}",
        "{{ (1).__class__.__base__.__subclasses__() }}",
    ],
)
def test_the_sandbox_holds(source: str) -> None:
    """A template cannot reach Python's internals."""
    with pytest.raises(TemplateError):
        template.render(source, {"f": test_slots_are_filled}, "x")


@pytest.mark.parametrize("source", ["{{ 1 / 0 }}", "{{ 'a' + 1 }}", "{{ range(9**9) }}"])
def test_errors_in_expressions_are_template_errors(source: str) -> None:
    """What goes wrong inside an expression names the place too."""
    with pytest.raises(TemplateError, match=r"^here: "):
        template.render(source, {}, "here")


def test_a_syntax_error_names_its_line() -> None:
    """The line counts from the template's own first line."""
    with pytest.raises(TemplateError, match=r"^here: line 2: "):
        template.render("a\n{{ b", {}, "here")


def test_a_source_is_compiled_once() -> None:
    """The same text gives the same Template object."""
    assert template.compile("a {{ b }}") is template.compile("a {{ b }}")


def test_named_templates_come_from_the_first_folder_that_has_them(tmp_path: Path) -> None:
    """Earlier folders shadow later ones; a user's folder can replace one file."""
    for folder, text in (("mine", "mine"), ("theirs", "theirs")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.j2").write_text(text)
    (tmp_path / "theirs" / "b.j2").write_text("b {{ x }}")
    environment = template.environment([tmp_path / "mine", tmp_path / "theirs"])
    assert environment.get_template("a.j2").render() == "mine"
    assert environment.get_template("b.j2").render(x=1) == "b 1"


def test_errors_survive_pickling() -> None:
    """A worker's error arrives whole."""
    error = TemplateError(
        "'x' is undefined", where="f.yaml", conversation="c1", turn=3, variable="x"
    )
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == "f.yaml, conversation c1, turn 3: 'x' is undefined"
    assert (copy.conversation, copy.turn, copy.variable) == ("c1", 3, "x")
