"""Edit text: sed. What is known of a file's content is edited too; else it becomes unknown."""

from __future__ import annotations

import re

from llmkit.installer import osfiles, vfs
from llmkit.installer.effects.files import Several
from llmkit.installer.effects.getopt import parse
from llmkit.installer.effects.registry import Argv, CommandFailed, Event, Result, effect
from llmkit.installer.frozen import replace
from llmkit.installer.state import SystemState

_COMMAND = re.compile(
    r"(?P<address>/(?:[^/\\]|\\.)*/|\d+|\$)?\s*(?P<verb>[sdaic])(?P<rest>.*)", re.DOTALL
)


@effect("sed")
def sed(state: SystemState, argv: Argv) -> Result:
    """Edit a stream or, with -i, files (sed(1)).

    Covered where the content is known: s with flags g, i and numbers, d, a, i, c, one address (/re/,
    a line, $), -E/-r, -n with nothing printed, several commands by ; or -e. Anything else: the file
    must exist, and its content is not known afterwards.
    """
    options = parse(
        "sed", argv.args, "nre:f:Ei::l:suz",
        ("quiet", "silent", "expression=", "file=", "in-place=?", "regexp-extended", "follow-symlinks",
         "null-data", "separate", "unbuffered", "posix", "sandbox", "debug", "help", "version",
         "line-length="),
    )  # fmt: skip
    scripts = list(options.all("-e", "--expression"))
    paths = list(options.operands)
    if not scripts and not options.has("-f", "--file"):
        if not paths:
            raise CommandFailed("sed: no script given")
        scripts = [paths.pop(0)]
    extended = options.has("-r", "-E", "--regexp-extended")
    quiet = options.has("-n", "--quiet", "--silent")
    program = None if options.has("-f", "--file") or quiet else _program(scripts, extended)
    if not options.has("-i", "--in-place"):
        for path in paths:
            if vfs.exists(state, path, argv.root) is False:
                raise CommandFailed(
                    f"sed: {vfs.absolute(path, argv.root)} does not exist", status=2
                )
        text = argv.stdin if not paths else vfs.read_text(state, paths[0], argv.root)
        if len(paths) > 1 or program is None:
            text = None
        return Result(state, None if text is None else _edit(text, program or []),
                      events=(Event("read"),))  # fmt: skip
    work = Several(state)
    for path in paths:
        try:
            work.state = _in_place(work.state, path, program, argv.root)
            work.events.append(Event("file", "", vfs.absolute(path, argv.root)))
        except CommandFailed as error:
            work.failed = work.failed or error
    return work.done()


def _in_place(state: SystemState, path: str, program: list[_Step] | None, root: str) -> SystemState:
    if vfs.exists(state, path, root) is False:
        raise CommandFailed(f"sed: {vfs.absolute(path, root)} does not exist", status=2)
    if vfs.is_dir(state, path, root):
        raise CommandFailed(f"sed: {vfs.absolute(path, root)} is a directory", status=4)
    text = vfs.read_text(state, path, root)
    if text is not None and program is not None:
        return vfs.write_text(state, path, _edit(text, program), False, root)
    place = vfs.resolve(state, path, root)  # the facts that the file tells stay as they are
    held = vfs.tree(state, place.key)
    files = [item for item in held.files if item[0] != place.inner] + [(place.inner, None)]
    held = replace(held, files=tuple(sorted(files, key=lambda item: item[0])))
    return vfs.with_tree(state, place.key, held)


_Step = tuple[str, str, str, str, re.Pattern[str] | None]  # address, verb, text, flags, pattern


def _program(scripts: list[str], extended: bool) -> list[_Step] | None:
    """The commands of a script, or None when one is not understood."""
    steps: list[_Step] = []
    for script in scripts:
        rest = script.strip()
        while rest:
            match = _COMMAND.match(rest)
            if match is None:
                return None
            address, verb, body = match["address"] or "", match["verb"], match["rest"]
            pattern = None
            text = flags = ""
            if verb == "s":
                parts = _split(body)
                if parts is None:
                    return None
                raw, text, flags, rest = parts
                pattern = _regex(raw, extended, "i" in flags.lower())
                if pattern is None or not re.fullmatch(r"[giI]*", flags):
                    return None
            elif verb == "d":
                rest = body
            else:
                text, rest = body.lstrip().removeprefix("\\").lstrip("\n "), ""
            if address.startswith("/") and _regex(address[1:-1], extended, False) is None:
                return None
            steps.append((address, verb, text, flags, pattern))
            rest = rest.strip()
            if rest and rest[0] not in ";\n":
                return None
            rest = rest[1:].strip() if rest else ""
    return steps


def _split(body: str) -> tuple[str, str, str, str] | None:
    """Pattern, replacement, flags and what follows of `s` + body."""
    if not body or body[0] in "\\\n":
        return None
    fields: list[str] = []
    mark, current, index = body[0], "", 1
    while index < len(body) and len(fields) < 2:
        char = body[index]
        if char == "\\" and index + 1 < len(body):
            following = body[index + 1]
            current += following if following == mark and mark != "|" else char + following
            index += 2
            continue
        if char == mark:
            fields.append(current)
            current = ""
        else:
            current += char
        index += 1
    if len(fields) < 2:
        return None
    match = re.match(r"[a-zA-Z0-9]*", body[index:])
    flags = match[0] if match else ""
    return fields[0], fields[1], flags, body[index + len(flags) :]


def _regex(raw: str, extended: bool, ignore_case: bool) -> re.Pattern[str] | None:
    """A POSIX regular expression as Python's, or None when it is beyond this translation."""
    if "[[" in raw or "[:" in raw:
        raw = raw.replace("[:space:]", r"\s").replace("[:blank:]", " \t").replace(
            "[:digit:]", "0-9").replace("[:alpha:]", "a-zA-Z").replace(
            "[:alnum:]", "a-zA-Z0-9")  # fmt: skip
        if "[:" in raw:
            return None
    out, index, inside = "", 0, False
    special = "+?|(){}"
    while index < len(raw):
        char = raw[index]
        if inside:
            inside = char != "]" or raw[index - 1] == "["
            # Python would take [ and doubled & | ~ - for set operations to come, and warns
            literal = char in "[&|~" or (char == "-" and raw[index - 1] == "-")
            out += "\\" + char if literal else char
        elif char == "\\" and index + 1 < len(raw):
            index += 1
            following = raw[index]
            bare = not extended and following in special
            out += following if bare else "\\" + following
        elif char in special and not extended:
            out += "\\" + char
        else:
            inside = char == "["
            out += char
        index += 1
    try:
        return re.compile(out, re.IGNORECASE if ignore_case else 0)
    except re.error:
        return None


def _replacement(text: str) -> str:
    """sed's replacement as Python's: & and \\1 to \\9."""
    out, index = "", 0
    while index < len(text):
        char = text[index]
        if char == "\\" and index + 1 < len(text):
            index += 1
            char = text[index]
            out += {"n": "\n", "t": "\t"}.get(char) or (f"\\g<{char}>" if char.isdigit() else
                                                       "\\\\" if char == "\\" else char)  # fmt: skip
        else:
            out += "\\g<0>" if char == "&" else char
        index += 1
    return out


def _edit(text: str, program: list[_Step]) -> str:
    lines = text.splitlines()
    out: list[str] = []
    for number, line in enumerate(lines, 1):
        after: list[str] = []
        gone = False
        for address, verb, words, flags, pattern in program:
            if gone or not _applies(address, line, number, len(lines)):
                continue
            if verb == "s" and pattern is not None:
                line = pattern.sub(_replacement(words), line, count=0 if "g" in flags else 1)
            elif verb == "d":
                gone = True
            elif verb == "c":
                line = words
            elif verb == "a":
                after.append(words)
            elif verb == "i":
                out.append(words)
        out += ([] if gone else [line]) + after
    return "".join(f"{line}\n" for line in out)


def _applies(address: str, line: str, number: int, last: int) -> bool:
    if not address:
        return True
    if address == "$":
        return number == last
    if address.isdigit():
        return number == int(address)
    pattern = _regex(address[1:-1], True, False)
    return pattern is not None and pattern.search(line) is not None


@effect("patch", "ed", "ex", "perl", "awk", "gawk", "vim", "vi", "nano", "nvim", "emacs")
def editors(state: SystemState, argv: Argv) -> Result:
    """Editors and languages: files named on the command line may change, so that a configuration
    file's known content becomes unknown. awk without -i only reads."""
    if argv.program in ("awk", "gawk") and "-i" not in argv.args:
        return Result(state, None, events=(Event("read"),))
    for word in argv.args:
        if word.startswith("/") and not word.startswith("/dev/"):
            place = vfs.resolve(state, word, argv.root)
            held = vfs.tree(state, place.key)
            if any(n == place.inner for n, _ in held.files) or place.relative in osfiles.FILES:
                state = _in_place(state, word, None, argv.root)
    return Result(state, None, events=(Event("file", "", argv.program),))
