"""Shell builtins, and the few programs whose output pipes need: cat, yes.

A builtin changes one world: its variables, its status, what it printed. `env` holds, beside
variables by name: "()NAME" functions, "@" the positional parameters (a tuple of Expanded; None: not
known), "\\0x" exported names, "\\0l" names local to the running function, "\\0odd" names whose
value bash changes (declare -i), "\\0e" set -e, "\\0lastpipe" that option, "\\0glob" False once
patterns may mean something else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from llmkit.installer import vfs
from llmkit.installer.effects.registry import EFFECTS, CommandFailed
from llmkit.installer.expand import HOME, UNSET, Expanded
from llmkit.installer.interpret_text import echo, printf, test
from llmkit.installer.interpret_types import SimpleCommand, World

YES_LINES = 1024
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
Builtin = Callable[[Any, SimpleCommand, World], None]
BUILTINS: dict[str, Builtin] = {}


def builtin(*names: str) -> Callable[[Builtin], Builtin]:
    """Register a builtin."""

    def register(function: Builtin) -> Builtin:
        for name in names:
            BUILTINS[name] = function
        return function

    return register


def child_environment(
    env: dict[str, Any], given: dict[str, Expanded], *, clean: bool
) -> dict[str, Any]:
    """The variables of a new process. One that the line set without exporting it is not known
    there: it is passed on only when it was in the environment before."""
    exported = env.get("\0x", frozenset())
    kept = {} if clean else {name: value for name, value in env.items() if name in exported}
    if "PWD" in env:
        kept["PWD"] = env["PWD"]
    for name, value in given.items():
        kept[name] = value.text
    kept["\0x"] = frozenset(kept)
    kept["\0odd"] = env.get("\0odd", frozenset())
    return kept


def texts(command: SimpleCommand) -> tuple[str, ...] | None:
    """The arguments, when all are known."""
    found = tuple(word.text for word in command.argv[1:])
    return None if None in found else found  # type: ignore[return-value]


@builtin("echo")
def _echo(runner: Any, command: SimpleCommand, world: World) -> None:
    words = texts(command)
    world.write(None if words is None else echo(words, posix=runner.shell == "sh"))
    world.status = 0


@builtin("printf")
def _printf(runner: Any, command: SimpleCommand, world: World) -> None:
    words = texts(command)
    world.status = 0
    if command.argv[1:2] and command.argv[1].text == "-v":
        name = command.argv[2].text if len(command.argv) > 2 else None
        if name is None or not _NAME.fullmatch(name):
            world.env = {}
        else:
            world.assign(name, None if words is None else printf(words[2:]))
        return
    made = None if words is None else printf(words)
    if made is None:
        world.status = 0 if words is None else None
    world.write(made)


@builtin("true", ":")
def _true(runner: Any, command: SimpleCommand, world: World) -> None:
    world.status = 0


@builtin("sleep", "wait", "umask", "ulimit", "bg", "disown")
def _done(runner: Any, command: SimpleCommand, world: World) -> None:
    world.status = 0


@builtin("false")
def _false(runner: Any, command: SimpleCommand, world: World) -> None:
    world.status = 1


@builtin("test", "[")
def _test(runner: Any, command: SimpleCommand, world: World) -> None:
    words = tuple(word.text for word in command.argv[1:])
    if any(word.many for word in command.argv):
        world.status = None
        return
    if command.argv[0].text == "[":
        if words[-1:] != ("]",):
            world.status = 2
            return
        words = words[:-1]
    answer = test(words, world.state, command.root)
    world.status = None if answer is None else int(not answer)


@builtin("yes")
def _yes(runner: Any, command: SimpleCommand, world: World) -> None:
    words = texts(command)
    world.write(None if words is None else ((" ".join(words) or "y") + "\n") * YES_LINES)
    world.status = 0


@builtin("cat")
def _cat(runner: Any, command: SimpleCommand, world: World) -> None:
    words = texts(command)
    world.status = 0
    if words is None or any(word.startswith("-") and word not in ("-", "--") for word in words):
        world.write(None)
        return
    files = [word for word in words if word != "--"] or ["-"]
    if files != ["-"] and "cat" in EFFECTS and "-" not in files:
        runner._effect("cat", command, world, world.stdin)
        return
    for name in files:
        if name == "-":
            world.write(world.stdin)
            world.stdin = ""
            continue
        path = runner.absolute(name, world)
        content = None if path is None else vfs.read_text(world.state, path, command.root)
        if content is None and path is not None:
            if vfs.exists(world.state, path, command.root) is False:
                raise CommandFailed(f"cat: {name}: there is no such file")
        world.write(content)


@builtin("pwd")
def _pwd(runner: Any, command: SimpleCommand, world: World) -> None:
    cwd = world.env.get("PWD")
    world.write(None if cwd is None else cwd + "\n")
    world.status = 0


@builtin("cd", "pushd", "popd")
def _cd(runner: Any, command: SimpleCommand, world: World) -> None:
    name = command.argv[0].text
    words = [w for w in command.argv[1:] if w.text not in ("-P", "-L", "-e", "--")]
    world.status = 0
    if (
        name == "popd"
        or len(words) > 1
        or (words and words[0].text is None)
        or (name == "pushd" and not words)
    ):
        world.assign("PWD", None)
        world.status = None
        return
    target = words[0].text if words else HOME
    if target == "-" or "CDPATH" in world.env:
        world.assign("PWD", None)
        return
    path = runner.absolute(target or ".", world)
    if path is not None and vfs.is_dir(world.state, path, runner.root) is False:
        if not path.startswith("/dev"):
            raise CommandFailed(f"cd: there is no directory {path}")
    world.assign("PWD", path)


@builtin("exit", "return", "break", "continue")
def _stop(runner: Any, command: SimpleCommand, world: World) -> None:
    name = command.argv[0].text or "exit"
    if name == "return" and not runner.calls:
        world.status = 2  # "can only return from a function"
        return
    if name in ("break", "continue") and not runner.loops:
        world.status = 0
        return
    if len(command.argv) > 1 and name in ("exit", "return"):
        text = command.argv[1].text
        world.status = int(text) & 0xFF if text and text.isdigit() and len(text) < 9 else None
    elif name in ("break", "continue"):
        world.status = 0
    world.stop = name


@builtin("export", "declare", "typeset", "local", "readonly")
def _declare(runner: Any, command: SimpleCommand, world: World) -> None:
    world.status = 0
    exports, odd = command.argv[0].text == "export", False
    local = command.argv[0].text in ("local", "declare", "typeset") and bool(runner.calls)
    env = dict(world.env)
    for word in command.argv[1:]:
        text = word.text
        head = text if text is not None else (word.fragments[0] or "")
        if head.startswith("-"):
            if "n" in head and not exports or text is None:
                env = {}  # a name that stands for another: nothing is known any more
            exports = exports or "x" in head
            odd = odd or any(letter in head for letter in "iluaAc")
            local = local and "g" not in head
            continue
        match = _NAME.match(head)
        if match is None or (text is None and "=" not in head):
            env = {}
            continue
        name = match.group()
        rest = head[match.end() :]
        if rest.startswith("="):
            env[name] = None if text is None else text[match.end() + 1 :]
        elif rest:
            env[name] = None
        elif command.argv[0].text == "local":
            env[name] = UNSET
        if local:
            env["\0l"] = env.get("\0l", frozenset()) | {name}
        if odd:
            env["\0odd"] = env.get("\0odd", frozenset()) | {name}
        if exports:
            env["\0x"] = env.get("\0x", frozenset()) | {name}
    world.env = env


@builtin("unset")
def _unset(runner: Any, command: SimpleCommand, world: World) -> None:
    world.status = 0
    functions = False
    for word in command.argv[1:]:
        if word.text is None:
            world.env = {}
        elif word.text.startswith("-"):
            functions = "f" in word.text
        elif functions:
            world.drop("()" + word.text)
        elif _NAME.fullmatch(word.text):
            if word.text not in world.env and "()" + word.text in world.env:
                world.drop("()" + word.text)
            else:
                world.assign(word.text, UNSET)


@builtin("read", "mapfile", "readarray", "getopts", "let", "select")
def _read(runner: Any, command: SimpleCommand, world: World) -> None:
    """Whatever they set is opaque, and so is whether they succeed."""
    name = command.argv[0].text
    names = []
    for word in command.argv[1:]:
        if word.text is None:
            world.env = {}
            continue
        names += _NAME.findall(word.text)
    for variable in names or ["REPLY"]:
        world.assign(variable, None)
    if name != "read":
        world.assign("MAPFILE", None)
    if world.stdin:
        world.stdin = world.stdin.partition("\n")[2] if name == "read" else ""
    world.status = None


@builtin("shift")
def _shift(runner: Any, command: SimpleCommand, world: World) -> None:
    values: Any = world.env.get("@")
    count = command.argv[1].text if len(command.argv) > 1 else "1"
    known_values = values is not None and not any(value.many for value in values)
    if known_values and count and count.isdigit() and int(count[:6]) <= len(values):
        world.assign("@", values[int(count) :])
        world.status = 0
    else:
        world.assign("@", None)
        world.status = None


@builtin("set", "shopt")
def _set(runner: Any, command: SimpleCommand, world: World) -> None:
    world.status = 0
    if command.argv[0].text == "shopt":
        world.assign("\0glob", False)
        if any(word.text in (None, "lastpipe") for word in command.argv):
            world.assign("\0lastpipe", True)
        return
    words = command.argv[1:]
    position = 0
    while position < len(words):
        text = words[position].text
        if text is None:
            world.assign("@", None)
            world.assign("\0glob", False)
            return
        position += 1
        if text in ("--", "-"):
            world.assign("@", words[position:])
            return
        if text[:1] not in "-+" or len(text) < 2:
            world.assign("@", words[position - 1 :])
            return
        if "e" in text and text not in ("-o", "+o"):
            world.assign("\0e", text[0] == "-")
        if "f" in text:
            world.assign("\0glob", False)
        if "o" in text and position < len(words):
            option = words[position].text
            position += 1
            if option == "errexit":
                world.assign("\0e", text[0] == "-")
            elif option in (None, "noglob"):
                world.assign("\0glob", False)


@builtin("type", "hash", "command", "builtin", "which")
def _which(runner: Any, command: SimpleCommand, world: World) -> None:
    """Is there such a program? `command -v sgdisk`: known for what is modelled."""
    names = [w.text for w in command.argv[1:] if w.text is None or not w.text.startswith("-")]
    tools = world.state.tools
    world.write(None)
    if len(names) != 1 or names[0] is None:
        world.status = None
    elif names[0] in BUILTINS or (tools is None and names[0] in EFFECTS):
        world.status = 0
    elif tools is not None and not command.root:
        world.status = int(names[0] not in tools)
    else:
        world.status = None
