"""What was due at the training prompts nearest to a new one: a second opinion on command or text.

    recall = read_recall(loaded)                     # None without recall.safetensors
    first = recall.first(logits, state)              # of an answer's first token

A small model decides with an answer's first token whether it runs a command or writes a text. A layer
in its middle knows more about that than the last one says: the prompts of the training data whose
states there are nearest (by the cosine) say what was due, and their share of commands is mixed with the
model's own probability. The idea is that of nearest-neighbour language models (Khandelwal et al. 2020),
for one token, and over states of a layer that is not the last.

A greedy answer is a command where that is more likely than not. (The likeliest token alone would lean to
commands: all of them begin with one token, texts with many.)
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import torch

from llmkit.errors import ConfigError
from llmkit.model_adapter import RECALL, WEIGHTS
from llmkit.output import sha256

if TYPE_CHECKING:
    from llmkit.model import Loaded

_STEPS = 127  # of a key's numbers, each side of 0


@dataclass(frozen=True, slots=True)
class Settings:
    """How the nearest prompts are asked. `least`: the cosine below which the nearest one is too far
    to say anything."""

    layer: int  # whose output a prompt's state is, counted from 0
    opener: int  # the token that begins each command
    neighbours: int
    weight: float  # of the neighbours' share beside the model's own probability
    sharpness: float  # how much more the nearest count: e^-sharpness for the farthest of them
    least: float


class First(NamedTuple):
    """An answer's first token: the greedy one, and float32 logits [vocabulary] to draw from."""

    greedy: int
    logits: torch.Tensor


class Recall:
    """The training prompts' states and what was due at each."""

    def __init__(
        self,
        settings: Settings,
        centre: torch.Tensor,
        basis: torch.Tensor,
        keys: torch.Tensor,
        commands: torch.Tensor,
    ) -> None:
        """centre [hidden], basis [hidden, size]; keys [prompts, size] of length 1; commands [prompts],
        1 where a command was due.

        Raises ValueError for shapes that do not fit each other.
        """
        hidden, size = basis.shape
        if centre.shape != (hidden,) or keys.shape != (len(commands), size) or not len(keys):
            raise ValueError("the shapes of centre, basis, keys and commands do not fit")
        self.settings = settings
        self.centre, self.basis = centre.float().cpu(), basis.float().cpu()
        self._codes = (keys.float().cpu() * _STEPS).round().clamp(-_STEPS, _STEPS).to(torch.int8)
        self.keys = _unit(self._codes.float())
        self.commands = commands.float().cpu()

    @classmethod
    def of(
        cls, states: torch.Tensor, commands: torch.Tensor, settings: Settings, size: int
    ) -> Self:
        """From states [prompts, hidden] of training prompts: each number by its mean and spread, turned
        to the `size` directions in which they differ most."""
        states = states.float()
        centre = states.mean(0)
        spread = states.std(0).clamp(min=1e-6) if len(states) > 1 else torch.ones_like(centre)
        normal = (states - centre) / spread
        _, directions = torch.linalg.eigh(normal.T @ normal)  # the largest last
        basis = directions.flip(1)[:, :size] / spread[:, None]
        return cls(settings, centre, basis, _unit((states - centre) @ basis), commands)

    def key(self, states: torch.Tensor) -> torch.Tensor:
        """States [rows, hidden] as keys [rows, size]."""
        return _unit((states.float().cpu() - self.centre) @ self.basis)

    def chances(self, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of states [rows, hidden]: the neighbours' share of commands, and the nearest one's cosine."""
        return self._chances(self.key(states) @ self.keys.T)

    def _chances(self, near: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The same from cosines [rows, prompts]."""
        count = min(self.settings.neighbours, near.shape[1])
        best, places = near.topk(count)
        far = (1 - best).clamp(min=0)  # infinite for those that may not be asked
        last = far.masked_fill(far.isinf(), 0).amax(-1, keepdim=True).clamp(min=1e-6)
        shares = torch.softmax(-far / last * self.settings.sharpness, -1)
        return (shares * self.commands[places]).sum(-1), best[:, 0]

    def first(self, logits: torch.Tensor, state: torch.Tensor) -> First:
        """From the model's logits [vocabulary] behind a prompt, and the prompt's state [hidden]: the
        opener's logit is raised or lowered, so that its probability is the mixed one. Nothing changes
        where the nearest prompt is too far."""
        logits = logits.float().cpu()
        share, nearest = (float(part[0]) for part in self.chances(state[None]))
        if nearest < self.settings.least:
            return First(int(logits.argmax()), logits)
        opener, weight = self.settings.opener, self.settings.weight
        made = logits.clone()
        made[opener] = -torch.inf
        rest, best = made.logsumexp(0), int(made.argmax())
        own = torch.sigmoid(logits[opener] - rest)
        mixed = ((1 - weight) * own + weight * share).clamp(1e-6, 1 - 1e-6)
        made[opener] = rest + torch.logit(mixed)
        return First(opener if mixed > 0.5 else best, made)

    def judged(self, conversations: list[str], asked: int, seed: int) -> tuple[float, float]:
        """How often the neighbours of other conversations say what was due, over `asked` prompts; and
        the cosine that 1% of their nearest ones stay below. `conversations` names each prompt's."""
        if len(set(conversations)) < 2:
            return 0.0, -1.0
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(self.keys), generator=generator)[:asked]
        names = {name: number for number, name in enumerate(dict.fromkeys(conversations))}
        owners = torch.tensor([names[name] for name in conversations])
        right, nearest = [], []
        for rows in torch.split(chosen, 256):
            near = self.keys[rows] @ self.keys.T
            near[owners[rows, None] == owners[None]] = -torch.inf
            share, best = self._chances(near)
            right.append((share > 0.5) == (self.commands[rows] > 0.5))
            nearest.append(best)
        return float(torch.cat(right).float().mean()), float(torch.cat(nearest).quantile(0.01))

    def to_bytes(self, about: dict[str, Any]) -> bytes:
        """A safetensors file; `about` says what it was made from."""
        from safetensors.torch import save

        tensors = {
            "centre": self.centre, "basis": self.basis.contiguous(),
            "keys": self._codes, "commands": self.commands.to(torch.uint8),
        }  # fmt: skip
        # One key: several would be written in an order of chance.
        told = {"settings": asdict(self.settings), "about": about}
        return save(tensors, metadata={"recall": json.dumps(told, sort_keys=True)})

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """What `to_bytes` made. Raises ConfigError for anything else."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), "pt") as file:
                settings = Settings(**json.loads(file.metadata()["recall"])["settings"])
                # Copies: what is read is the file's own memory, which goes when somebody shortens it.
                parts = {
                    name: file.get_tensor(name).clone() for name in ("centre", "basis", "commands")
                }
                keys = file.get_tensor("keys").float() / _STEPS
            return cls(settings, keys=keys, **parts)
        except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
            raise ConfigError(f"{path} cannot be read: {error}") from error


def about_recall(path: Path) -> dict[str, Any]:
    """What a recall file was made from. Raises ConfigError for a file that is none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            found: dict[str, Any] = json.loads(file.metadata()["recall"])["about"]
            return found
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _unit(rows: torch.Tensor) -> torch.Tensor:
    return rows / rows.norm(dim=-1, keepdim=True).clamp(min=1e-6)


def read_recall(loaded: Loaded, adapter: Path | None = None) -> Recall | None:
    """The nearest prompts beside an adapter (null: the model's own); None where there is no such file.

    Raises ConfigError for one that cannot be read, or was made with other weights or another model.
    """
    folder = loaded.adapter if adapter is None else adapter
    if folder is None or not (folder / RECALL).is_file():
        return None
    found = Recall.from_file(folder / RECALL)
    again = f"make it anew: python -m llmkit.recall adapter={folder}"
    if about_recall(folder / RECALL).get("adapter") != sha256(folder / WEIGHTS):
        raise ConfigError(f"{folder / RECALL} belongs to other weights than {WEIGHTS}\n{again}")
    config = loaded.model.config.get_text_config()
    if (
        len(found.centre) != config.hidden_size
        or not 0 <= found.settings.opener < config.vocab_size
    ):
        raise ConfigError(f"{folder / RECALL} belongs to another model\n{again}")
    return found


def decoder_of(model: Any) -> Any:
    """What makes hidden states of tokens in a transformers or peft model."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return base.get_decoder()


def layers_of(model: Any) -> Any:
    """Its layers. Raises ConfigError where they are not found."""
    decoder = decoder_of(model)
    layers = getattr(decoder, "layers", None)
    if layers is None:
        raise ConfigError(f"{RECALL}: the layers of a {type(decoder).__name__} are not known")
    return layers


def check_layer(model: Any, layer: int) -> None:
    """Raises ConfigError for a layer that the model does not have."""
    count = len(layers_of(model))
    if not 0 <= layer < count:
        raise ConfigError(f"{RECALL}: layer {layer} of a model with {count} layers")


class Tap:
    """Keeps what a layer made of the model's last call: `state` [rows, tokens, hidden]."""

    def __init__(self, model: Any, layer: int) -> None:
        """Raises ConfigError for a layer that the model does not have."""
        check_layer(model, layer)
        self.state: torch.Tensor = torch.empty(0)
        layers_of(model)[layer].register_forward_hook(self._keep)

    def _keep(self, module: Any, given: Any, made: Any) -> None:
        self.state = made[0] if isinstance(made, tuple) else made
