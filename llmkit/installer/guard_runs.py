"""Programs that run others in ways that the shell's evaluator does not follow.

>>> runs(Call("ssh", ("root@host", "mkfs.ext4 /dev/sdz"))).scripts
('mkfs.ext4 /dev/sdz',)
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace

from llmkit.installer.effects.registry import EFFECTS
from llmkit.installer.guard_devices import Call, awk_acts, awk_program_index, sed_scripts
from llmkit.installer.guard_names import canonical
from llmkit.installer.guard_tools import (
    INTERPRETERS,
    NETWORK,
    RUNNERS,
    SHELLS,
    base_name,
    is_disk_tool,
    is_known,
)
from llmkit.installer.shell import ShellSyntaxError, parse

FIND_RUNS = ("-exec", "-execdir", "-ok", "-okdir")
_ASKS = frozenset(("--version", "-V", "-v", "--help", "-h", "-l", "-q"))
_SED_RUNS = re.compile(r"(^|[;}/\d$])\s*e(\s|$)|/[gIp\d]*e[gIp\d]*$")
_NETWORK_RUNS = re.compile(r"-\w*[ec]|--(exec|sh-exec)|(?i:exec|system):")
_EDITOR_RUNS = ("-c", "+", "-e", "--cmd", "--eval", "-s", "-S")
_COPIER_RUNS = re.compile(  # getopt takes names cut short
    r"--(to-c|checkpoint-a|use-c|rsh|rmt-c|info-s|new-v|exec|upload-pack|rsync-path)|"
    r"-[a-zA-Z]*[eo]$|-oProxyCommand|-[a-z]*I"
)
_HOOKS = {  # options that name a command or code to be run
    "man": re.compile(r"-[PH]|--(pager|html)"),
    "enable": re.compile(r"-f"),
    "hash": re.compile(r"-p"),
    "complete": re.compile(r"-C"),
    "bind": re.compile(r"-x"),
    "mapfile": re.compile(r"-C"),
    "readarray": re.compile(r"-C"),
    "git": re.compile(
        r"(.*=)?\s*!|.*core\.(pager|editor|ssh|fsmonitor|hooks)|--(exec|upload-pack)|ext::"
    ),
    "less": re.compile(r"\+.*!"),
    "more": re.compile(r"\+.*!"),
    "apt": re.compile(r"(?i).*invoke"),
    "apt-get": re.compile(r"(?i).*invoke"),
    "pacman": re.compile(r"--(hookdir|config)"),
    "curl": re.compile(r"-[a-zA-Z]*K|--config"),
    "wget": re.compile(r"--use-askpass|--execute|-e"),
    "rpm": re.compile(r"-[a-zA-Z]*E|--eval|--pipe|--define|-[a-zA-Z]*D"),
    "scp": re.compile(r"-[a-zA-Z0-9]*[SFeo]$|-o"),
    "dmsetup": re.compile(r"(.*\s)?\d+:\d+(\s|$)"),  # a disk by its number
}
_RUNS_INPUT = frozenset(("ssh", "su", "script", "parallel"))


@dataclass(frozen=True, slots=True)
class Runs:
    """What a command would run: `unknown` says what cannot be known of it, `scripts` are shell text
    to look into. `anywhere`: find may hand over any file, devices too."""

    unknown: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()
    anywhere: bool = True


def runs(call: Call) -> Runs | None:
    """What a command would run; None when it runs nothing."""
    program, args = call.program, call.args
    if program == "command":  # the evaluator takes it off when it runs something: command -v
        return None
    if program == "parallel" and args not in (("--version",), ("--help",)):
        found = _runner(call)
        return replace(found, unknown=(*found.unknown, "what parallel would run"))
    if program in INTERPRETERS:
        if args and _ASKS.issuperset(args) and call.stdin == "":
            return None
        words = " ".join("…" if word is None else word for word in args)
        return Runs((f"what {program} {words} would do",))
    if program in SHELLS:
        if args[:1] in (("--version",), ("--help",)) or not (args or call.stdin != ""):
            return None
        return Runs((f"what {program} would be told to run",))
    if program == "find":
        return _find(call)
    if program in ("awk", "gawk", "mawk"):
        index = awk_program_index(args)
        script = None if index is None else args[index]
        if args and awk_acts(script) and (script is None or not _plain_awk(script)):
            return Runs(("what an awk program would run or write",))
        return None
    if program in ("sed", "gsed"):
        scripts = [args[i] for i in sed_scripts(args) if i < len(args)]
        if any(a and a.startswith(("-f", "--file")) for a in args):
            return Runs(("what a sed script file holds",))
        if any(s and _SED_RUNS.search(s) for s in scripts):
            return Runs(("which command sed would run",))
        return None
    if program in RUNNERS or (program == "ip" and "exec" in args):
        found = _runner(call)
        if program == "ip" and None in args:
            return replace(found, unknown=(*found.unknown, "what ip would run"))
        return found
    if program in NETWORK:
        risky = any(a is None or _NETWORK_RUNS.match(a) for a in args)
    elif program in ("vim", "vi", "nano", "emacs"):
        risky = any(a is None or a.startswith(_EDITOR_RUNS) for a in args)
    elif program in _HOOKS:
        risky = any(a is not None and _HOOKS[program].match(a) for a in args)
    elif program in ("tar", "rsync"):
        risky = any(a is not None and _COPIER_RUNS.match(a) for a in args)
    elif not is_known(program) and program not in EFFECTS:
        return _stranger(call)
    else:
        return None
    return Runs((f"what {program} would run",)) if risky else None


def _stranger(call: Call) -> Runs | None:
    """A program that no table knows may run what it is given: `cpulimit -l 5 rm -rf /mnt`. What a
    word can only name (`pidof bash`) is not looked into."""
    scripts = []
    for index, word in enumerate(call.args):
        if word is None:
            continue
        name, following = base_name(word), (call.args[index + 1 : index + 2] or ("",))[0]
        if re.search(r"\s", word):
            first = base_name(word.split()[0]) if word.split() else ""
            known = is_known(first) or first in EFFECTS or re.search(r"[;|&\n`]|\$\(", word)
            if known and _parses(word):
                scripts.append(word)
        elif name in SHELLS or name in INTERPRETERS:
            if following is None or following.startswith("-"):
                scripts.append(_quoted(call.args[index:]))
        elif following != "" and (is_known(name) or name in EFFECTS):
            if not is_disk_tool(name) or following is None or re.match(r"[-/]", following):
                scripts.append(_quoted(call.args[index:]))
    return Runs((), tuple(scripts[:3])) if scripts else None


def _parses(text: str) -> bool:
    try:
        parse(text)
    except ShellSyntaxError:
        return False
    return True


def _runner(call: Call) -> Runs:
    """A program that runs its words as a command, and that the evaluator did not unwrap."""
    unknown: list[str] = []
    scripts: list[str] = []
    for index, word in enumerate(call.args):
        if word is None:
            break
        name = base_name(word)
        if re.search(r"[\s;|&<>]", word) and not is_known(name):
            scripts.append(word)
        elif is_known(name) or name in EFFECTS:
            if call.stdin != "" and (name in SHELLS or name in INTERPRETERS):
                unknown.append(f"what {word} would be told to run")
            scripts.append(_quoted(call.args[index:]))
            later = _stranger(replace(call, args=call.args[index + 1 :]))
            if later is not None:  # `ssh date 'mkfs.ext4 …'`: the known name may be a host's
                scripts += later.scripts
            break
    if not scripts and call.stdin != "" and call.program in _RUNS_INPUT:
        unknown.append(f"what {call.program} would be told to run")
    return Runs(tuple(unknown), tuple(scripts))


def _find(call: Call) -> Runs:
    """`find … -exec COMMAND {} \\;`: the command, with a file below the starting points."""
    args = call.args
    starts = find_starts(args)
    anywhere = (not starts and call.cwd != "") or any(_may_hold_devices(s, call) for s in starts)
    first = next((start for start in starts if start), ".")
    unknown: list[str] = []
    scripts: list[str] = []
    if "-delete" in args and anywhere and not _starts_plain(starts):
        unknown.append("which files find would delete")
    for option in ("-fprint", "-fprintf", "-fls", "-fprint0"):
        if option in args and args[args.index(option) + 1 :][:1] == (None,):
            unknown.append("where find would write")
    index = 0
    while index < len(args):
        if args[index] not in FIND_RUNS:
            index += 1
            continue
        tail: list[str | None] = []
        index += 1
        while index < len(args) and args[index] not in (";", "+"):
            word = args[index]
            if word is not None and "{}" in word:
                tail.append(None if anywhere else word.replace("{}", f"{first}/found"))
            else:
                tail.append(word)
            index += 1
        scripts.append(_quoted(tail))
    return Runs(tuple(unknown), tuple(scripts), anywhere)


def find_starts(args: tuple[str | None, ...]) -> list[str | None]:
    """Where find begins: what stands before its expression; None for what is not known."""
    starts: list[str | None] = []
    skip = False
    for word in args:
        if skip:
            skip = False
        elif word is not None and re.fullmatch(r"-[HLP]+|-O.*|-D.*|--", word) and not starts:
            skip = word == "-D"
        elif word is not None and word.startswith(("-", "(", "!", ",")):
            break
        else:
            starts.append(word)
    return [*starts, None] if any(w and w.startswith("-files0") for w in args) else starts


def _may_hold_devices(start: str | None, call: Call) -> bool:
    """Whether device nodes may lie below a starting point of find."""
    if start is None or re.search(r"[*?\[]|\.\.", start):
        return True
    if not start.startswith("/"):
        if call.cwd is None:
            return True
        start = f"{call.cwd}/{start}" if call.cwd else f"/root/{start}"
    path = canonical(start, call.roots)
    return path in ("/", "/mnt") or (path + "/").startswith(("/dev/", "/sys/", "/proc/"))


def _starts_plain(starts: list[str | None]) -> bool:
    return all(
        start is not None
        and start.startswith("/")
        and not (canonical(start) + "/").startswith(("/dev/", "/sys/", "/proc/"))
        for start in starts
    ) and bool(starts)


def _quoted(words: Iterable[str | None]) -> str:
    """Words as shell text; an opaque one becomes a variable that nobody set."""
    return " ".join('"$opaque"' if word is None else shlex.quote(word) for word in words)


def _plain_awk(text: str) -> bool:
    """An awk program whose `>` only compares and whose `|` is an or."""
    rest = re.sub(r'"(?:[^"\\]|\\.)*"|/(?:[^/\\]|\\.)*/', " ", text)
    if re.search(r"\bsystem\b|getline|close|@load|(?<!\|)\|(?!\|)", rest):
        return False
    return re.search(r"\bprintf?\b[^;}]*>", rest) is None
