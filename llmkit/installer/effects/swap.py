"""Swap space: mkswap, swapon, swapoff (util-linux 2.38)."""

from __future__ import annotations

from llmkit.installer import vfs
from llmkit.installer.effects.getopt import Options, parse
from llmkit.installer.effects.registry import (
    Argv,
    CommandFailed,
    DeviceBusy,
    Event,
    NoSuchDevice,
    Result,
    effect,
)
from llmkit.installer.frozen import replace
from llmkit.installer.osfiles import fstab_entries
from llmkit.installer.state import Signature, SystemState


@effect("mkswap")
def mkswap(state: SystemState, argv: Argv) -> Result:
    """Put a swap signature on a device, or into a file (mkswap(8)).

    Covered: -L, -U, -f, -q, -c, -p. What was on the device is overwritten without a question.
    Raises NoSuchDevice when there is no such device or file, DeviceBusy when it is in use.
    """
    options = parse(
        "mkswap", argv.args, "cfp:qL:v::U:e:o:s:FVh",
        ("check", "force", "pagesize=", "quiet", "label=", "swapversion=", "uuid=", "endianness=",
         "offset=", "size=", "file", "verbose", "lock=?", "version", "help"),
    )  # fmt: skip
    if not options.operands:
        raise CommandFailed("mkswap: no device given")
    path = options.operands[0]
    if vfs.device(state, path) is None and not path.startswith("/dev/"):
        if vfs.exists(state, path, argv.root) is False:
            raise NoSuchDevice(f"mkswap: {path} does not exist")
        return Result(state, None)  # a swap file
    node = vfs.require(state, path, "mkswap")
    vfs.require_writable(state, node, "mkswap")
    vfs.require_free(state, node, "mkswap")
    if vfs.size(state, node) < 40960:
        raise CommandFailed(f"mkswap: {node} is too small for swap space")
    events = []
    old = vfs.signature(state, node)
    disk, part, _ = vfs.find(state, node)
    if disk is not None and part is None and disk.table:
        if disk.partitions:
            events.append(Event("erase", node, f"{len(disk.partitions)} partitions"))
        state = vfs.overwrite(state, node)
    if old is not None and old.kind != "swap":
        events.append(Event("erase", node, old.kind))
    label = (options.get("-L", "--label", default="") or "").encode()[:15].decode(errors="ignore")
    uuid = options.get("-U", "--uuid", default="") or ""
    uuid = "" if uuid in ("clear", "random", "time") else uuid.lower()
    state = vfs.set_signature(state, node, Signature("swap", label, uuid))
    return Result(state, None, events=(*events, Event("format", node, "swap")))


_ON = ("all", "discard=?", "ifexists", "fixpgsz", "options=", "priority=", "summary", "show=?",
       "noheadings", "raw", "bytes", "fstab=", "verbose", "help", "version")  # fmt: skip


@effect("swapon")
def swapon(state: SystemState, argv: Argv) -> Result:
    """Use devices as swap (swapon(8)).

    Covered: devices, LABEL=/UUID= tags, -L, -U, -a (from the live system's fstab), -p, -d, -o, -e;
    --show and -s only read. Raises CommandFailed when a device holds no swap signature (mkswap it
    first) or is in use already.
    """
    options = parse("swapon", argv.args, "ahd::efo:p:svVL:U:T:", _ON)
    if options.has("-s", "--summary", "--show"):
        return Result(state, None, events=(Event("read"),))
    events: list[Event] = []
    wanted = _sources(options)
    if options.has("-a", "--all"):
        for source, _, kind, opts in fstab_entries(vfs.read_text(state, "/etc/fstab") or ""):
            node = vfs.device(state, source)
            if kind == "swap" and "noauto" not in opts.split(",") and node not in state.swaps:
                wanted.append(source)
    elif not wanted:
        return Result(state, None, events=(Event("read"),))
    done = state
    for source in wanted:
        node = vfs.device(done, source)
        if node is None and not source.startswith("/dev/") and "=" not in source:
            if vfs.exists(done, source, argv.root) is False:
                raise _stopped(NoSuchDevice(f"swapon: {source} does not exist", status=255), done)
            continue  # a swap file: the device list does not show it
        if node is None:
            if options.has("-e", "--ifexists"):
                continue
            raise _stopped(
                NoSuchDevice(
                    f"swapon: {source} does not exist; this machine has {vfs.listing(state)}",
                    status=255,
                ),
                done,
            )
        signature = vfs.signature(done, node)
        if node in done.swaps:
            raise _stopped(
                DeviceBusy(f"swapon: {node} is in use as swap already", status=255), done
            )
        if signature is None or signature.kind != "swap":
            raise _stopped(
                CommandFailed(
                    f"swapon: {node} holds no swap space; mkswap {node} makes one", status=255
                ),
                done,
            )
        done = replace(done, swaps=tuple(sorted((*done.swaps, node))))
        events.append(Event("swap", node, "on"))
    return Result(done, "", events=tuple(events))


def _stopped(error: CommandFailed, done: SystemState) -> CommandFailed:
    """What was switched before the device that failed stays switched."""
    error.state = done
    return error


def _sources(options: Options) -> list[str]:
    wanted = [f"LABEL={value}" for value in options.all("-L")]
    wanted += [f"UUID={value}" for value in options.all("-U")]
    return wanted + list(options.operands)


@effect("swapoff")
def swapoff(state: SystemState, argv: Argv) -> Result:
    """Stop using devices as swap (swapoff(8)). Covered: devices, tags, -a, -L, -U."""
    options = parse("swapoff", argv.args, "ahvVL:U:", ("all", "verbose", "help", "version"))
    if options.has("-a", "--all"):
        events = tuple(Event("swap", node, "off") for node in state.swaps)
        return Result(replace(state, swaps=()), "", events=events)
    wanted = _sources(options)
    if not wanted:
        raise CommandFailed("swapoff: no device given", status=16)
    events_list: list[Event] = []
    done = state
    for source in wanted:
        node = vfs.device(done, source)
        if node is None and not source.startswith("/dev/") and "=" not in source:
            if vfs.exists(done, source, argv.root) is False:
                raise _stopped(NoSuchDevice(f"swapoff: {source} does not exist", status=4), done)
            continue
        if node is None:
            message = f"swapoff: {source} does not exist; this machine has {vfs.listing(state)}"
            raise _stopped(NoSuchDevice(message, status=4), done)
        if node not in done.swaps:
            raise _stopped(CommandFailed(f"swapoff: {node} is not in use as swap", status=4), done)
        done = replace(done, swaps=tuple(path for path in done.swaps if path != node))
        events_list.append(Event("swap", node, "off"))
    return Result(done, "", events=tuple(events_list))
