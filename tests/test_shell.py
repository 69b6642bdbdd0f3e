"""The shell parser, held against `bash -n` and against hand-written trees."""

from __future__ import annotations

import random
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.installer.shell import (
    AndOr,
    CommandSub,
    For,
    Function,
    Group,
    If,
    Pipeline,
    ProcessSub,
    Script,
    ShellSyntaxError,
    Simple,
    Subshell,
    parse,
)

VALID = [
    "sgdisk -n 1:0:+512M -t 1:ef00 /dev/sda && mkfs.ext4 -L 'my root' /dev/sda1",
    'D=/dev/sda; sgdisk -Z "$D" || wipefs -a ${D}1 ${D:-/dev/sdb} 2>&1 >/dev/null &',
    "printf 'o\\nn\\nw\\n' | fdisk /dev/sda | tee -a log",
    "cat <<EOF | foo > x && bar\na $x $(id)\nEOF\nls",
    "cat <<'A' <<-B\n$x\nA\n\ty\n\tB\necho done",
    "for d in /dev/sd{a,b} x; do echo $d; done > f",
    "if [ -d /x ]; then a; elif b; then c; else d; fi",
    'while read -r l; do a "$l"; done < <(b)',
    'case $x in a|b*) foo;; ("q") ;; *) bar; esac',
    "f() { a; b & }; function g { c; }; f x",
    "! a | b && { c; } || (d; e) 2>/dev/null",
    'echo "a \\"b\\" $(c "d `e`")" $\'t\\tn\' $"q" a\\ b {1..3} ~/x $((1+2))',
    "[[ -b /dev/sda && $a == b* ]] && (( n > 1 ))",
    "a \\\n  'b\\\nc' \"d\\\ne\" # comment \\\nf",
    'exec 3<> f; a >| b; c &>> d; e 2>&-; g <<< "$h"',
    "arch-chroot /mnt bash -c 'echo \"x\" > /etc/hostname'",
    "export A=b C; unset C; declare -a d=(1 2); e+=x; f[1]=2",
    "until a; do b; done; for ((i=0;i<3;i++)); do c; done; select x in a; do b; done",
    "time sgdisk -p /dev/sda; sed -i 's/^#\\(en\\)/\\1/' /mnt/etc/locale.gen",
    'echo é "ü’" ${#a[@]} ${a//x/y} ${!a} ${a:1:2}',
]
TOKENS = [
    "&&", "||", ";", "|", "&", "(", ")", "{", "}", "$(", "`", "'", '"', "\\", "\n", " ", "<<E",
    "<<", "<", ">", "> x", "$x", "${x", "$((", "))", "if", "then", "fi", "do", "done", "for", "in",
    "case", "esac", ";;", "[[", "]]", "[", "]", "!", "#", "a=", "*", "?", "~", "time", "E\n",
    "\\\n", "<(", "$'", "é", "()", "function", "|&", "&>", "<>", "2>&1", "<<<", "{a,b}", ",",
]  # fmt: skip


def only(text: str) -> object:
    """The only command of a line."""
    ((node, _),) = parse(text).body.items
    return node


def bash_accepts(text: str) -> bool:
    """What bash's own parser says."""
    done = subprocess.run(["bash", "-n", "-c", "--", text], capture_output=True, check=False)
    return done.returncode == 0


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A valid line with pieces put in, taken out, and mixed with another."""
    text = draw(st.sampled_from(VALID))
    for _ in range(draw(st.integers(1, 4))):
        position = draw(st.integers(0, len(text)))
        kind = draw(st.sampled_from(["insert", "spaced", "delete", "splice"]))
        if kind == "delete":
            text = text[:position] + text[position + draw(st.integers(1, 6)) :]
        elif kind == "splice":
            other = draw(st.sampled_from(VALID))
            start = draw(st.integers(0, len(other)))
            text = text[:position] + other[start : start + 12] + text[position:]
        else:
            token = draw(st.sampled_from(TOKENS))
            token = f" {token} " if kind == "spaced" else token
            text = text[:position] + token + text[position:]
    return text


@pytest.mark.parametrize("text", VALID)
def test_valid_lines_parse(text: str) -> None:
    """Lines of every covered kind parse, and bash agrees that they are valid."""
    assert isinstance(parse(text), Script)
    assert bash_accepts(text)


@settings(deadline=None, max_examples=250)
@given(text=mutated())
def test_nothing_is_accepted_that_bash_rejects(text: str) -> None:
    """Of mutated lines, none that bash -n rejects is accepted, and only ShellSyntaxError leaves."""
    try:
        parse(text)
    except ShellSyntaxError:
        return
    assert bash_accepts(text)


@settings(deadline=None, max_examples=300)
@given(text=st.text(max_size=60) | st.text(alphabet="ab $(){}'\"`\\\n<>|&;#=~*", max_size=40))
def test_random_text_raises_only_a_syntax_error(text: str) -> None:
    """Any text parses, or raises ShellSyntaxError with a reason."""
    try:
        parse(text)
    except ShellSyntaxError as error:
        reason = error.reason
    else:
        return
    assert reason


@pytest.mark.parametrize(
    "text",
    ["a\0b", "a\x1b[0m", "a\rb", "a\x7f", "a 'b", 'a "b', "a `b", "$(a", "${a", "a &&", "| a",
     "a ;; b", "a;&>> b", "fi", "do a", "echo (a)", "a(b)", "}", "if a; fi", "a <", "(", "()", "{ }", "{ a }",
     "a & && b", "in", "]]", "while ! a;\n do]] b; done", "for i in 1 2\ndo$x a\ndone",
     "for i;; do a; done", "a >\nb", "a &>(b)", "for\n d in a; do b; done", "a \\ \ncase x in a) b esac",
     "for d in a; do b; done \\ ", "A=(1[ 2)", "function f{ a; }", "cat <<E\nx", "case x in a) b"],
)  # fmt: skip
def test_what_is_refused(text: str) -> None:
    """Control characters, unbalanced quotes and broken grammar are refused."""
    with pytest.raises(ShellSyntaxError):
        parse(text)


@pytest.mark.parametrize(
    "text",
    ["( " * 500 + "a" + " )" * 500, "$(" * 500 + "a" + ")" * 500, "{ " * 300 + "a" + "; }" * 300,
     "`" * 999, '"$(' * 200 + "a" + ')"' * 200, "${a:-" * 300 + "}" * 300, "a" * 70000,
     "if " * 400, "<(" * 400],
)  # fmt: skip
def test_deep_nesting_is_a_syntax_error(text: str) -> None:
    """Nesting too deep for an honest line is refused, not a RecursionError."""
    with pytest.raises(ShellSyntaxError):
        parse(text)


def test_long_lists_parse() -> None:
    """A thousand commands in a row are not deep."""
    assert len(only(" && ".join(["a"] * 1000)).rest) == 999
    assert len(parse("; ".join(["a"] * 1000)).body.items) == 1000


def test_operators_bind_as_in_bash() -> None:
    """`|` binds tighter than && and ||, which bind alike; ! negates a whole pipeline."""
    node = only("a || ! b | c && d")
    assert isinstance(node, AndOr)
    assert [operator for operator, _ in node.rest] == ["||", "&&"]
    pipeline = node.rest[0][1]
    assert isinstance(pipeline, Pipeline)
    assert pipeline.negated and len(pipeline.commands) == 2


@pytest.mark.parametrize(
    ("text", "words", "redirects"),
    [
        ("a && b > x y", ["b", "y"], [(">", "x")]),
        ("a | b >> x 2>&1", ["b"], [(">>", "x"), (">&", "1")]),
        ("a; > x b c", ["b", "c"], [(">", "x")]),
        ("a; cmd > x p 2> y q <<< k r", ["cmd", "p", "q", "r"], [(">", "x"), (">", "y"), ("<<<", "k")]),
    ],
)  # fmt: skip
def test_redirections_go_to_their_command(
    text: str, words: list[str], redirects: list[tuple[str, str]]
) -> None:
    """A redirection belongs to the last command, and words behind its target to the command."""
    node = parse(text).body.items[-1][0]
    while not isinstance(node, Simple):
        node = node.rest[-1][1] if isinstance(node, AndOr) else node.commands[-1]
    assert [word.text for word in node.words] == words
    assert [(r.operator, r.target.text if r.target else "") for r in node.redirects] == redirects


def test_here_documents_on_one_line() -> None:
    """Two here-documents on one line keep their own bodies; a quoted one is not expanded, and
    <<- drops leading tabs."""
    node = only("cat <<'A' 3<<-B | c\n$x\nA\n\ty $z\n\tB\n")
    assert isinstance(node, Pipeline)
    first, second = node.commands[0].redirects
    assert first.heredoc.text == "$x\n"
    assert (second.fd, second.heredoc.raw, second.heredoc.text) == (3, "y $z\n", None)


def test_continuations_join_where_bash_joins_them() -> None:
    """A backslash-newline vanishes, but not within single quotes, comments or quoted documents."""
    node = only("a\\\nb 'c\\\nd' \"e\\\nf\" <<'E'\ng\\\nh\nE")
    assert [word.text for word in node.words] == ["ab", "c\\\nd", "ef"]
    assert node.redirects[0].heredoc.text == "g\\\nh\n"
    items = parse("a # b \\\nc").body.items
    assert [item.words[0].text for item, _ in items] == ["a", "c"]


def test_nested_scripts_are_trees() -> None:
    """Command and process substitutions hold their own scripts."""
    node = only('a "$(b | c)" <(d)')
    sub = node.words[1].parts[0]
    assert isinstance(sub, CommandSub) and sub.quoted
    assert isinstance(sub.script.body.items[0][0], Pipeline)
    process = node.words[2].parts[0]
    assert isinstance(process, ProcessSub) and process.direction == "<"


def test_compound_commands() -> None:
    """Each compound command gives its node, with redirections kept in a group around it."""
    assert isinstance(only("for d in a b; do c; done"), For)
    assert isinstance(only("(a)"), Subshell)
    assert isinstance(only("f() { a; }"), Function)
    chain = only("if a; then b; elif c; then d; else e; fi")
    assert isinstance(chain, If) and len(chain.clauses) == 2 and chain.otherwise is not None
    group = only("while a; do b; done > x")
    assert isinstance(group, Group) and group.redirects[0].target.text == "x"


def test_background_is_kept() -> None:
    """`&` marks the command before it."""
    assert [flag for _, flag in parse("a & b; c &").body.items] == [True, False, True]


@pytest.mark.parametrize(("text", "name", "raw"), [("A=1", "A", "1"), ("A+=x", "A", "x")])
def test_assignments(text: str, name: str, raw: str) -> None:
    """Assignments stand apart from words."""
    ((found, word),) = only(text).assignments
    assert (found, word.raw) == (name, raw)


def test_quoted_text_is_no_assignment_and_no_keyword() -> None:
    """Quotes take away the meaning of `=` and of reserved words."""
    assert [word.text for word in only("'A'=1 b").words] == ["A=1", "b"]
    assert only("'if' a").words[0].text == "if"


def test_results_are_shared() -> None:
    """The same text gives the very same tree."""
    assert parse("a b") is parse("a b")


def test_every_prefix_of_valid_lines_is_handled() -> None:
    """A line cut anywhere parses or is refused, quickly."""
    for text in VALID:
        for end in range(len(text)):
            try:
                parse(text[:end])
            except ShellSyntaxError:
                continue


def test_shuffled_tokens_never_crash() -> None:
    """Two thousand random runs of tokens: only ShellSyntaxError."""
    rng = random.Random(7)
    for _ in range(2000):
        text = " ".join(rng.choice(TOKENS) for _ in range(rng.randint(1, 12)))
        try:
            parse(text)
        except ShellSyntaxError:
            continue
