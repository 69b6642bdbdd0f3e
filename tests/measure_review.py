"""How often the review objects: to what is right (it should not), and to what is wrong.

    python tests/measure_review.py corpus DATASET.jsonl [show]
    python tests/measure_review.py answers RESULTS.jsonl [show]
    python tests/measure_review.py moved DATASET.jsonl [show]

`corpus`: snapshots of augment; every expected command is right. `answers`: results.jsonl of an
evaluation; an answer is right by its scores. `moved`: expected commands that destroy, each moved to the
other disks of its machine, where it is wrong. `show` prints the objections; of `moved`, what passes or
is put right in another way than it was.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from llmkit.domain import Objection, get_domain, objection
from llmkit.installer.guard_names import disks_of
from llmkit.installer.review_refer import candidates, named
from llmkit.installer.state import SystemState


def sort(found: Objection | None) -> str:
    """The kind of an objection, by how it begins."""
    if found is None:
        return "passes"
    for start, kind in (
        ("That would fail", "fails"), ("Which disk", "which"), ("This would erase", "asks"),
        ("The next step", "step"),
        ("All right", "leave"), ("I will not", "forbidden"), ("I could not", "BUG"),
    ):  # fmt: skip
        if found.text.startswith(start):
            return kind
    return "refused"


def moved(command: str, state: SystemState) -> Iterator[str]:
    """The command about each of the other disks; nothing where it is about none, or several."""
    used = {path for node in named(command, state) for path in disks_of(state, node)}
    if len(used) != 1:
        return
    (one,) = used
    node = re.compile(rf"{re.escape(one)}(?:{'p' if one[-1].isdigit() else ''}(\d+))?(?!\w)")
    for disk in candidates(state):
        between = "p" if disk.path[-1].isdigit() else ""
        if disk.path != one:
            path = disk.path
            yield node.sub(lambda m, p=path, b=between: p + (b + m[1] if m[1] else ""), command)


def move(file: str, show: bool) -> None:
    """What the review makes of commands about a wrong disk."""
    domain = get_domain("installer")
    counts: Counter[str] = Counter()
    for line in Path(file).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        right = row["expected_response"].get("command")
        state = domain.from_dict(row["meta"]["state"])
        if right is None or len(candidates(state)) < 2:
            continue
        for wrong in moved(right, state):
            if domain.check(state, wrong).danger != "destructive":
                continue
            found = objection(domain, state, row["messages"], wrong)
            better = "" if found is None else found.better
            if better:
                ends = (domain.apply(state, line).state for line in (better, right))
                kind = "put right" if domain.same(*ends) else "put otherwise"
            else:
                kind = "passes" if found is None else "asked about"
            counts[kind] += 1
            if show and kind in ("passes", "put otherwise"):
                print(
                    kind, "|", row["messages"][-1]["content"], "|", wrong, "|", better, "|", right
                )
    print(f"{sum(counts.values()):,} commands about a wrong disk: {dict(counts)}")


def main(what: str, file: str, show: bool) -> None:
    domain = get_domain("installer")
    counts: Counter[tuple[str, str]] = Counter()
    shown = defaultdict(list)
    spent = 0.0
    for line in Path(file).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if what == "corpus":
            kind, command = "right", row["expected_response"].get("command")
            state = row["meta"]["state"]
        else:
            command, state, scores = row["reply"]["command"], row["state"], row["scores"]
            kind = "wrong end"
            if scores["refusal"]["value"] == 0:
                kind = "text due"
            elif scores["type"]["value"] and scores["state"]["value"]:
                kind = "right"
        if command is None:
            continue
        machine = domain.from_dict(state)
        start = time.perf_counter()
        found = objection(domain, machine, row["messages"], command)
        spent += time.perf_counter() - start
        how = sort(found)
        danger = domain.check(machine, command).danger
        counts[kind, f"{how:9} {danger}"] += 1
        shown[kind, how].append((row["messages"], command, found, machine))
    total = sum(counts.values())
    print(f"{total} commands, {1000 * spent / max(total, 1):.2f} ms each")
    for (kind, how), number in sorted(counts.items()):
        print(f"  {kind:10} {how:22} {number}")
    for (kind, how), rows in shown.items():
        if show and (kind == "right") != (how == "passes"):
            print(f"\n== {kind}, {how}: {len(rows)}")
            for messages, command, found, _ in rows:
                print("---")
                for message in messages[-4:]:
                    print(f"   {message['role'][0]}: {message['content'][:200]!r}")
                print(f"   > {command[:160]}\n   = {found.text if found else None}")


if __name__ == "__main__":
    if sys.argv[1] == "moved":
        move(sys.argv[2], "show" in sys.argv[3:])
    else:
        main(sys.argv[1], sys.argv[2], "show" in sys.argv[3:])
