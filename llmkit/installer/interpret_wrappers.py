"""Programs that run another program: sudo, env, timeout, arch-chroot, sh -c, su -c, …

`peel` takes one such layer off an argument vector. An option that is not known here, or a word
that is not known where an option may stand, makes the whole opaque: what runs cannot be told.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from llmkit.installer.expand import Expanded, known

Kind: TypeAlias = Literal["command", "script", "stdin", "file", "opaque", "plain"]
SHELLS = frozenset("sh bash dash ash zsh ksh mksh rbash".split())


@dataclass(frozen=True, slots=True)
class Spec:
    """How a wrapper's own words go before those of the command. `bare` letters mean that it runs
    no command at all; `shell` letters that it starts a shell."""

    valued: str = ""
    flags: str = ""
    long_valued: tuple[str, ...] = ()
    long_flags: tuple[str, ...] = ()
    operands: int = 0
    assignments: bool = False
    bare: str = ""
    shell: str = ""
    opaque: str = ""
    digits: bool = False  # nice -10
    clean: bool = False  # the command does not see the shell's variables
    root: bool = False  # its operand is the new root


_CHROOT = Spec(
    long_valued=("userspec", "groups"), long_flags=("skip-chdir",), operands=1, root=True
)
_ARCH_CHROOT = Spec(valued="u", flags="NSr", operands=1, root=True)
WRAPPERS: dict[str, Spec] = {
    "sudo": Spec(
        "ugCDghprTtUR", "AbBEHiKklnNPSsVve",
        ("user", "group", "close-from", "chdir", "host", "prompt", "role", "type", "other-user",
         "command-timeout", "chroot"),
        ("askpass", "background", "bell", "preserve-env", "set-home", "login", "non-interactive",
         "no-update", "preserve-groups", "stdin", "shell"),
        assignments=True, bare="KlvVe", shell="is", opaque="RD", clean=True,
    ),
    "doas": Spec("uCa", "nsL", bare="L", shell="s", opaque="C", clean=True),
    "pkexec": Spec(long_valued=("user",), long_flags=("disable-internal-agent",), clean=True),
    "env": Spec(
        "uCS", "i0v", ("unset", "chdir", "split-string"), ("ignore-environment", "null", "debug"),
        assignments=True, opaque="SC",
    ),
    "nohup": Spec(),
    "time": Spec("fo", "pvaqV", ("format", "output"), ("portability", "verbose", "append")),
    "timeout": Spec(
        "ks", "fpv", ("kill-after", "signal"), ("foreground", "preserve-status", "verbose"), 1
    ),
    "nice": Spec("n", "", ("adjustment",), digits=True),
    "ionice": Spec("cnpPu", "t", ("class", "classdata"), ("ignore",), bare="pPu"),
    "chrt": Spec("TPD", "abdfiorRmvp", (), ("batch", "fifo", "idle", "other", "rr"), 1, bare="pm"),
    "taskset": Spec("", "acp", (), ("all-tasks", "cpu-list"), 1, bare="p"),
    "stdbuf": Spec("ioe", "", ("input", "output", "error")),
    "setsid": Spec("", "cfw", (), ("ctty", "fork", "wait")),
    "command": Spec("", "pvV", bare="vV"),
    "exec": Spec("a", "cl"),
    "builtin": Spec(),
    "chroot": _CHROOT,
    "arch-chroot": _ARCH_CHROOT,
    "artix-chroot": _ARCH_CHROOT,
    "manjaro-chroot": _ARCH_CHROOT,
    "chronic": Spec("", "ve"),
    "unbuffer": Spec("", "p"),
    "busybox": Spec(),
    "strace": Spec("eopsaEuOSXIbP", "fFcCkqrtTvxyYzhdDiw"),
    "systemd-inhibit": Spec(long_valued=("what", "who", "why", "mode"), long_flags=("list",)),
    "unshare": Spec(
        "", "imunpUCTfrc", (),
        ("mount", "pid", "fork", "user", "uts", "ipc", "net", "map-root-user", "mount-proc"),
    ),
    "runuser": Spec("ugG", "p", ("user", "group")),
    "flock": Spec("wE", "sxunoF", ("timeout",), ("shared", "exclusive", "nonblock"), 1),
}  # fmt: skip
_SHELL_VALUED = ("rcfile", "init-file")
_SHELL_FLAGS = ("login", "norc", "noprofile", "posix", "verbose", "noediting", "restricted")


@dataclass(frozen=True, slots=True)
class Peeled:
    """What is below one wrapper. kind "command": `argv` is the command; "script": `script` is
    shell text with `argv` as $0, $1, …; "stdin": a shell that reads its standard input; "file": a
    shell that reads a file; "plain": no command is run after all; "opaque": it cannot be told."""

    kind: Kind
    name: str
    argv: tuple[Expanded, ...] = ()
    script: Expanded | None = None
    assignments: tuple[tuple[str, Expanded], ...] = ()
    root: str | None = None
    clean: bool = False
    shell: str = ""
    options: tuple[tuple[str, str], ...] = field(default=())


def peel(name: str, argv: tuple[Expanded, ...]) -> Peeled | None:
    """Take off the wrapper `name` (a base name) that `argv` starts with. None: it is none."""
    spec = WRAPPERS.get(name)
    if name == "command" and len(argv) > 1 and re.fullmatch(r"-p*[vV][pvV]*", argv[1].text or ""):
        return Peeled("plain", name)  # whatever follows is looked up
    if name == "runuser" and not any((w.text or "-u").startswith(("-u", "--u")) for w in argv[1:]):
        return replace(_su(argv[1:]), name=name)
    if spec is not None:
        return _peel(name, spec, argv[1:])
    if name in SHELLS:
        return _shell(name, argv[1:])
    if name == "su":
        return _su(argv[1:])
    if name == "watch":
        return _watch(argv[1:])
    if name == "script":
        return _script(argv[1:])
    return None


def options(
    words: tuple[Expanded, ...],
    valued: str,
    flags: str,
    long_valued: tuple[str, ...] = (),
    long_flags: tuple[str, ...] = (),
    *,
    digits: bool = False,
) -> tuple[list[tuple[str, str]], int] | None:
    """The options before the first operand, and where that stands; None: one is not known.
    Long names may be cut short, as getopt_long allows, when just one fits."""
    found: list[tuple[str, str]] = []
    i = 0
    while i < len(words):
        text = words[i].text
        if text is None:
            return None
        if text == "--":
            return found, i + 1
        if text == "-" or not text.startswith("-"):
            return found, i
        i += 1
        if text.startswith("--"):
            name, equals, value = text[2:].partition("=")
            fits = [x for x in long_valued if x == name] or [x for x in long_flags if x == name]
            fits = fits or [x for x in (*long_valued, *long_flags) if x.startswith(name)]
            if len(fits) != 1:
                return None
            if fits[0] in long_valued and not equals:
                if i >= len(words) or words[i].many:
                    return None
                value = words[i].text or "\0"
                i += 1
            found.append((fits[0], value))
            continue
        if digits and text[1:].lstrip("-").isdigit():
            continue
        for position, letter in enumerate(text[1:], 1):
            if letter in valued:
                rest = text[position + 1 :]
                if not rest:
                    if i >= len(words) or words[i].many:
                        return None
                    rest = words[i].text or "\0"
                    i += 1
                found.append((letter, rest))
                break
            if letter not in flags:
                return None
            found.append((letter, ""))
    return found, i


def _peel(name: str, spec: Spec, words: tuple[Expanded, ...]) -> Peeled:
    read = options(
        words, spec.valued, spec.flags, spec.long_valued, spec.long_flags, digits=spec.digits
    )
    if read is None:
        return Peeled("opaque", name, words)
    found, i = read
    letters = {letter for letter, _ in found}
    if name == "env" and letters & {"S", "split-string"}:
        return _split_string(spec, found, words[i:])
    if letters & set(spec.bare):
        return Peeled("plain", name)
    if letters & set(spec.opaque) or letters & {"chroot", "chdir", "split-string"}:
        return Peeled("opaque", name, words)
    root: str | None = None
    for _ in range(spec.operands):
        if i >= len(words):
            return Peeled("plain", name)
        if words[i].many or (spec.root and words[i].text is None):
            return Peeled("opaque", name, words)
        if spec.root:
            root = words[i].text
        i += 1
    assigned: list[tuple[str, Expanded]] = []
    while spec.assignments and i < len(words):
        first = (words[i].fragments[0] if words[i].fragments else None) or ""
        if "=" not in first or (name != "env" and first.startswith("/")):
            break
        rest = words[i].text
        value = known(rest.partition("=")[2]) if rest is not None else Expanded(None, (None,))
        assigned.append((first.partition("=")[0], value))
        i += 1
    clean = spec.clean or "i" in letters and name == "env" or "ignore-environment" in letters
    rest_words = words[i:]
    if name in ("runuser", "flock") and rest_words and rest_words[0].text in ("-c", "--command"):
        script = rest_words[1] if len(rest_words) > 1 else Expanded(None, (None,))
        return Peeled("script", name, (), script, (), root, clean, "bash")
    if name == "runuser" and not letters & {"u", "user"}:
        return _su(words)
    starts_shell = bool(letters & set(spec.shell) or letters & {"login", "shell"})
    if not rest_words:
        if root is not None or starts_shell:
            return Peeled("stdin", name, (), None, tuple(assigned), root, clean, "bash")
        return Peeled("plain", name)
    return Peeled("command", name, rest_words, None, tuple(assigned), root, clean)


def _split_string(spec: Spec, found: list[tuple[str, str]], rest: tuple[Expanded, ...]) -> Peeled:
    """`env -S 'A=1 program word' word`; what its own escapes and variables make is not followed."""
    text = "".join(value for letter, value in found if letter in ("S", "split-string"))
    others = {letter for letter, _ in found} - {"S", "split-string", "i", "v"}
    try:
        words = shlex.split(text, comments=False)
    except ValueError:
        words = []
    if others or not words or re.search(r"[\\$\0]|(^|\s)#", text):
        return Peeled("opaque", "env", (known(text), *rest))
    peeled = _peel("env", spec, (*map(known, words), *rest))
    return replace(peeled, clean=True)


def _shell(name: str, words: tuple[Expanded, ...]) -> Peeled:
    """bash [-lxe…] [-o option] [-c script [name [argument …]]] [file [argument …]]"""
    i = 0
    command, reads, dry = False, False, False
    while i < len(words):
        text = words[i].text
        if text is None:
            if command and not words[i].many:
                break
            return Peeled("opaque", name, words)
        if text in ("--", "-"):
            i += 1
            break
        if text[:1] not in "-+" or len(text) < 2:
            break
        i += 1
        if text.startswith("--"):
            if text[2:] in _SHELL_VALUED:
                if i >= len(words) or words[i].text != "/dev/null":
                    return Peeled("opaque", name, words)  # a file that an interactive shell runs
                i += 1
            elif text[2:] in ("version", "help"):
                return Peeled("plain", name)
            elif text[2:] not in _SHELL_FLAGS:
                return Peeled("opaque", name, words)
            continue
        for letter in text[1:]:
            if letter in "oO":
                i += 1
            elif letter == "c":
                command = command or text[0] == "-"
            elif letter == "s":
                reads = True
            elif letter == "n":
                dry = dry or text[0] == "-"
            elif letter not in "abefhiklmprtuvxBCEHPTD":
                return Peeled("opaque", name, words)
    rest = words[i:]
    shell = "bash" if name in ("bash", "rbash") else "sh"
    if dry:
        return Peeled("plain", name)
    if command:
        if not rest or rest[0].many:
            return Peeled("opaque", name, words)
        return Peeled("script", name, rest[1:], rest[0], shell=shell)
    if reads or not rest:
        return Peeled("stdin", name, rest, shell=shell)
    return Peeled("file", name, rest, shell=shell)


def _su(words: tuple[Expanded, ...]) -> Peeled:
    """su [-] [-c script] [user] in any order, as getopt_long permutes them."""
    script: Expanded | None = None
    i = 0
    while i < len(words):
        text = words[i].text
        i += 1
        if text is None:
            if words[i - 1].many:
                return Peeled("opaque", "su", words)
        elif text in ("-c", "--command", "--session-command"):
            script = words[i] if i < len(words) else None
            i += 1
        elif text.startswith("--command="):
            script = known(text.partition("=")[2])
        elif text in ("-s", "--shell", "-g", "--group", "-G", "-w"):
            i += 1
        elif text.startswith("-") and text not in (
            "-",
            "-l",
            "--login",
            "-m",
            "-p",
            "-f",
            "-P",
            "--",
        ):
            return Peeled("opaque", "su", words)
    if script is None:
        return Peeled("stdin", "su", (), shell="sh", clean=True)
    return Peeled("script", "su", (), script, shell="sh", clean=True)


def _watch(words: tuple[Expanded, ...]) -> Peeled:
    read = options(
        words, "nq", "bcdegprtwxh", ("interval",), ("differences", "no-title", "errexit")
    )
    if read is None:
        return Peeled("opaque", "watch", words)
    found, i = read
    if ("x", "") in found:
        return Peeled("command", "watch", words[i:])
    texts = [word.text for word in words[i:]]
    if not texts or None in texts:
        return Peeled("opaque" if texts else "plain", "watch", words)
    script = known(" ".join(text or "" for text in texts))
    return Peeled("script", "watch", (), script, shell="sh")


def _script(words: tuple[Expanded, ...]) -> Peeled:
    read = options(words, "cEIOBToT", "aefqV", ("command",), ("quiet", "append", "flush", "return"))
    if read is None:
        return Peeled("opaque", "script", words)
    scripts = [value for letter, value in read[0] if letter in ("c", "command")]
    if not scripts:
        return Peeled("stdin", "script", (), shell="sh")
    if scripts[-1] == "\0":
        return Peeled("opaque", "script", words)
    return Peeled("script", "script", (), known(scripts[-1]), shell="sh")
