"""The engine: prompts as token ids in, completions out.

    from llmkit.generate import Engine, Request
    engine = Engine(loaded, cfg.engine, renderer.stop_ids)
    engine.generate([Request(tuple(renderer.prompt_ids(messages, context)), max_tokens=256)])

Offline batches: prompts of like length are read together, what they all begin with is read once,
and a row leaves the batch when its answer ends. A row's tokens do not depend on its neighbours,
but for the last bits of low-precision sums.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from llmkit.config_engine import EngineConfig
from llmkit.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from llmkit.model import Loaded
    from llmkit.recall_store import Recall


_FEW = 256  # tokens that top_p looks at first


class Grammar(Protocol):
    """What constrains a completion, one for each request."""

    def mask(self, ids: Sequence[int]) -> torch.Tensor | None:
        """Which tokens may follow `ids` (what was generated so far): bool [vocabulary], or any."""

    def allows(self, ids: Sequence[int], token: int) -> bool:
        """Whether `token` may follow `ids`, as the mask says; cheaper where a mask is costly."""


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt and how to go on from it."""

    ids: tuple[int, ...]
    max_tokens: int
    temperature: float = 0.0  # 0: greedy
    top_p: float = 1.0
    seed: int | None = None  # None: drawn anew each time
    stop: tuple[str, ...] = ()  # texts that end the answer; they are not part of it
    grammar: Grammar | None = None
    # The least probability that the first tokens which the grammar allows must have together, without
    # it (with what an adapter's recall says of it); the answer is empty where they have less. 0: any.
    threshold: float = 0.0


@dataclass(frozen=True, slots=True)
class Completion:
    """What came of a request. `ids` are all tokens that were generated but the end of turn; `text`
    ends before a stop text."""

    ids: tuple[int, ...]
    text: str
    finish_reason: str  # stop or length
    prompt_tokens: int
    completion_tokens: int


@dataclass(slots=True)
class _Row:
    """A request in flight."""

    index: int
    request: Request
    generator: Any
    ids: list[int] = field(default_factory=list)


class Engine:
    """Generates with a loaded model. `stop_ids` are the tokens that end an answer."""

    def __init__(self, loaded: Loaded, cfg: EngineConfig, stop_ids: frozenset[int]) -> None:
        import torch

        self.loaded = loaded
        self.cfg = cfg
        self.stop_ids = stop_ids
        # transformers 5.24 renamed the argument
        taken = inspect.signature(loaded.model.forward).parameters
        self._cache = "cache" if "cache" in taken else "past_key_values"
        if cfg.threads is not None:
            torch.set_num_threads(cfg.threads)
        self._recall: Recall | None = None
        if cfg.recall and loaded.adapter is not None:
            from llmkit.recall_store import Tap, read_recall

            self._recall = read_recall(loaded)
            if self._recall is not None:
                self._tap = Tap(loaded.model, self._recall.settings.layer)

    def generate(
        self,
        requests: Sequence[Request],
        on_done: Callable[[int, Completion], None] | None = None,
    ) -> list[Completion]:
        """A completion for each request, in their order.

        `on_done(index, completion)` is called as soon as one ends. Raises ConfigError for a request
        that is larger than engine.max_batch_tokens.
        """
        import torch

        done: dict[int, Completion] = {}

        def finish(index: int, completion: Completion) -> None:
            done[index] = completion
            if on_done is not None:
                on_done(index, completion)

        with torch.inference_mode():
            waiting = self._batches(requests)
            while waiting:
                batch = [index for index in waiting.pop() if index not in done]
                if not batch:
                    continue
                try:
                    self._run([self._row(index, requests[index]) for index in batch], finish)
                except torch.cuda.OutOfMemoryError:
                    if len(batch) == 1:
                        raise
                    torch.cuda.empty_cache()
                    half = len(batch) // 2
                    waiting += [batch[half:], batch[:half]]
        return [done[index] for index in range(len(requests))]

    def _batches(self, requests: Sequence[Request]) -> list[list[int]]:
        """Indices by length, the longest last (it is run first: memory runs out early or never)."""
        order = sorted(range(len(requests)), key=lambda index: len(requests[index].ids))
        batches: list[list[int]] = []
        longest = answer = 0  # of the last batch: its longest prompt, its longest answer
        for index in order:
            request = requests[index]
            prompt = len(request.ids)
            if not prompt or request.max_tokens < 1:
                raise ConfigError("a prompt without tokens, or max_tokens below 1")
            if prompt + request.max_tokens > self.cfg.max_batch_tokens:
                raise ConfigError(
                    f"a prompt of {prompt:,} tokens and max_tokens={request.max_tokens:,}"
                    f" are more than engine.max_batch_tokens={self.cfg.max_batch_tokens:,}"
                )
            longest, answer = max(longest, prompt), max(answer, request.max_tokens)
            last = batches[-1] if batches else None
            if (
                last is None
                or len(last) >= self.cfg.max_batch
                # every row is as wide as the longest prompt and the longest answer
                or (longest + answer) * (len(last) + 1) > self.cfg.max_batch_tokens
            ):
                batches.append([index])
                longest, answer = prompt, request.max_tokens
            else:
                last.append(index)
        return batches

    def _row(self, index: int, request: Request) -> _Row:
        import torch

        generator = None
        if request.temperature > 0:
            generator = torch.Generator()
            if request.seed is None:
                generator.seed()
            else:
                generator.manual_seed(request.seed)
        return _Row(index, request, generator)

    def _run(self, rows: list[_Row], finish: Callable[[int, Completion], None]) -> None:
        """Generate a batch to its end."""
        import torch
        from transformers import DynamicCache

        model, device = self.loaded.model, self.loaded.device
        prompts = [row.request.ids for row in rows]
        shared = self._shared(prompts)
        width = max(map(len, prompts)) - shared
        ids = torch.full((len(rows), width), self._pad_id(), dtype=torch.long)  # [rows, width]
        mask = torch.zeros((len(rows), shared + width), dtype=torch.long)
        mask[:, :shared] = 1
        for place, prompt in enumerate(prompts):
            rest = prompt[shared:]
            ids[place, width - len(rest) :] = torch.tensor(rest)
            mask[place, shared + width - len(rest) :] = 1
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, shared:]
        ids, mask, positions = ids.to(device), mask.to(device), positions.to(device)
        cache = DynamicCache(config=model.config)
        if shared:
            head = torch.tensor([prompts[0][:shared]], device=device)
            model.model(input_ids=head, use_cache=True, **{self._cache: cache})
            cache.batch_repeat_interleave(len(rows))
        length = mask.sum(1, keepdim=True)  # [rows, 1]: the next position of each row
        while True:
            logits = model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                use_cache=True,
                logits_to_keep=1,
                **{self._cache: cache},
            ).logits[:, -1]  # [rows, vocabulary]
            greedy = likeliest(logits).tolist()
            if self._recall is not None and not rows[0].ids:  # all are at their first token
                states = self._tap.state[:, -1]
                first = [self._recall.first(*pair) for pair in zip(logits, states, strict=True)]
                greedy = [made.greedy for made in first]
                logits = torch.stack([made.logits for made in first])
            kept = self._step(rows, greedy, logits, finish)
            if not kept:
                return
            if len(kept) < len(rows):
                chosen = torch.tensor(kept, device=device)
                cache.batch_select_indices(chosen)
                mask, length = mask[chosen], length[chosen]
                rows = [rows[place] for place in kept]
            ids = torch.tensor([[row.ids[-1]] for row in rows], device=device)
            mask = torch.cat([mask, mask.new_ones((len(rows), 1))], 1)
            positions = length
            length = length + 1

    def _shared(self, prompts: Sequence[tuple[int, ...]]) -> int:
        """How many tokens all prompts begin with, one of each left over to be read."""
        if not self.cfg.share_prefix or len(prompts) == 1:
            return 0
        return min(common_length(min(prompts), max(prompts)), min(map(len, prompts)) - 1)

    def _pad_id(self) -> int:
        pad = self.loaded.tokenizer.pad_token_id
        return int(pad if pad is not None else min(self.stop_ids, default=0))

    def _step(
        self,
        rows: list[_Row],
        greedy: Sequence[int],
        logits: torch.Tensor,
        finish: Callable[[int, Completion], None],
    ) -> list[int]:
        """Add a token to each row; the places of those that go on."""
        kept = []
        for place, row in enumerate(rows):
            token = greedy[place]
            if not row.ids and declines(row.request, logits[place]):
                finish(row.index, self._completion(row, "stop"))
                continue
            if row.request.grammar is not None or row.generator is not None:
                token = choose(row.request, row.ids, row.generator, logits[place], token)
            if token in self.stop_ids:
                finish(row.index, self._completion(row, "stop"))
                continue
            row.ids.append(token)
            if row.request.stop and self._stopped(row):
                finish(row.index, self._completion(row, "stop"))
            elif len(row.ids) >= row.request.max_tokens:
                finish(row.index, self._completion(row, "length"))
            else:
                kept.append(place)
        return kept

    def _stopped(self, row: _Row) -> bool:
        text = self._decode(row.ids)
        return any(stop in text for stop in row.request.stop)

    def _completion(self, row: _Row, reason: str) -> Completion:
        text = self._decode(row.ids)
        ends = [at for stop in row.request.stop if (at := text.find(stop)) >= 0]
        if ends:
            text = text[: min(ends)]
        return Completion(tuple(row.ids), text, reason, len(row.request.ids), len(row.ids))

    def _decode(self, ids: list[int]) -> str:
        decode: Any = self.loaded.tokenizer.decode
        return str(decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def common_length(one: Sequence[int], other: Sequence[int]) -> int:
    """How many first tokens two sequences share."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def likeliest(logits: torch.Tensor) -> torch.Tensor:
    """argmax of [rows, vocabulary]: of blocks first, whose maxima a CPU finds ten times as fast."""
    import torch

    block = 256
    rows = torch.arange(len(logits), device=logits.device)
    blocks = torch.nn.functional.pad(logits, (0, -logits.shape[1] % block), value=-torch.inf)
    blocks = blocks.view(len(logits), -1, block)
    best = blocks.amax(-1).argmax(-1)
    return best * block + blocks[rows, best].argmax(-1)


def declines(request: Request, logits: torch.Tensor) -> bool:
    """Whether the first token would hardly be one that the grammar allows, by request.threshold;
    logits [vocabulary]."""
    if request.threshold <= 0 or request.grammar is None:
        return False
    allowed = request.grammar.mask([])
    if allowed is None:
        return False
    chance = logits.float().cpu().softmax(0)[allowed].sum()
    return float(chance) < request.threshold


def choose(
    request: Request,
    ids: Sequence[int],
    generator: torch.Generator | None,
    logits: torch.Tensor,
    greedy: int | None = None,
) -> int:
    """The token after `ids` from logits [vocabulary], under the grammar and sampling parameters.

    `greedy` is what a greedy answer takes if the grammar allows it; None: the likeliest.
    """
    import torch

    logits = logits.float().cpu()
    if request.grammar is not None:
        if generator is None:
            # Most of the time it may follow: no mask then.
            likely = int(logits.argmax()) if greedy is None else greedy
            if request.grammar.allows(ids, likely):
                return likely
        allowed = request.grammar.mask(ids)
        if allowed is not None:
            logits = logits.masked_fill(~allowed, -torch.inf)
    if generator is None:
        return int(logits.argmax())
    scores = logits / request.temperature
    if request.top_p < 1:
        total = scores.logsumexp(0)
        # A few nearly always hold it; to sort all would take ten times as long.
        best, places = scores.topk(min(_FEW, len(scores)))
        chances = (best - total).exp().double()
        if len(best) < len(scores) and chances.sum() < request.top_p:
            best, places = scores.sort(descending=True, stable=True)
            chances = (best - total).exp().double()
        # the likeliest always stays
        chances = chances[chances.cumsum(0) - chances < request.top_p]
        places = places[: len(chances)]
    else:
        chances = scores.softmax(0).double()
        places = torch.arange(len(chances))
    key = torch.randint(-(2**63), 2**63 - 1, (), generator=generator)
    return int(places[(chances / _exponentials(places, key)).argmax()])


def _exponentials(tokens: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """A random number for each token, exponentially distributed, by SplitMix64 (Steele 2014).

    The token whose chance over its number is largest is drawn in proportion to the chances. A
    token's number does not depend on which others are looked at, so the last bits of the chances
    hardly ever change what is drawn.
    """
    mixed = (tokens + 1) * (0x9E3779B97F4A7C15 - 2**64) + key  # wraps, as all below
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 2**64 + 1)):
        mixed = mixed ^ ((mixed >> shift) & (2 ** (64 - shift) - 1))
        mixed = mixed * (factor - 2**64)
    uniform = (((mixed >> 11) & (2**53 - 1)).double() + 0.5) * 2.0**-53
    return -uniform.log()
