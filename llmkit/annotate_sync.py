"""Ask a provider one by one, several at a time, and keep each answer as it comes.

    ask_all(items, client, asker, judge, journal, cfg.provider, advance)

Answers are kept in the order in which they arrive; the output takes its order from the input. A run
that gets nothing but overload, broken connections and refusals stops by itself: what it has is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from llmkit.annotate_ask import Asker
from llmkit.annotate_client import BadRequest, Client, Reply, Transient, retrying
from llmkit.annotate_corpus import Item
from llmkit.annotate_journal import CONTENT, REFUSED, TRANSIENT, Failed, Journal
from llmkit.annotate_judge import Judge
from llmkit.annotate_limits import Limits, Stopped
from llmkit.config_annotate import AnthropicConfig, OpenAIConfig
from llmkit.errors import LlmkitError

IN_A_ROW = 8  # snapshots, for each thread, that fail for want of an answer before the run stops


def ask_all(
    items: Iterator[Item],
    client: Client,
    asker: Asker,
    judge: Judge,
    journal: Journal,
    provider: AnthropicConfig | OpenAIConfig,
    advance: Callable[[int], None],
) -> None:
    """Ask about every item; what becomes of it is in the journal.

    Raises:
        ConfigError: the provider refuses the key, the model or the account.
        LlmkitError: it does not answer any more.
    """
    limits = Limits(requests=provider.requests_per_minute, tokens=provider.tokens_per_minute)

    def work(item: Item) -> bool:
        """Whether the provider answered."""
        prompt = asker.prompt(item)
        try:
            reply = retrying(limits, provider)(_once, client, prompt, item, journal, limits)
        except Transient as error:
            journal.failed(item.index, Failed(TRANSIENT, str(error)))
            return False
        except BadRequest as error:
            journal.failed(item.index, Failed(REFUSED, str(error)))
            return False
        keep(reply, item, judge, journal)
        return True

    pool = ThreadPoolExecutor(provider.concurrency)
    running: set[Future[bool]] = set()
    silent = 0
    try:
        for item in items:
            running.add(pool.submit(work, item))
            if len(running) < 2 * provider.concurrency:
                continue
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                silent = 0 if future.result() else silent + 1
                advance(1)
            if silent >= IN_A_ROW * provider.concurrency:
                raise LlmkitError(
                    f"{silent} snapshots in a row got no answer, so the run stops; run again to "
                    f"go on: {_last(journal)}"
                )
        for future in running:
            future.result()
            advance(1)
    finally:
        limits.stop()
        pool.shutdown(wait=True, cancel_futures=True)


def _once(client: Client, prompt: Any, item: Item, journal: Journal, limits: Limits) -> Reply:
    ticket = limits.acquire(prompt.tokens)
    journal.asked(item.index)
    try:
        reply = client.ask(prompt)
    except Transient as error:
        if error.sure:
            limits.settle(ticket, 0)  # refused at the door: it took no tokens
        raise
    if any(reply.tokens):
        limits.settle(ticket, sum(reply.tokens))
    return reply


def keep(reply: Reply, item: Item, judge: Judge, journal: Journal, batch: str = "") -> None:
    """Judge a reply and put it, or why it does not count, into the journal."""
    found = Failed(CONTENT, reply.bad) if reply.bad else judge(reply.text, item)
    if isinstance(found, Failed):
        journal.failed(item.index, found, reply.tokens, batch)
    else:
        journal.answered(item.index, found, reply.tokens, batch)


def _last(journal: Journal) -> str:
    reasons = [item.reason for item in journal.failures.values() if item.kind != CONTENT]
    return reasons[-1] if reasons else "no answer"


__all__ = ["Stopped", "ask_all", "keep"]
