"""Answers and their scores: run cases through a backend, and sum up.

backend = Local(loaded, renderer, engine_cfg, max_tokens=192)
results = run_cases(cases, backend, domain, ["type", "state"])
summarize(results, samples=2000, seed=42)["scores"]["state"]["mean"]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from llmkit.config_engine import EngineConfig, ServeEngineConfig
from llmkit.config_model import ModelConfig
from llmkit.config_prompt import PromptOptions
from llmkit.domain import Domain
from llmkit.evaluate_cases import from_dict, to_dict
from llmkit.reply import Reply, parse_reply
from llmkit.score import SCORERS, Case, Score
from llmkit.stats import bootstrap, wilson

if TYPE_CHECKING:
    from llmkit.model import Loaded
    from llmkit.prompt import Renderer


@dataclass(frozen=True, slots=True)
class Sampling:
    """How an answer is drawn anew, in place of the backend's own way.

    `threshold` over 0: a command where the model gives that this probability, else an empty answer.
    """

    temperature: float
    top_p: float
    seed: int | None
    threshold: float = 0.0


@dataclass(frozen=True, slots=True)
class Try:
    """What the model wrote, and what the domain's review says against it (None: it passed).

    `seed` is None for the first try, which is the model's answer without a review.
    """

    text: str
    finish_reason: str
    completion_tokens: int
    seed: int | None
    objection: str | None


@dataclass(frozen=True, slots=True)
class Review:
    """What became of an answer that the review had something against.

    `said` is the text that the person gets; None: a command, the last of `tries`, which passed, or
    `better`, which the review had in place of it.
    """

    said: str | None
    tries: tuple[Try, ...]
    better: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a backend made of a case; `error` says why there is no text.

    With a `review`, `text` is what the person gets in the end, and the tokens are those of all tries.
    """

    prompt: str
    text: str
    finish_reason: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    error: str | None = None
    review: Review | None = None

    @property
    def raw(self) -> str:
        """What the model wrote at first."""
        return self.text if self.review is None else self.review.tries[0].text

    def unreviewed(self) -> Answer:
        """The model's answer, as it is without a review."""
        if self.review is None:
            return self
        first = self.review.tries[0]
        return Answer(
            self.prompt,
            first.text,
            first.finish_reason,
            self.prompt_tokens,
            first.completion_tokens,
        )


@dataclass(frozen=True, slots=True)
class Result:
    """A case, its answer, and the scores."""

    case: Case
    answer: Answer
    reply: Reply
    scores: Mapping[str, Score]

    def value(self, scorer: str) -> float | None:
        return self.scores[scorer].value if scorer in self.scores else None


OnAnswer = Callable[[int, Answer], None]


class Backend(Protocol):
    """Who answers."""

    def answer(
        self, cases: Sequence[Case], on_answer: OnAnswer, sampling: Sampling | None = None
    ) -> None:
        """Call `on_answer(index, answer)` once for each case, in any order. `sampling` takes the
        place of the backend's own temperature and seed."""


class Local:
    """A loaded model, through the engine. `grammar` makes each case's constraint, if there is, and
    `command` the one of an answer that must be a command."""

    def __init__(
        self,
        loaded: Loaded,
        renderer: Renderer,
        engine: EngineConfig | ServeEngineConfig,
        *,
        max_tokens: int,
        temperature: float = 0.0,
        seed: int | None = None,
        grammar: Callable[[Case], Any] | None = None,
        command: Callable[[Case], Any] | None = None,
    ) -> None:
        from llmkit.generate import Engine
        from llmkit.scheduler import Scheduler

        self.renderer = renderer
        self.engine: Engine | Scheduler
        if isinstance(engine, ServeEngineConfig):
            self.engine = Scheduler(loaded, engine, renderer.stop_ids)
        else:
            self.engine = Engine(loaded, engine, renderer.stop_ids)
        self.max_tokens, self.temperature, self.seed = max_tokens, temperature, seed
        self.grammar, self.command = grammar, command

    @classmethod
    def load(
        cls,
        model: ModelConfig,
        prompt: PromptOptions,
        engine: EngineConfig | ServeEngineConfig,
        domain: Domain,
        adapter: Path | None,
        *,
        max_tokens: int,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> Local:
        """A model from its config, with an adapter, which brings the prompt it was trained with."""
        from llmkit.model import load_model
        from llmkit.prompt import renderer

        loaded = load_model(model, adapter)
        made = renderer(loaded.tokenizer, prompt, domain, adapter)
        return cls(loaded, made, engine, max_tokens=max_tokens, temperature=temperature, seed=seed)

    def answer(
        self, cases: Sequence[Case], on_answer: OnAnswer, sampling: Sampling | None = None
    ) -> None:
        from llmkit.generate import Completion, Request
        from llmkit.prompt import PromptError, PromptTooLong

        if sampling is None:
            how: dict[str, Any] = {"temperature": self.temperature, "seed": self.seed}
        else:
            how = asdict(sampling)
        constrain = self.command if sampling is not None and sampling.threshold else self.grammar
        requests, places, prompts = [], [], []
        for place, case in enumerate(cases):
            try:
                text = self.renderer.prompt_text(case.messages, case.system_context)
                ids = self.renderer.encode_prompt(text)
            except (PromptTooLong, PromptError) as error:
                on_answer(place, Answer("", "", "error", error=str(error)))
                continue
            grammar = None if constrain is None else constrain(case)
            requests.append(Request(tuple(ids), self.max_tokens, grammar=grammar, **how))
            places.append(place)
            prompts.append(text)

        def done(index: int, made: Completion) -> None:
            on_answer(
                places[index],
                Answer(
                    prompts[index], made.text, made.finish_reason,
                    made.prompt_tokens, made.completion_tokens,
                ),
            )  # fmt: skip

        if requests:
            self.engine.generate(requests, done)


def scored(case: Case, answer: Answer, domain: Domain, scorers: Iterable[str]) -> Result:
    """An answer with its scores. No answer is a reply without words, and right by no scorer."""
    if answer.error is not None:
        reply = reply_of(answer)
        lost = Score(0.0, f"no answer: {answer.error}")
        scores = {}
        for name in scorers:
            applies = SCORERS[name](case, reply, domain).value is not None
            scores[name] = lost if applies else Score(None, "no answer")
        return Result(case, answer, reply, scores)
    reply = reply_of(answer)
    return Result(
        case, answer, reply, {name: SCORERS[name](case, reply, domain) for name in scorers}
    )


def reply_of(answer: Answer) -> Reply:
    """What an answer says. The review's own words are text, whatever they quote."""
    if answer.error is not None:
        return Reply("text", response="", problem=answer.error)
    if answer.review is not None and answer.review.said is not None:
        return Reply("text", response=answer.review.said)
    return parse_reply(answer.text)


def run_cases(
    cases: Sequence[Case],
    backend: Backend,
    domain: Domain,
    scorers: Sequence[str],
    on_result: Callable[[Result], None] | None = None,
) -> list[Result]:
    """A result for each case, in their order; `on_result` is called as soon as one is there."""
    done: dict[int, Result] = {}

    def on_answer(place: int, answer: Answer) -> None:
        done[place] = scored(cases[place], answer, domain, scorers)
        if on_result is not None:
            on_result(done[place])

    backend.answer(cases, on_answer)
    return [done[place] for place in range(len(cases))]


def passed(result: Result, rank_by: str) -> bool:
    """Whether a case counts as passed: full marks by `rank_by`, where that applies."""
    value = result.value(rank_by)
    return value is None or value == 1


def summarize(results: Sequence[Result], *, samples: int, seed: int) -> dict[str, Any]:
    """Means with 95% intervals, over all cases and by category.

    Each: `mean`, `n`, `low` and `high` (Wilson's, as if cases were independent), and over all cases
    `conversations` (the bootstrap's interval, conversations drawn whole).
    """
    names = list(dict.fromkeys(name for result in results for name in result.scores))
    categories = sorted({result.case.category for result in results})
    return {
        "cases": len(results),
        "scores": _means(results, names, samples, seed),
        "categories": {
            category: {
                "cases": sum(r.case.category == category for r in results),
                "scores": _means([r for r in results if r.case.category == category], names),
            }
            for category in categories
        },
        "prompt_tokens": sum(result.answer.prompt_tokens for result in results),
        "completion_tokens": sum(result.answer.completion_tokens for result in results),
        "cut": sum(result.answer.finish_reason == "length" for result in results),
        "errors": sum(result.answer.error is not None for result in results),
    }


def _means(
    results: Sequence[Result], names: Iterable[str], samples: int = 0, seed: int = 0
) -> dict[str, Any]:
    out: dict[str, dict[str, Any]] = {}
    for name in names:
        pairs = [
            (value, result.case.conversation)
            for result in results
            if (value := result.value(name)) is not None
        ]
        if not pairs:
            continue
        values = [value for value, _ in pairs]
        low, high = wilson(sum(values), len(values))
        mean = sum(values) / len(values)
        out[name] = {"mean": mean, "low": low, "high": high, "n": len(values)}
        if samples:
            interval = bootstrap(values, [group for _, group in pairs], samples, seed)
            out[name]["conversations"] = list(interval)
    return out


def result_to_dict(result: Result, domain: Domain) -> dict[str, Any]:
    """A line of results.jsonl."""
    reply = result.reply
    answer = asdict(result.answer)
    review = answer.pop("review")  # beside it, where readers of before pass over it
    return {
        **to_dict(result.case, domain),
        "raw": result.answer.raw,  # as the design names it; `answer` says how it came
        "answer": answer,
        **({} if review is None else {"review": review}),
        "reply": {
            "type": reply.type, "command": reply.command, "response": reply.response,
            "thinking": reply.thinking, "problem": reply.problem,
        },
        "scores": {name: asdict(score) for name, score in result.scores.items()},
    }  # fmt: skip


def result_from_dict(
    data: Mapping[str, Any], domain: Domain, scorers: Iterable[str] | None = None
) -> Result:
    """The result of a line; with `scorers` its scores are made anew."""
    case = from_dict(data, domain)
    review = None
    if "review" in data:
        tries = tuple(Try(**item) for item in data["review"]["tries"])
        review = Review(data["review"]["said"], tries, data["review"].get("better"))
    answer = Answer(**data["answer"], review=review)
    if scorers is not None:
        return scored(case, answer, domain, scorers)
    scores = {name: Score(**score) for name, score in data["scores"].items()}
    return Result(case, answer, reply_of(answer), scores)
