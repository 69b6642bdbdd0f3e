"""How fast augment writes a million validated snapshots, and where the time goes.

    python benchmarks/augment.py                 # 1,000,000 snapshots: 3 runs, some minutes
    python benchmarks/augment.py 100000          # fewer

Runs, one after the other, on the shipped conversations: a plain-Python baseline that fills slots by
`str.replace` on eight fixed machines, tracks no state and validates nothing; augment with 1 worker;
with 2; and augment with many machines and few wordings each (the default's shape), where planning
(rendering, running commands, asking the guard) weighs most. Times are wall clock from the start of
the process to its end, start-up and plots included; memory is the sum over the processes of a run,
sampled every 50 ms. Processor seconds say more than wall clock on a machine that others use.
A table of where the time goes follows, from one process without a profiler.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

_PAGE = os.sysconf("SC_PAGE_SIZE")


def descendants(pid: int) -> Iterator[int]:
    """A process and everything below it."""
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from descendants(int(child))


def resident(pid: int) -> int:
    """Bytes resident in a process and everything below it (shared pages count in each)."""
    total = 0
    for one in descendants(pid):
        try:
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * _PAGE
        except OSError:
            continue
    return total


def measured(arguments: list[str]) -> tuple[float, float, int]:
    """(seconds, processor seconds, peak bytes) of a command; exits when it fails."""
    start = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, env=environment)
    peak = 0
    while process.poll() is None:
        peak = max(peak, resident(process.pid))
        time.sleep(0.05)
    if process.returncode:
        sys.exit(f"{' '.join(arguments)} failed with {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, used, peak


# -- the baseline ----------------------------------------------------------------------------------

_DISKS = (("/dev/sda", "465.8G", ""), ("/dev/nvme0n1", "953.9G", "p"), ("/dev/vda", "40G", ""),
          ("/dev/mmcblk0", "59.6G", "p"))  # fmt: skip


def slots(number: int) -> dict[str, str]:
    """What the baseline replaces, on machine `number`."""
    path, size, infix = _DISKS[number % len(_DISKS)]
    boot, root = f"{path}{infix}1", f"{path}{infix}2"
    found = {
        "{{ fs }}": "ext4", "{{ hostname }}": f"host{number}", "{{ hostname_alt }}": "tower",
        "{{ username }}": "anna", "{{ username_alt }}": "ben", "{{ timezone.zone }}": "Europe/Rome",
        "{{ timezone.words }}": "rome", "{{ timezone_alt.words }}": "oslo", "{{ boot.name }}": "UEFI",
        "{{ locale.locale }}": "de_DE.UTF-8", "{{ locale.language }}": "german",
        "{{ locale.keymap }}": "de-latin1", "{{ missing_disk }}": "/dev/sdz",
        "{{ partition(target) }}": f"sgdisk -Z {path} && sgdisk -n 1:0:+512M -t 1:ef00 -n 2:0:0 "
        f"-t 2:8300 {path}",
        "{{ format(target) }}": f"mkfs.fat -F32 {boot} && mkfs.ext4 -F {root}",
        "{{ mount(target) }}": f"mount {root} /mnt && mkdir -p /mnt/boot/efi && mount {boot} "
        "/mnt/boot/efi",
        "{{ copy() }}": "rsync -aAXHx / /mnt/", "{{ umount() }}": "umount -R /mnt",
        "{{ fstab() }}": "genfstab -U /mnt >> /mnt/etc/fstab", "{{ reboot() }}": "reboot",
        "{{ set_hostname(hostname) }}": f"echo host{number} > /mnt/etc/hostname",
        "{{ add_user(username) }}": "arch-chroot /mnt useradd -m -G wheel -s /bin/bash anna",
        "{{ set_password(username) }}": "arch-chroot /mnt passwd anna",
        "{{ bootloader(target) }}": "arch-chroot /mnt grub-install --target=x86_64-efi "
        "--efi-directory=/boot/efi --bootloader-id=GRUB",
    }  # fmt: skip
    for name in ("target", "other", "bigger", "smaller", "disks[0]", "disks[1]"):
        found[f"{{{{ {name}.path }}}}"] = path
        found[f"{{{{ {name}.name }}}}"] = path.removeprefix("/dev/")
        found[f"{{{{ {name}.size }}}}"] = size
        found[f"{{{{ {name}.boot_part }}}}"] = boot
        found[f"{{{{ {name}.root_part }}}}"] = root
    return found


def baseline(count: int, target: str) -> None:
    """Write `count` snapshots by str.replace: no state, no check, no validation."""
    from llmkit.records import load_conversations

    talks, _, _ = load_conversations(ROOT / "data" / "conversations")
    machines = [slots(number) for number in range(8)]
    context = (
        "## Current System State\n\n- Boot mode: UEFI\n- Network: Connected\n- Hostname: archiso\n"
        "- Timezone: not set\n\n## Available Disks\n\n- {{ target.path }}: {{ target.size }}"
    )
    rng = random.Random(1)

    def filled(text: str, values: dict[str, str]) -> str:
        for slot, value in values.items():
            text = text.replace(slot, value)
        return text

    written = 0
    with open(target, "w", encoding="utf-8") as stream:
        while True:
            for talk in talks:
                values = machines[rng.randrange(8)]
                messages: list[dict[str, str]] = []
                for turn in talk.turns:
                    said = filled(rng.choice(turn.user), values)
                    messages.append({"role": "user", "content": said})
                    if turn.command is not None:
                        command = filled(turn.command, values)
                        answer = {"type": "command", "command": command}
                        shown = f"$ {command}"
                    else:
                        shown = filled(rng.choice(turn.text), values)
                        answer = {"type": "text", "response": shown}
                    record = {
                        "system_context": filled(context, values),
                        "messages": messages,
                        "expected_response": answer,
                        "meta": {"conversation": talk.id, "categories": talk.categories},
                    }
                    stream.write(json.dumps(record) + "\n")
                    written += 1
                    if written == count:
                        return
                    messages.append({"role": "assistant", "content": shown})


# -- where the time goes ---------------------------------------------------------------------------


def shares() -> list[tuple[str, float, int]]:
    """(what, µs each, how many) of the steps, on part of the corpus, in this process."""
    import hashlib

    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from llmkit.augment import gather
    from llmkit.augment_emit import Emitter, Piece
    from llmkit.config import AugmentConfig
    from llmkit.domain import get_domain
    from llmkit.stage_errors import validated

    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "conf")):
        composed = compose("augment", ["experiment=million_bench", "variations=300"])
    cfg = validated(AugmentConfig, OmegaConf.to_container(composed, resolve=True))
    clock = time.perf_counter
    start = clock()
    sources = gather(cfg, get_domain("installer"))
    rows = [("load and check the conversations", clock() - start, len(sources.jobs))]
    emitter = Emitter(cfg, sources.jobs, sources.taken)
    chosen = [Piece(index, None, 0, 0) for index in range(0, len(sources.jobs), 3)]
    for label, machine in (("plan (a machine, first use)", 0), ("plan (a further machine)", 1)):
        start = clock()
        plans = [emitter.plan(piece._replace(machine=machine)) for piece in chosen]
        rows.append((label, clock() - start, len(plans)))
    accept = emitter.is_valid
    emitter.is_valid = lambda record: True
    batches = []
    for label in ("write a snapshot, wordings drawn for the first time", "write a snapshot"):
        taken = 0.0
        batches = []
        for piece in chosen:
            emitter.plan(piece)
            start = clock()
            batches.append(emitter.batch((piece,)))
            taken += clock() - start
        rows.append((label, taken, sum(len(batch.keys) for batch in batches)))
    records: list[Any] = []
    emitter.is_valid = lambda record: (
        not records.append({**record, "messages": [*record["messages"]]})
    )
    for piece in chosen[:40]:
        emitter.batch((piece,))
    start = clock()
    assert all(map(accept, records))
    rows.append(("of which: validate it", clock() - start, len(records)))
    digest = hashlib.sha256()
    start = clock()
    for batch in batches:
        digest.update(batch.data)
    rows.append(("hash it", clock() - start, sum(len(batch.keys) for batch in batches)))
    return rows


def main() -> None:
    """Run everything and print the tables."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    folder = Path(tempfile.mkdtemp(prefix="llmkit-bench-"))
    stage = [sys.executable, "-m", "llmkit.augment", f"output_dir={folder}/out"]
    million = [*stage, "experiment=million_bench", f"limit={count}"]
    machines = ["scenarios_per_conversation=40", "variations=4", "noise=none"]
    runs = [
        ("str.replace, no state, no validation",
         [sys.executable, __file__, "baseline", str(count), f"{folder}/baseline.jsonl"]),
        ("augment, 1 worker", [*million, "workers=1"]),
        ("augment, 2 workers", [*million, "workers=2"]),
        ("augment, 2 workers, 40 machines × 4 wordings",
         [*stage, *machines, f"limit={count}", "workers=2"]),
    ]  # fmt: skip
    try:
        rows = []
        for label, arguments in runs:
            shutil.rmtree(folder / "out", ignore_errors=True)
            seconds, used, peak = measured(arguments)
            manifest = folder / "out" / "manifest.json"
            done = count if "baseline" in arguments else 0
            if not done:
                done = json.loads(manifest.read_text())["counts"]["snapshots"]
            rows.append((label, done, seconds, used, peak))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    first = rows[0][1] / rows[0][2]
    print(f"{os.cpu_count()} CPUs, load average {os.getloadavg()[0]:.1f} at the end")
    print(f"| {'run':44} | snapshots | seconds | CPU s | per second | ratio | peak MB |")
    print(f"|{'-' * 46}|----------:|--------:|------:|-----------:|------:|--------:|")
    for label, done, seconds, used, peak in rows:
        rate = done / seconds
        print(
            f"| {label:44} | {done:9,} | {seconds:7.1f} | {used:5.1f} | {rate:10,.0f} "
            f"| {rate / first:5.2f} | {peak / 1e6:7.0f} |"
        )
    print(f"\n| {'step':52} | µs each |     times |")
    print(f"|{'-' * 54}|--------:|----------:|")
    for label, seconds, times in shares():
        print(f"| {label:52} | {seconds / times * 1e6:7.1f} | {times:9,} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["baseline"]:
        baseline(int(sys.argv[2]), sys.argv[3])
    else:
        main()
