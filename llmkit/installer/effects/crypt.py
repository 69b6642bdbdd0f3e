"""Encrypted containers: cryptsetup (LUKS). An open one is a Mapping below /dev/mapper."""

from __future__ import annotations

import re

from llmkit.installer import vfs
from llmkit.installer.effects.getopt import Options, parse
from llmkit.installer.effects.registry import (
    Argv,
    CommandFailed,
    DeviceBusy,
    Event,
    Result,
    effect,
)
from llmkit.installer.frozen import replace
from llmkit.installer.state import Mapping, Signature, SystemState

_LONG = ("verbose", "debug", "cipher=", "hash=", "verify-passphrase", "key-file=", "keyfile-size=",
         "keyfile-offset=", "new-keyfile-size=", "key-size=", "key-slot=", "new-keyfile=", "size=",
         "device-size=", "offset=", "skip=", "readonly", "batch-mode", "timeout=", "tries=",
         "align-payload=", "header=", "header-backup-file=", "use-random", "use-urandom", "shared",
         "uuid=", "allow-discards", "type=", "label=", "subsystem=", "pbkdf=", "pbkdf-memory=",
         "pbkdf-parallel=", "pbkdf-force-iterations=", "iter-time=", "sector-size=", "integrity=",
         "force-password", "perf-no_read_workqueue", "perf-no_write_workqueue", "perf-same_cpu_crypt",
         "persistent", "refresh", "deferred", "cancel-deferred", "luks2-metadata-size=",
         "luks2-keyslots-size=", "master-key-file=", "volume-key-file=", "volume-key-keyring=",
         "token-id=", "token-only", "test-passphrase", "disable-keyring", "disable-locks",
         "encrypt", "decrypt", "reduce-device-size=", "help", "version", "usage")  # fmt: skip
_OLD = {"luksOpen": "open", "luksClose": "close", "remove": "close", "create": "open",
        "plainOpen": "open", "luksErase": "erase"}  # fmt: skip
_READS = frozenset(
    ("status", "luksDump", "isLuks", "luksUUID", "benchmark", "dump", "tcryptDump", "bitlkDump")
)
_KEYS = frozenset(
    ("luksAddKey", "luksRemoveKey", "luksChangeKey", "luksKillSlot", "luksHeaderBackup", "config",
     "token", "luksConvertKey", "convert", "resize", "refresh", "luksSuspend", "luksResume",
     "reencrypt", "repair")
)  # fmt: skip
_HEADER = 16 << 20  # LUKS2: metadata and key slots before the data, bytes


@effect("cryptsetup")
def cryptsetup(state: SystemState, argv: Argv) -> Result:
    """Encrypt devices (cryptsetup(8) 2.6).

    Covered: luksFormat (-q or YES on standard input), open/luksOpen/--type luks|plain, close,
    erase, resize, status, luksDump, isLuks, luksUUID, keys. A key file must exist; a passphrase is
    asked for (or read from standard input) and taken to be right. Fails with 4 for a device that is
    not there, 5 for one in use or a name taken, 1 otherwise.
    """
    options = parse("cryptsetup", argv.args, "vc:h:yd:l:s:S:b:o:p:rqt:T:M:i:", _LONG)
    words = options.operands
    if not words:
        return Result(state, None, events=(Event("read"),))
    verb = _OLD.get(words[0], words[0])
    key = options.get("-d", "--key-file")
    if key is not None and key != "-" and vfs.exists(state, key, argv.root) is False:
        raise CommandFailed(f"cryptsetup: the key file {key} does not exist")
    if verb == "luksFormat":
        return _format(state, argv, options, words)
    if verb == "open":
        return _open(state, options, words)
    if verb == "close":
        return _close(state, options, words)
    if len(words) < 2 and verb != "benchmark":
        raise CommandFailed(f"cryptsetup: {verb} needs a device")
    if verb == "erase":
        node = _luks(state, words[1], "erase")
        return Result(state, "", events=(Event("erase", node, "encryption keys"),))
    if verb == "status":
        if vfs.device(state, f"/dev/mapper/{words[1].removeprefix('/dev/mapper/')}") is None:
            raise CommandFailed(f"cryptsetup: {words[1]} is not open", status=4)
        return Result(state, None, events=(Event("read"),))
    if verb in _READS or verb in _KEYS:
        node = ""
        if verb not in ("benchmark", "resize", "refresh", "luksSuspend", "luksResume"):
            node = _luks(state, words[1], verb)
        kind = "read" if verb in _READS else "file"
        return Result(state, None, events=(Event(kind, node),))
    raise CommandFailed(f"cryptsetup: unknown action {words[0]}")


def _device(state: SystemState, path: str) -> str:
    try:
        return vfs.require(state, path, "cryptsetup")
    except CommandFailed as error:
        error.status = 4
        raise


def _luks(state: SystemState, path: str, verb: str) -> str:
    node = _device(state, path)
    signature = vfs.signature(state, node)
    if signature is None or signature.kind != "crypto_LUKS":
        raise CommandFailed(f"cryptsetup: {node} is not an encrypted (LUKS) device")
    return node


def _format(state: SystemState, argv: Argv, options: Options, words: tuple[str, ...]) -> Result:
    if len(words) < 2:
        raise CommandFailed("cryptsetup: luksFormat needs a device")
    node = _device(state, words[1])
    vfs.require_writable(state, node, "cryptsetup")
    reason = vfs.is_busy(state, node)
    if reason:
        raise DeviceBusy(f"cryptsetup: {node} is in use: {reason}", status=5)
    if vfs.size(state, node) <= _HEADER:
        raise CommandFailed(f"cryptsetup: {node} is too small to be encrypted")
    answered = (argv.stdin or "YES").split("\n")[0] == "YES" or options.has("-d", "--key-file")
    if not options.has("-q", "--batch-mode") and not answered:
        raise CommandFailed(
            "cryptsetup: it asks for YES in capital letters first; -q leaves the question out"
        )
    events = []
    old = vfs.signature(state, node)
    disk, part, _ = vfs.find(state, node)
    if disk is not None and part is None and disk.partitions:
        events.append(Event("erase", node, f"{len(disk.partitions)} partitions"))
    if disk is not None and part is None:
        state = vfs.overwrite(state, node)
    if old is not None:
        events.append(Event("erase", node, old.kind))
    label = options.get("--label", default="") or ""
    uuid = (options.get("--uuid", default="") or "").lower()
    state = vfs.set_signature(state, node, Signature("crypto_LUKS", label, uuid))
    return Result(state, "", events=(*events, Event("format", node, "crypto_LUKS")))


def _open(state: SystemState, options: Options, words: tuple[str, ...]) -> Result:
    """`open DEVICE NAME`; plain containers need no signature."""
    testing = options.has("--test-passphrase")
    if len(words) < 3 and not testing:
        raise CommandFailed("cryptsetup: open needs a device and a name")
    if words[0] == "create":  # old order: create NAME DEVICE
        words = (words[0], words[2], words[1])
    plain = options.get("--type") == "plain" or words[0] in ("create", "plainOpen")
    node = _device(state, words[1]) if plain else _luks(state, words[1], "open")
    if testing:
        return Result(state, "", events=(Event("read", node),))
    name = words[2]
    if not re.fullmatch(r"[A-Za-z0-9#+.:=@_-]{1,127}", name):
        raise CommandFailed(f"cryptsetup: {name!r} is no valid name")
    if any(m.path == f"/dev/mapper/{name}" for m in state.mappings):
        raise CommandFailed(f"cryptsetup: {name} exists already", status=5)
    reason = vfs.is_busy(state, node)
    if reason:
        raise DeviceBusy(f"cryptsetup: {node} is in use: {reason}", status=5)
    size = vfs.size(state, node) - (0 if plain else _HEADER)
    before = next((m for m in state.closed if node in m.parents), None)
    mapping = Mapping(name, "crypt", (node,), max(size, 0), before.signature if before else None)
    if before is not None:  # what was inside when it was closed
        held = next((tree for path, tree in state.trees if path == before.path), None)
        state = state.with_tree(before.path, None).with_tree(mapping.path, held)
        state = replace(state, closed=tuple(m for m in state.closed if m is not before))
    state = replace(state, mappings=(*state.mappings, mapping))
    return Result(state, "", events=(Event("mapping", node, mapping.path),))


def _close(state: SystemState, options: Options, words: tuple[str, ...]) -> Result:
    if len(words) < 2:
        raise CommandFailed("cryptsetup: close needs a name")
    events = []
    for word in words[1:]:
        path = f"/dev/mapper/{word.removeprefix('/dev/mapper/')}"
        mapping = next((m for m in state.mappings if m.path == path and m.kind == "crypt"), None)
        if mapping is None:
            raise CommandFailed(f"cryptsetup: {word} is not open", status=4)
        reason = vfs.is_busy(state, path)
        if reason:
            raise DeviceBusy(f"cryptsetup: {path} is in use: {reason}", status=5)
        rest = tuple(m for m in state.mappings if m is not mapping)
        state = replace(state, mappings=rest, closed=(*state.closed, mapping))
        events.append(Event("mapping", path, "closed"))
    return Result(state, "", events=tuple(events))
