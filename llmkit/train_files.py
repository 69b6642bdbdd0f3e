"""What training writes: a checkpoint while it runs, and the adapter's folder at the end.

from llmkit.train_files import save_checkpoint, write_adapter, card
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.errors import ConfigError, LlmkitError, OutputError
from llmkit.output import write_whole
from llmkit.staged import Staged

if TYPE_CHECKING:
    from llmkit.prompt import Example
    from llmkit.wording import Wording

CHECKPOINT = Path("checkpoint", "state.pt")
TRAINING = "training.json"
SCORES = "scores.json"
_FREE = {"output_dir", "resume", "save_every", "save_time", "log_every", "threads", "tracker"}


def fingerprint(config: Mapping[str, Any], data: Mapping[str, str]) -> str:
    """A digest of what decides the weights: the config but for where and how often, and the data."""
    kept = {key: value for key, value in config.items() if key not in _FREE}
    if isinstance(kept.get("data"), Mapping):
        kept["data"] = {
            key: value
            for key, value in kept["data"].items()
            if key not in ("workers", "train", "eval")
        }
    # by half (train, eval) and in order: the files' names do not count, but their part does
    parts = [(name.partition(" ")[0] if " " in name else "", sha) for name, sha in data.items()]
    text = json.dumps([kept, parts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def save_checkpoint(folder: Path, state: Mapping[str, Any]) -> None:
    """Replace the folder's checkpoint, whole or not at all."""
    import torch

    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    write_whole(folder / CHECKPOINT, buffer.getvalue())


def note_metrics(folder: Path, metrics: Sequence[Mapping[str, Any]]) -> None:
    """The figures so far beside the checkpoint, for those who watch a run."""
    lines = [json.dumps(line) + "\n" for line in metrics]
    write_whole(folder / CHECKPOINT.parent / "metrics.jsonl", "".join(lines))


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The folder's checkpoint, or None. Raises ConfigError when it cannot be read."""
    import torch

    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:
        raise ConfigError(
            f"{path} cannot be read ({type(error).__name__}); remove it to start anew"
        ) from error


def check_folder(folder: Path, *, resume: bool) -> dict[str, Any] | None:
    """training.json of a finished run in `folder`, or None.

    Raises ConfigError when the folder holds something else, or anything and `resume` is off.
    """
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise ConfigError(f"output_dir={folder} is a file")
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    if not names:
        return None
    if not resume:
        raise ConfigError(f"output_dir={folder} is not empty, and resume=never")
    if (folder / TRAINING).is_file():
        try:
            return dict(json.loads((folder / TRAINING).read_text(encoding="utf-8")))
        except ValueError as error:
            raise ConfigError(f"{folder / TRAINING} cannot be read: {error}") from error
    if names != [CHECKPOINT.parts[0]]:
        raise ConfigError(f"output_dir={folder} holds other files, such as {names[0]}")
    return None


def check_writable(folder: Path) -> None:
    """Write a file, which goes again, where the folder is or will be. Raises OutputError: an hour
    of training must not end with this."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise OutputError(folder, error) from error


def refuse_other(folder: Path, what: str, found: str | None, due: str) -> None:
    """Raises ConfigError when `folder` belongs to a run of another config or data."""
    if found != due:
        raise ConfigError(
            f"output_dir={folder} holds {what} of another config or other data\n"
            "name another output_dir, or remove that folder"
        )


def write_adapter(
    folder: Path,
    model: Any,
    renderer: Any,
    training: Mapping[str, Any],
    metrics: Sequence[Any],
    examples: Sequence[Example],
    wording: Wording,
) -> None:
    """Write the whole adapter folder at once, then remove the checkpoint.

    `examples` are those that it was trained on, whose commonest answers are kept, `wording` has the
    persons' words in them.
    """
    import torch

    from llmkit.model import save_adapter
    from llmkit.prompt import SAVED
    from llmkit.scheduler_draft import ANSWERS, commonest, write_answers
    from llmkit.wording import WORDS, write_wording

    with Staged(folder) as staged:
        place = staged.path(SAVED).parent
        save_adapter(model, place, training["model"]["name"], torch.bfloat16)
        saved = json.dumps(renderer.to_dict(), indent=2, ensure_ascii=False)
        staged.path(SAVED).write_text(saved + "\n", encoding="utf-8")
        staged.path("chat_template.jinja").write_text(renderer.template, encoding="utf-8")
        write_answers(staged.path(ANSWERS), commonest(examples), renderer.tokenizer)
        write_wording(staged.path(WORDS), wording)
        lines = [json.dumps(line) + "\n" for line in metrics]
        staged.path("metrics.jsonl").write_text("".join(lines), encoding="utf-8")
        staged.path("loss.png").write_bytes(loss_plot(metrics))
        staged.path("README.md").write_text(card(training, {}), encoding="utf-8")
        text = json.dumps(training, indent=2, ensure_ascii=False)
        staged.path(TRAINING).write_text(text + "\n", encoding="utf-8")
        staged.commit()
    shutil.rmtree(folder / CHECKPOINT.parent, ignore_errors=True)


def loss_plot(metrics: Sequence[Mapping[str, Any]]) -> bytes:
    """The loss over the steps, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for key, label, marker in (("loss", "training", ""), ("eval_loss", "held out", "o")):
        points = [(line["step"], line[key]) for line in metrics if key in line]
        if points:
            axes.plot(*zip(*points, strict=True), label=label, marker=marker, markersize=4)
    axes.set_xlabel("step")
    axes.set_ylabel("loss of a supervised token")
    axes.set_ylim(bottom=0)
    if axes.lines:
        axes.legend()
    buffer = io.BytesIO()
    canvas: Any = FigureCanvasAgg(figure)  # untyped
    canvas.print_png(buffer)
    return buffer.getvalue()


def note_scores(folder: Path, cases: str, scores: Mapping[str, Any]) -> None:
    """Add what evaluate measured on `cases` to an adapter's scores.json and to its card.

    `scores` maps a scorer's name to {"mean", "n", "conversations": [low, high]}. Raises ConfigError
    when the folder is not one that train wrote.
    """
    training, kept = _noted(folder)
    kept[cases] = {
        name: {"mean": body["mean"], "n": body["n"], "interval": body["conversations"]}
        for name, body in scores.items()
    }
    write_whole(folder / SCORES, json.dumps(kept, indent=2) + "\n")
    write_whole(folder / "README.md", card(training, kept, _recall(folder)))


def note_recall(folder: Path) -> None:
    """Say in an adapter's card what its recall.safetensors was made from, and that the scores which it
    had were measured before; nothing where train wrote no card."""
    if not (folder / TRAINING).is_file():
        return
    training, kept = _noted(folder)
    kept = {f"{cases.removesuffix(_BEFORE)}{_BEFORE}": body for cases, body in kept.items()}
    try:
        text = card(training, kept, _recall(folder))
    except KeyError as error:
        raise ConfigError(f"{folder} has no readable {TRAINING} for a card: {error}") from error
    if kept:
        write_whole(folder / SCORES, json.dumps(kept, indent=2) + "\n")
    write_whole(folder / "README.md", text)


def _noted(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """An adapter's training.json and its scores. Raises ConfigError where they cannot be read."""
    try:
        training = json.loads((folder / TRAINING).read_text(encoding="utf-8"))
        known = folder / SCORES
        kept = json.loads(known.read_text(encoding="utf-8")) if known.is_file() else {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{folder} has no readable {TRAINING} for a card: {error}") from error
    return training, kept


def _recall(folder: Path) -> dict[str, Any] | None:
    from llmkit.model_adapter import RECALL

    if not (folder / RECALL).is_file():
        return None
    from llmkit.recall_store import about_recall

    return about_recall(folder / RECALL)


def card(
    training: Mapping[str, Any],
    scores: Mapping[str, Any],
    recall: Mapping[str, Any] | None = None,
) -> str:
    """The model card: from training.json, and from what evaluate measured, if it has.

    `scores` maps the cases to scorers, each {"mean", "n", "interval"}; see `note_scores`. `recall` is
    what a recall file was made from.
    """
    config, result, data = training["config"], training["result"], training["data"]
    name = training["model"]["name"]
    rows = [
        *[(f"lora.{key}", value) for key, value in config["lora"].items()],
        *[(f"optim.{key}", value) for key, value in config["optim"].items()],
        *[(key, config[key]) for key in ("epochs", "max_steps", "max_time", "seed")],
    ]
    files = [
        f"| {half} | {Path(path).name} | `{sha}` |"
        for half in ("train", "eval")
        for path, sha in data[half]["sha256"].items()
    ]
    lines = [
        "---",
        f"base_model: {name}",
        "library_name: peft",
        "---",
        "",
        f"# LoRA adapter for {name}",
        "",
        f"Trained by llmkit {training['versions']['llmkit']} for the domain "
        f"`{training['domain']}`: one answer, a shell command or text, to a conversation and "
        "the machine's state. Commands that it writes must be checked before they are run.",
        "",
        "## Training",
        "",
        f"- {data['train']['examples']:,} snapshots of {data['train']['conversations']:,} "
        f"conversations, {data['train']['dropped_count']:,} dropped",
        f"- {result['steps']:,} steps, {result['tokens']:,} tokens, of which "
        f"{result['supervised_tokens']:,} were supervised",
        f"- {result['seconds']:,.0f} s on {result['device']} in {result['dtype']}, "
        f"{result['tokens_per_second']:,.0f} tokens/s, {result['processes']} process(es)",
        f"- loss {result['loss']:.4f}"
        + (
            f", held out {result['eval_loss']:.4f} (best at step {result['best_step']:,})"
            if result["eval_loss"] is not None
            else ""
        ),
        "",
        "![loss](loss.png)",
        "",
        "| option | value |",
        "|---|---|",
        *[f"| {key} | {value} |" for key, value in rows],
        "",
        "| data | file | SHA-256 |",
        "|---|---|---|",
        *files,
        "",
        "To repeat it:",
        "",
        f"    {training['command']}",
        "",
        *_averaged_lines(training.get("averaged")),
        *_recall_lines(recall),
        "## Scores",
        "",
    ]
    for cases, found in scores.items():
        lines += [f"On {cases}; 95% intervals from a bootstrap over conversations:", ""]
        lines += ["| score | mean | 95% interval | n |", "|---|---|---|---|"]
        for key, score in found.items():
            low, high = score["interval"]
            mean = f"{score['mean']:.1%}"
            lines.append(f"| {key} | {mean} | {low:.1%} – {high:.1%} | {score['n']:,} |")
        lines.append("")
    if not scores:
        lines.append(
            "Not measured yet: run `python -m llmkit.evaluate card=true` with this adapter."
        )
    return "\n".join(lines).rstrip("\n") + "\n"


_BEFORE = ", before its recall"


def _averaged_lines(averaged: Sequence[Mapping[str, Any]] | None) -> list[str]:
    """Of what the weights are the mean, where they are not the run's own: `average`."""
    if not averaged:
        return []
    files = [f"| {Path(one['folder']).name} | `{one['sha256']}` |" for one in averaged]
    return ["The weights are the mean of the run's and another adapter's:", "", "| adapter | SHA-256 |",
            "|---|---|", *files, ""]  # fmt: skip


def _recall_lines(recall: Mapping[str, Any] | None) -> list[str]:
    if recall is None:
        return []
    files = [f"| {Path(path).name} | `{sha}` |" for path, sha in recall["data"].items()]
    return [
        "## Recall",
        "",
        f"`recall.safetensors` holds {recall['prompts']:,} training prompts of "
        f"{recall['conversations']:,} conversations, {recall['commands']:,} with a command: the nearest "
        "ones have a say in command or text. Of a sample, the nearest prompts of other conversations "
        f"are right for {recall['right']:.1%}.",
        "",
        "| data | SHA-256 |",
        "|---|---|",
        *files,
        "",
        f"    {recall['command']}",
        "",
    ]


class Tracker:
    """Sends figures to trackio or mlflow; nowhere for `none`. Raises MissingExtra."""

    def __init__(self, cfg: Any, config: Mapping[str, Any]) -> None:
        from importlib.util import find_spec

        from llmkit.errors import MissingExtra

        self.kind = cfg.kind.value
        if self.kind == "none":
            return
        if find_spec(self.kind) is None:
            raise MissingExtra(self.kind, f"tracker={self.kind}", self.kind)
        import importlib

        try:
            self._module: Any = importlib.import_module(self.kind)
            if self.kind == "trackio":
                self._module.init(project=cfg.project, name=cfg.run, config=dict(config))
            else:
                self._module.set_experiment(cfg.project)
                self._module.start_run(run_name=cfg.run)
                flat = {
                    f"{group}.{key}": str(value)[:200]
                    for group in ("lora", "optim", "data")
                    for key, value in config[group].items()
                }
                self._module.log_params(flat)
        except Exception as error:  # each tracker has its own
            raise LlmkitError(f"tracker={self.kind} does not start: {error}") from error

    def log(self, line: Mapping[str, float], step: int) -> None:
        """One line of metrics.jsonl."""
        if self.kind == "trackio":
            self._module.log(dict(line), step=step)
        elif self.kind == "mlflow":
            self._module.log_metrics({key: float(value) for key, value in line.items()}, step=step)

    def close(self) -> None:
        """End the run."""
        if self.kind == "trackio":
            self._module.finish()
        elif self.kind == "mlflow":
            self._module.end_run()
