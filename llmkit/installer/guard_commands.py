"""The guard's look at every command of a line: collects what is missing, unknown, dangerous.

`Inspector` is handed to guard_explorer, which calls it with each command and the states
that are possible there. A device must exist in all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from posixpath import basename, normpath

from llmkit.installer import guard_aliases
from llmkit.installer.effects.registry import EFFECTS
from llmkit.installer.expand import Expanded
from llmkit.installer.guard_danger import (
    READ,
    Danger,
    danger_of,
    names_secret,
    replaced,
    worse,
    write_danger,
)
from llmkit.installer.guard_devices import (
    Call,
    awk_program_index,
    missing_devices,
    sed_scripts,
)
from llmkit.installer.guard_explorer import explore
from llmkit.installer.guard_names import FOLDERS, Mention, Presence, canonical, mentions, presence
from llmkit.installer.guard_runs import FIND_RUNS, runs
from llmkit.installer.guard_tools import (
    DOWNLOADERS,
    FILE_MARKERS,
    INTERPRETERS,
    PRINTERS,
    READERS,
    RUNNERS,
    SENDERS,
    SETTINGS,
    SHELLS,
    TEXT_FILTERS,
    base_name,
    is_disk_tool,
    is_installed_path,
)
from llmkit.installer.interpret_text import printf
from llmkit.installer.interpret_types import Opened, SimpleCommand
from llmkit.installer.shell import ShellSyntaxError, parse
from llmkit.installer.shell_ast import Simple
from llmkit.installer.state import SystemState

MAX_DEPTH = 4  # scripts within words of commands that the evaluator does not unwrap itself
_SCRIPTED = frozenset("fdisk gdisk cgdisk cfdisk sfdisk parted debugfs lvm xfs_db".split())
_TEXT_VALUES = {  # options whose value is never a device, so that it may be opaque
    "efibootmgr": ("-u", "--unicode", "-L", "--label", "-l", "--loader"),
    "mkswap": ("-L", "--label", "-U", "--uuid"),
    "bootctl": ("--entry-token", "--efi-boot-option-description"),
    "grub-install": ("--bootloader-id",),
    "rsync": ("--exclude", "--bwlimit"),
}
_CAN_WRITE = frozenset(  # otherwise harmless, with an option or operand that is written to
    "sort uniq xxd history curl wget gpg openssl git ssh-keygen".split()
)
_UNTRACKED = frozenset(  # partitions may be others after these; what they do is not modelled
    "gdisk cgdisk cfdisk fixparts gparted testdisk nwipe scrub ddrescue dd_rescue dcfldd dc3dd "
    "nvme hdparm blkzone sg_format zpool make-bcache mdadm parted fdisk".split()
)
_RISKY_VARIABLES = frozenset(
    "LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT BASH_ENV ENV PROMPT_COMMAND SHELLOPTS BASHOPTS PS4 "
    "LESSOPEN LESSCLOSE RSYNC_RSH TAR_OPTIONS PERL5OPT".split()
)
_EVALUATED = re.compile(r"\w\[[^\]]*(\$\(|`)")  # a[$(…)]: run wherever a number is wanted
_UNPACKERS = frozenset("tar unzip cpio 7z bsdtar wget curl aria2c axel split csplit git".split())
_ON_FILES = frozenset("rm mv cp chmod chown chgrp shred unlink truncate tee".split())
_RUN_BY = frozenset("PAGER EDITOR VISUAL MANPAGER GIT_SSH_COMMAND BROWSER SUDO_ASKPASS".split())
_SAFE_PATH = re.compile(r"(\$PATH|/(usr/)?(local/)?s?bin)(:(\$PATH|/(usr/)?(local/)?s?bin))*")
_SOURCES = frozenset(  # files of settings that a shell may read in
    "/etc/os-release /usr/lib/os-release /etc/profile /etc/locale.conf /etc/default/locale "
    "/etc/environment /etc/vconsole.conf /root/.bashrc /root/.profile /root/.bash_profile "
    "/etc/bash.bashrc /etc/bashrc".split()
)
_NOTES = re.compile(r"(?i).*\.(txt|md|log|nfo|html|csv|json)|(/mnt)?/etc/(motd|issue(\.net)?)")
_ACTED_ON = re.compile(
    r"/(etc|boot|efi|usr|lib\w*|bin|sbin|opt|proc|sys|run|var|srv|EFI|loader)(/|$)|/\.[^/]+$|"
    r"\.(sh|service|timer|conf|cfg|target|mount|swap|desktop|rules|hook|py|pl)$|/bin/|/cron|fstab|"
    r"crypttab"
)


class Inspector:
    """Collects the faults of a line. `missing`: device names. `unknown`: what cannot be known, as
    the end of "It cannot be known beforehand …"."""

    def __init__(self) -> None:
        self.missing: list[str] = []
        self.unknown: list[str] = []
        self.danger: Danger = READ
        self._removed: set[str] = set()
        self._depth = 0
        self._downloads = self._sends = self._secret = self._runs_unknown = False
        self._printed: list[str] = []
        self._sink = False  # output of several commands goes to a file that the system acts on
        self._find_anywhere = True
        self._planted: set[str] = set()  # programs that the line itself writes
        self._aliases: set[str] = set()  # names that the line gives to devices

    # -- hooks of the evaluator -----------------------------------------------------------------

    def command(self, command: SimpleCommand, states: tuple[SystemState, ...]) -> None:
        """Look at one command. `states`: all that are possible when it starts."""
        here = [presence(state) for state in states]
        roots = tuple(sorted(here[0].roots.union(*(p.roots for p in here[1:]))))
        for redirect in command.redirects:
            self._redirect(redirect, command, here, roots)
        for name, value in command.assignments:
            self._assignment(name, value, here, roots)
        if not command.argv:
            return
        program = command.argv[0].text
        if "find" in command.wrappers and not self._find_anywhere:
            return  # judged by _find, which knows where the files lie
        if program is None:
            if _reads_settings(command):
                return
            self._unknowable(f"which program runs ({command.text})", runs=True)
            for word in command.argv:
                self._fragments(word, here, roots)
            return
        if "/" in program and not is_installed_path(canonical(program, ())):
            self._fragments(command.argv[0], here, roots)
            self._unknowable(f"what the file {program} does", runs=True)
        name = base_name(program)
        if name in self._planted:
            self._unknowable(f"what {name} does, which this line puts in place", runs=True)
        args = tuple(word.text for word in command.argv[1:])
        if name != "echo" and any(word and _EVALUATED.search(word) for word in args):
            self._unknowable("what a text runs that the shell takes for arithmetic", runs=True)
        call = Call(name, args, command.stdin, command.cwd, roots)
        if alias := guard_aliases.named(call, command.root, self._aliases):
            self._unknowable(f"which device {alias} is")
        self._words(call, command, here, roots)
        self._standard_input(call, here, roots)
        self._text_to_files(call, command, here, roots)
        self._runs(call, command, states)
        self._danger(call, command, here)
        self._track(call, here)
        self._aliases.update(
            x for p in here for x in guard_aliases.names_given(call, p, command.root)
        )

    def finish(self) -> None:
        """The faults that show only when the whole line was seen."""
        if self._sink and self._printed:
            self.missing += self._printed
        if self._downloads and self._runs_unknown:
            self.danger = Danger("forbidden", "runs what comes from the network, unseen")
        if self._secret and self._sends:
            self.danger = Danger("forbidden", "sends secret keys or passwords out")

    # -- small helpers --------------------------------------------------------------------------

    def _unknowable(self, what: str, *, runs: bool = False) -> None:
        self.unknown.append(what)
        self._runs_unknown = self._runs_unknown or runs

    def _absent(self, found: Iterable[Mention], here: Iterable[Presence]) -> list[str]:
        """Names of the mentions that are not there in every state."""
        out = []
        for mention in found:
            if (
                any(not any(map(p.has, mention.names)) for p in here)
                or self._removed
                and self._is_removed(mention, here)
            ):
                out.append(mention.name)
        return out

    def _is_removed(self, mention: Mention, here: Iterable[Presence]) -> bool:
        return any(p.resolve(name) in self._removed for p in here for name in mention.names)

    def _fragments(self, word: Expanded, here: Iterable[Presence], roots: tuple[str, ...]) -> None:
        """Devices in the known pieces of a word. A piece that something opaque follows or precedes
        ("/dev/sd" + ?) is a device only when whitespace ends it."""
        if word.text is not None:
            self.missing += self._absent(mentions(word.text, roots), here)
            return
        for piece in word.fragments:
            if piece is not None and re.search(r"\s", piece):
                inner = piece[: piece.rindex(max(re.findall(r"\s", piece)))]
                self.missing += self._absent(mentions(inner, roots), here)

    # -- redirections and variables -------------------------------------------------------------

    def _redirect(
        self, redirect: Opened, command: SimpleCommand, here: list[Presence], roots: tuple[str, ...]
    ) -> None:
        target = redirect.target
        if target is None or redirect.duplicates or redirect.operator in ("<<", "<<-", "<<<"):
            return
        if target.text is None:
            substituted = target.fragments[:1] == ("/dev/fd/",)
            if redirect.writes and not substituted:
                self._unknowable(f"which file or device is written ({target})")
            return
        path = target.text
        if command.cwd is None and not path.startswith("/"):
            if redirect.writes:
                self._unknowable(f"in which folder {path} is written")
            path = f"/dev/{path}"
        elif not path.startswith("/"):
            path = f"{command.cwd or ''}/{path}" if command.cwd else path
        if path.startswith(("/dev/tcp/", "/dev/udp/")):
            self._sends = self._downloads = True
        if re.match(r"(?:\.{1,2}/+)*dev/", path):
            path = "/" + re.sub(r"^(?:\.{1,2}/+)*", "", path)
        self.missing += self._absent(mentions(path, roots, tags=False), here)
        if redirect.writes:
            if (not command.argv or command.argv[0].text == "exec") and _is_acted_on(path):
                self._sink = True
            if re.search(r"[*?\[]", path) and path.startswith(("/dev", "/sys")):
                self._unknowable(f"which device is written ({path})")
            alias = guard_aliases.within(target.text, command.cwd, command.root, self._aliases)
            if alias:
                self._unknowable(f"which device {alias} is")
            anew = redirect.operator in (">", ">|", "&>", ">&") and redirect.fd in (None, 1)
            for p in here:
                self.danger = worse(self.danger, write_danger(path, p, roots))
                if anew:
                    loss = replaced(target.text, command.cwd, p.state, command.root,
                                    empty=_prints_nothing(command))  # fmt: skip
                    self.danger = worse(self.danger, loss)
            self._note_removal(path, here)
            if is_installed_path(canonical(path, ())):
                self._planted.add(basename(path))
        else:
            self._secret = self._secret or names_secret(path)
            nodes = [
                p.resolve(name) for p in here for m in mentions(path, roots) for name in m.names
            ]
            if redirect.fd not in (None, 0) and any(nodes):  # opened again, it can be written
                self._aliases |= {f"{at}/{redirect.fd}" for at in ("/dev/fd", "/proc/self/fd")}

    def _note_removal(self, path: str, here: Iterable[Presence]) -> None:
        """`echo 1 > /sys/block/sda/device/delete` takes the disk away."""
        match = re.fullmatch(
            r"/sys/(?:class/)?block/([^/]+)/device/(?:delete|remove)", normpath(path)
        )
        for p in here if match else ():
            disk = p.state.disk(match[1]) if match else None
            if disk is not None:
                self._removed.add(disk.path)
                self._removed.update(disk.partition_path(x.number) for x in disk.partitions)
                self.danger = worse(self.danger, Danger("destructive", f"takes {disk.path} away"))

    def _assignment(
        self, name: str, value: Expanded, here: list[Presence], roots: tuple[str, ...]
    ) -> None:
        """A value may name a partition that a later part makes, but no disk that is not there."""
        text = value.text
        prompts = name in ("PS0", "PS1", "PS2", "PS3") and (
            text is None or re.search(r"\$\(|`", text)
        )
        if name in _RISKY_VARIABLES or prompts or name.startswith("BASH_FUNC_"):
            self._unknowable(f"what setting {name} makes programs do", runs=True)
        if name == "PATH" and (text is None or not _SAFE_PATH.fullmatch(text)):
            known = "".join(piece or "$PATH" for piece in value.fragments)
            if not _SAFE_PATH.fullmatch(known):
                self._unknowable("which programs run when PATH is changed", runs=True)
        if name in _RUN_BY and (text is None or not re.fullmatch(r"[\w-]*", text)):
            self._unknowable(f"what the program in {name} does", runs=True)
        if text is None:
            return
        if _EVALUATED.search(text):
            self._unknowable("what a text runs that the shell takes for arithmetic", runs=True)
        for absent in self._absent(mentions(text, roots, tags=False), here):
            if not all(_on_a_disk(absent, p.state) for p in here):
                self.missing.append(absent)

    # -- words ----------------------------------------------------------------------------------

    def _words(
        self, call: Call, command: SimpleCommand, here: list[Presence], roots: tuple[str, ...]
    ) -> None:
        for p in here:
            self.missing += missing_devices(call, p)
        if self._removed:
            found = [m for word in call.args if word for m in mentions(word, roots)]
            if call.program not in PRINTERS:
                self.missing += [m.name for m in found if self._is_removed(m, here)]
        if any(word is not None and names_secret(word) for word in call.args):
            if call.program not in PRINTERS:
                self._secret = True
        if None in call.args:
            self._opaque_words(call, command, here, roots)
        if call.program in _UNPACKERS and any(
            canonical(value, roots) in FOLDERS
            for word in call.args
            if word
            for value in (word, word.rpartition("=")[2], word[2:])
            if value.startswith("/")
        ):
            self._unknowable("which devices are written when files are put there")
        if call.program == "mknod" and len(call.args) > 1 and call.args[1] in ("b", None):
            self._unknowable("which disk a node made by hand stands for")

    def _opaque_words(
        self, call: Call, command: SimpleCommand, here: list[Presence], roots: tuple[str, ...]
    ) -> None:
        program = call.program
        if program == "command":  # it only looks up what follows
            return
        if program not in _CAN_WRITE and (
            program in PRINTERS or program in READERS or program in SETTINGS
        ):
            return
        words = command.argv[1:]
        texts = _TEXT_VALUES.get(program, ())
        scripts = sed_scripts(call.args) if program in ("sed", "gsed") else frozenset()
        for index, word in enumerate(words):
            if word.text is not None:
                continue
            self._fragments(word, here, roots)
            first = word.fragments[0] if word.fragments else None
            if index and call.args[index - 1] in texts and not word.many:
                continue
            if first and any(first.startswith(f"{option}=") for option in texts) and not word.many:
                continue
            if first == "/dev/fd/" and word.pattern is None and program not in INTERPRETERS:
                if program not in SHELLS and program not in (".", "source"):
                    continue  # a process substitution
            if index in scripts and first and re.match(r"s[|,#/@]", first) and not word.many:
                continue
            beneath = first or ""
            if program in FILE_MARKERS and _is_plain_folder(beneath, roots):
                continue
            if word.pattern is not None and _is_plain_pattern(word.pattern, roots, call.cwd):
                if program in ("rm", "cp", "mv", "rsync", "tar", "shred", "install", "ln"):
                    if index < len(words) - 1 or program in ("rm", "shred", "tar"):
                        continue
            if program in ("awk", "gawk", "mawk") and index != awk_program_index(call.args):
                continue
            if program == "find" and not set(call.args) & {"-delete", *FIND_RUNS, "-fprint"}:
                continue
            runs = program in SHELLS or program in RUNNERS or program in INTERPRETERS
            runs = runs or program in (".", "source", "eval")
            self._unknowable(f"what {program} is given ({command.text})", runs=runs)
            return

    # -- text that goes somewhere ---------------------------------------------------------------

    def _standard_input(self, call: Call, here: list[Presence], roots: tuple[str, ...]) -> None:
        program, text = call.program, call.stdin
        if text is None:
            if program in _SCRIPTED:
                levels = {danger_of(call, p).level for p in here}
                if levels != {"read"}:
                    self._unknowable(f"which answers {program} is given")
            return
        if not text or program in TEXT_FILTERS or program in PRINTERS or program in READERS:
            return
        absent = self._absent(mentions(text, roots, prose=True), here)
        if program == "sfdisk":
            absent = [name for name in absent if not all(_on_a_disk(name, p.state) for p in here)]
        self.missing += absent
        if program == "parted":
            inner = Call(program, (*call.args, *text.split()), "", call.cwd, roots)
            self.missing += [name for p in here for name in missing_devices(inner, p)]
            for p in here:
                self.danger = worse(self.danger, danger_of(inner, p))

    def _text_to_files(
        self, call: Call, command: SimpleCommand, here: list[Presence], roots: tuple[str, ...]
    ) -> None:
        """Text that names an absent device, written to a file that the system acts on."""
        if call.program in ("echo", "printf"):
            text = "\n".join(
                " ".join(piece for piece in word.fragments if piece) for word in command.argv[1:]
            )
            known = tuple(word for word in call.args if word is not None)
            if call.program == "printf" and len(known) == len(call.args):
                text = printf(known) or text
        elif call.program in TEXT_FILTERS and call.stdin:
            text = call.stdin
        else:
            return
        found = mentions(text, roots, prose=True)
        if not found:
            return
        absent = self._absent(found, here)
        if call.program == "printf" and None in call.args:  # UUID=%s of what a command prints
            absent = [name for name in absent if not name.endswith("=%s")]
        if not absent:
            return
        targets = [r.target.text for r in command.redirects if r.writes and r.target]
        if call.program == "tee":
            targets += [word for word in call.args if word is None or not word.startswith("-")]
        if not targets and call.program in ("echo", "printf"):
            self._printed += absent
        prefix = f"{command.cwd}/" if command.cwd else "/"
        for target in targets:
            path = normpath(target if target and target.startswith("/") else f"{prefix}{target}")
            if target is None or _is_acted_on(path):
                self.missing += absent

    # -- programs that run others ---------------------------------------------------------------

    def _runs(self, call: Call, command: SimpleCommand, states: tuple[SystemState, ...]) -> None:
        found = runs(call)
        if found is None:
            return
        for what in found.unknown:
            self._unknowable(what, runs=True)
        self._find_anywhere = found.anywhere
        for script in found.scripts:
            self._script(script, states)

    def _script(self, text: str, states: tuple[SystemState, ...]) -> None:
        """Look into shell text that some command would run."""
        if self._depth >= MAX_DEPTH:
            self._unknowable("what commands nested so deep would do", runs=True)
            return
        try:
            script = parse(text)
        except ShellSyntaxError:
            self._unknowable(f"what would be run ({text})", runs=True)
            return
        self._depth += 1
        for state in states[:4]:
            explore(script, state, self)
        self._depth -= 1

    # -- danger ---------------------------------------------------------------------------------

    def _danger(self, call: Call, command: SimpleCommand, here: Iterable[Presence]) -> None:
        program = call.program
        if program in _ON_FILES and None in call.args:  # patterns that are not looked up: /mnt/*
            texts = tuple(word.text or word.pattern or "" for word in command.argv[1:])
            call = Call(program, texts, call.stdin, call.cwd, call.roots)
        for p in here:
            self.danger = worse(self.danger, danger_of(call, p, command.root))
        if program in DOWNLOADERS and (
            program != "git" or {"clone", "pull", "fetch", "submodule"} & set(call.args)
        ):
            self._downloads = True
        if program in SENDERS and _sends_out(call):
            self._sends = True

    def _track(self, call: Call, here: Iterable[Presence]) -> None:
        """What goes away without a modelled tool: nodes by rm and mv, partitions by an editor that
        a person answers. And programs that are put in the place of others."""
        program, words = call.program, [word for word in call.args if word is not None]
        if program in ("cp", "mv", "ln", "install", "tee"):
            target = words[-1] if words else ""
            if is_installed_path(canonical(target, ())):
                self._planted.add(basename(target))
            elif is_installed_path(canonical(target, ()) + "/x"):
                self._planted.update(basename(word) for word in words[:-1])
        if program == "alias":
            self._planted.update(word.partition("=")[0] for word in words if "=" in word)
        if program in ("rm", "mv") and any(canonical(w, call.roots) in FOLDERS for w in words):
            self._removed.update(node for p in here for node in p.nodes)
        gone = program in ("rm", "mv", "unlink", "delpart")
        if program == "ln" and words:  # another thing under a device's name
            names = [canonical(words[-1], call.roots)]
            self._removed.update(node for p in here for node in map(p.resolve, names) if node)
        unmodelled = is_disk_tool(program) and program not in EFFECTS
        edited = (unmodelled or program in _UNTRACKED) and self._edits(call, here)
        if program == "partx" and any(word.startswith(("-d", "--delete")) for word in words):
            edited = True
        if not gone and not edited:
            return
        for word in words:
            for mention in mentions(word, call.roots, tags=False):
                for p in here:
                    node = next(filter(None, map(p.resolve, mention.names)), None)
                    if node and gone and program != "delpart":
                        self._removed.add(node)
                    disk = p.state.disk(node) if node else None
                    if disk is not None and program != "rm":
                        self._removed.update(disk.partition_path(x.number) for x in disk.partitions)

    def _edits(self, call: Call, here: Iterable[Presence]) -> bool:
        """Whether partitions may be others after a tool that the model does not follow."""
        if call.program in ("fdisk", "parted"):
            return call.stdin == "" and any(
                danger_of(call, p).what.startswith("edits the partition table") for p in here
            )
        return any(danger_of(call, p).level in ("destructive", "forbidden") for p in here)


def _prints_nothing(command: SimpleCommand) -> bool:
    """`> file`, `: > file`, `cat /dev/null > file`: nothing comes in place of what is there."""
    words = [word.text for word in command.argv]
    if not words:
        return isinstance(command.node, Simple) and not command.node.words
    rest = [word for word in words[1:] if word not in ("-n", "-e", "")]
    if words[0] in ("echo", "printf"):
        return not rest and (words[0] == "printf" or "-n" in words)
    return words[0] in (":", "true", "false") or words[0] == "cat" and rest == ["/dev/null"]


def _reads_settings(command: SimpleCommand) -> bool:
    """`. /etc/os-release`, which the evaluator cannot look into."""
    words = [word.text for word in command.argv[1:3]]
    return len(words) == 2 and words[0] in (".", "source") and words[1] in _SOURCES


def _on_a_disk(name: str, state: SystemState) -> bool:
    """Whether `name` is what a partition of an existing disk would be called."""
    return any(re.fullmatch(rf"{re.escape(d.path)}p?\d+", name) for d in state.disks)


def _is_plain_folder(beneath: str, roots: tuple[str, ...]) -> bool:
    """Whether names that begin so lie in a folder that is not /, /dev, /sys or /proc."""
    path = canonical(beneath.rpartition("/")[0] or "/", roots)
    return beneath.startswith("/") and path != "/" and not (path + "/").startswith(
        ("/dev/", "/sys/", "/proc/")
    )  # fmt: skip


def _is_plain_pattern(pattern: str, roots: tuple[str, ...], cwd: str | None) -> bool:
    """Whether a pattern can match no device: "/mnt/home/*", "*.log", "/*"."""
    if not pattern.startswith("/"):
        if cwd is None or (canonical(cwd or "/root", roots) + "/").startswith(("/dev/", "/sys/")):
            return False
        return not pattern.startswith(("..", "dev/", "./dev/"))
    path = canonical(pattern, roots)
    return not (path + "/").startswith(("/dev/", "/sys/", "/proc/")) and ".." not in pattern


def _is_acted_on(path: str) -> bool:
    return _NOTES.fullmatch(path) is None and _ACTED_ON.search(path) is not None


def _sends_out(call: Call) -> bool:
    words = [word for word in call.args if word is not None]
    if call.program in ("curl", "http", "https"):
        options = re.compile(r"-[A-Za-z]*[dFT].*|--(data.*|form.*|upload-file.*|json.*)|[\w.-]+@.+")
        return call.stdin != "" or any(options.fullmatch(word) for word in words)
    if call.program == "wget":
        return any(word.startswith(("--post", "--body")) for word in words)
    if call.program in ("rsync", "scp"):
        return any(re.match(r"[\w.@-]+:|rsync://", word) for word in words)
    return call.program not in ("git", "aria2c", "axel", "fetch")
