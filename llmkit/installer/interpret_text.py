"""Builtins that print: echo, printf and test, to the byte as bash 5.2 does them.

Each takes words whose text is known, and gives None where it does not know what bash would do.
"""

from __future__ import annotations

import re

from llmkit.installer import vfs
from llmkit.installer.state import SystemState

_ECHO_OPTIONS = re.compile(r"-[neE]+")
_SIMPLE = {
    "a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t",
    "v": "\v", "\\": "\\",
}  # fmt: skip
_CONVERSION = re.compile(r"%([-+ #0]*)(\d*|\*)(?:\.(\d*|\*))?([a-zA-Z%])")
_STOP = "\0"  # \c: no output after this


def echo(words: tuple[str, ...], *, posix: bool = False) -> str | None:
    """What echo prints. `posix`: the shell may be dash, whose echo reads escapes and knows only
    -n, so that words with a backslash or an option of bash's are not known."""
    newline, escapes = True, False
    position = 0
    while position < len(words) and _ECHO_OPTIONS.fullmatch(words[position]):
        if posix and words[position] != "-n":
            return None
        for letter in words[position][1:]:
            if letter == "n":
                newline = False
            else:
                escapes = letter == "e"
        position += 1
    text = " ".join(words[position:])
    if posix and "\\" in text:
        return None
    if escapes:
        decoded = unescape(text, "echo")
        if decoded is None:
            return None
        if decoded.endswith(_STOP):
            return decoded[:-1]
        text = decoded
    return text + "\n" if newline else text


def unescape(text: str, kind: str) -> str | None:
    """Backslash escapes as in `kind`: "echo" -e, printf's "format", or printf's "%b". Ends with a
    NUL when `\\c` stopped it; None for bytes beyond ASCII."""
    if "\\" not in text:
        return text
    out: list[str] = []
    i = 0
    while i < len(text):
        char = text[i]
        if char != "\\" or i + 1 == len(text):
            out.append(char)
            i += 1
            continue
        letter = text[i + 1]
        i += 2
        if letter in _SIMPLE:
            out.append(_SIMPLE[letter])
        elif letter == "c" and kind != "format":
            out.append(_STOP)
            return "".join(out)
        elif letter in "xuU":
            width = {"x": 2, "u": 4, "U": 8}[letter]
            digits = re.match(f"[0-9a-fA-F]{{1,{width}}}", text[i:])
            if digits is None:
                return None  # bash complains, differently for each
            code = int(digits.group(), 16)
            if not 0 < code < 0x80:
                return None
            out.append(chr(code))
            i += digits.end()
        elif letter in "01234567":
            if kind == "echo" and letter != "0":
                out.append("\\" + letter)
                continue
            most = 3 if letter == "0" and kind != "format" else 2
            digits = re.match(f"[0-7]{{0,{most}}}", text[i:])
            code = int(letter + digits.group(), 8) & 0xFF if digits else 0
            if not 0 < code < 0x80:
                return None
            out.append(chr(code))
            i += digits.end() if digits else 0
        elif letter in "\"'?" and kind == "format":
            out.append(letter)
        elif letter in "\"'?" or letter == "c":
            return None
        else:
            out.append("\\" + letter)
    return "".join(out)


def printf(words: tuple[str, ...]) -> str | None:
    """What printf prints: %s %b %d %i %u %o %x %X %c %% with flags, width and precision; the
    format is used again while arguments are left. None for the rest, and for its complaints."""
    if words[:1] == ("--",):
        words = words[1:]
    if not words or words[0].startswith("-"):
        return None
    form, arguments = words[0], list(words[1:])
    pieces = _pieces(form)
    if pieces is None:
        return None
    uses = sum(1 for piece in pieces if not isinstance(piece, str))
    out: list[str] = []
    rounds = 0
    while True:
        for piece in pieces:
            if isinstance(piece, str):
                out.append(piece)
                continue
            argument = arguments.pop(0) if arguments else None
            made = _convert(piece, argument)
            if made is None:
                return None
            out.append(made)
            if made.endswith(_STOP):
                return "".join(out)[:-1]
        rounds += 1
        if not arguments or not uses:
            return "".join(out)
        if rounds > 4096:
            return None


def _pieces(form: str) -> list[str | tuple[str, str, str | None, str]] | None:
    """The format: text, and conversions (flags, width, precision, letter)."""
    pieces: list[str | tuple[str, str, str | None, str]] = []
    position = 0
    for match in re.finditer("%", form):
        if match.start() < position:
            continue
        text = unescape(form[position : match.start()], "format")
        found = _CONVERSION.match(form, match.start())
        if text is None or found is None or found.group(4) not in "sbdiuoxXc%":
            return None
        backslashes = form[: match.start()]
        if (len(backslashes) - len(backslashes.rstrip("\\"))) % 2:
            return None
        pieces.append(text)
        flags, width, precision, letter = found.groups()
        if "*" in (width, precision):
            return None
        if letter == "%":
            if found.group() != "%%":
                return None
            pieces.append("%")
        else:
            pieces.append((flags, width, precision, letter))
        position = found.end()
    text = unescape(form[position:], "format")
    if text is None:
        return None
    pieces.append(text)
    return pieces


def _convert(piece: tuple[str, str, str | None, str], argument: str | None) -> str | None:
    flags, width, precision, letter = piece
    if (width and int(width[:6]) > 4096) or (precision and int(precision[:6]) > 4096):
        return None
    if letter in "sbc":
        text = argument or ""
        if not text.isascii() and (width or precision is not None or letter == "c"):
            return None  # bash counts bytes here, characters there
        stop = ""
        if letter == "b":
            decoded = unescape(text, "%b")
            if decoded is None:
                return None
            if decoded.endswith(_STOP):
                decoded, stop = decoded[:-1], _STOP
            text = decoded
        elif letter == "c":
            if not text:
                return None  # a NUL byte
            text = text[:1]
        if precision is not None and letter != "c":
            text = text[: int(precision or 0)]
        if width:
            text = text.ljust(int(width)) if "-" in flags else text.rjust(int(width))
        return text + stop
    text = argument or "0"
    if not re.fullmatch(r"[-+]?(0|[1-9]\d{0,17})", text):
        return None
    number = int(text)
    if number < 0 and letter in "uoxX":
        return None
    if "#" in flags or (precision is not None and "0" in flags):
        return None
    try:
        spec = f"%{flags}{width}" + ("" if precision is None else f".{precision or 0}")
        if precision is not None and int(precision or 0) == 0 and number == 0:
            return None
        if letter in "uoxX":
            spec = re.sub(r"[+ ]", "", spec)
        return (spec + ("d" if letter in "diu" else letter)) % number
    except (ValueError, OverflowError):
        return None


def test(words: tuple[str | None, ...], state: SystemState, root: str = "") -> bool | None:
    """`test` with up to four words (POSIX's table); None: not known. A word may be None."""
    match words:
        case ():
            return False
        case (word,):
            return None if word is None else word != ""
        case ("!", *rest):
            inner = test(tuple(rest), state, root)
            return None if inner is None else not inner
        case (operator, operand):
            return _unary(operator, operand, state, root)
        case (left, operator, right):
            return _binary(left, operator, right)
    return None


def _unary(operator: str | None, operand: str | None, state: SystemState, root: str) -> bool | None:
    if operator is None or operand is None:
        return None
    if operator in ("-n", "-z"):
        return (operand != "") == (operator == "-n")
    if operator not in ("-b", "-e", "-d", "-f", "-s", "-r", "-w", "-x", "-a", "-c", "-L", "-h"):
        return None
    if not operand:
        return False
    path = vfs.normalise(operand)
    node = vfs.device(state, path) if path.startswith("/dev/") else None
    if path == "/sys/firmware/efi" or path.startswith("/sys/firmware/efi/"):
        if operator in ("-d", "-e", "-a", "-r"):
            return state.boot_mode == "uefi"
        return None
    if operator == "-b":
        return node is not None if path.startswith("/dev/") else None
    if node is not None:
        return {"-e": True, "-a": True, "-r": True, "-w": True, "-d": False, "-f": False}.get(
            operator
        )
    if operator == "-d":
        return vfs.is_dir(state, path, root)
    if operator in ("-e", "-a"):
        return vfs.exists(state, path, root)
    return None


def _binary(left: str | None, operator: str | None, right: str | None) -> bool | None:
    if left is None or operator is None or right is None:
        return None
    if operator in ("=", "=="):
        return left == right
    if operator == "!=":
        return left != right
    if operator in ("-eq", "-ne", "-lt", "-le", "-gt", "-ge"):
        if not all(re.fullmatch(r"-?(0|[1-9]\d{0,15})", word) for word in (left, right)):
            return None
        a, b = int(left), int(right)
        return {
            "-eq": a == b, "-ne": a != b, "-lt": a < b, "-le": a <= b, "-gt": a > b, "-ge": a >= b,
        }[operator]  # fmt: skip
    return None
