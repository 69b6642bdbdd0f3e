"""Where the machine's context stands in the prompt: what a cache of beginnings finds.

prompt.context_position=system or last_user.

    python benchmarks/context_position.py                     # 40 conversations of data/testing; seconds
    python benchmarks/context_position.py --data FILE --conversations 100

Held-out conversations are rendered turn by turn with both positions. What a turn's prompt shares with the
beginning of any earlier prompt of its conversation, that prompt's answer included, need not be read again;
nothing is generated, and no model is loaded but its tokenizer. Counted are the turns behind the first; the
machine's context changes where a command changed the machine.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from _client import ROOT
from answer_time import conversations
from serve import served

from llmkit.config_prompt import ContextPosition
from llmkit.domain import get_domain
from llmkit.generate import common_length
from llmkit.model import load_tokenizer
from llmkit.prompt import renderer


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    data = ROOT / "data/testing/test_dataset.jsonl"
    parser.add_argument("--data", type=Path, default=data, help="snapshots")
    parser.add_argument("--conversations", type=int, default=40)
    args = parser.parse_args()
    chosen = conversations(args.data, args.conversations)
    cfg = served()
    tokenizer, domain = load_tokenizer(cfg.model), get_domain(cfg.domain.name)
    print(
        "| context_position | turns | tokens a prompt | found | left to read | found, context unchanged |"
    )
    print("|---|---:|---:|---:|---:|---:|")
    for position in ContextPosition:
        made = renderer(tokenizer, replace(cfg.prompt, context_position=position), domain)
        turns = tokens = found = same_tokens = same_found = 0
        for turn_list in chosen:
            known: list[list[int]] = []
            before = None
            for turn in turn_list:
                ids = made.prompt_ids(turn["messages"], turn["system_context"])
                if known:
                    shared = max(common_length(ids, earlier) for earlier in known)
                    turns, tokens, found = turns + 1, tokens + len(ids), found + shared
                    if turn["system_context"] == before:
                        same_tokens, same_found = same_tokens + len(ids), same_found + shared
                known.append([*ids, *made.answer_ids(turn["expected_response"])])
                before = turn["system_context"]
        print(
            f"| {position.value} | {turns} | {tokens / turns:.0f} | {found / tokens:.0%} |"
            f" {(tokens - found) / turns:.0f} | {same_found / max(same_tokens, 1):.0%} |"
        )


if __name__ == "__main__":
    main()
