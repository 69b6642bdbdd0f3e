"""A GGUF file's tokenizer, as transformers and tokenizers understand it.

    from llmkit.model_gguf import gguf_tokenizer

transformers can read these itself, but 5.17 takes <|im_start|> for SmolLM2's end token (an assistant
that never sees its end token never stops), and 5.24 forgets that digits stand alone, which changes
how a blank line before a number is cut. The metadata says all that is needed: it is read here, the
same with every version.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.errors import LlmkitError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_CONTROL = 3  # gguf.TokenType.CONTROL: special tokens
_USER_DEFINED = 4
_SPECIAL = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "pad_token": "padding_token_id",
}


def gguf_tokenizer(path: Path) -> PreTrainedTokenizerFast:
    """The byte-level BPE tokenizer of the GGUF file `path`, with its chat template.

    Raises LlmkitError for other kinds: sentencepiece, or an unknown way to cut text into words.
    """
    from gguf import GGUFReader
    from tokenizers import AddedToken, Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    fields = GGUFReader(path).fields

    def value(name: str) -> Any:
        return fields[name].contents() if name in fields else None

    kind, cut = value("tokenizer.ggml.model"), value("tokenizer.ggml.pre")
    if kind != "gpt2" or cut != "smollm":
        raise LlmkitError(f"{path}: no way to read a tokenizer of kind {kind}, {cut}")
    names = value("tokenizer.ggml.tokens")
    merges = [tuple(pair.split(" ")) for pair in value("tokenizer.ggml.merges")]
    backend = Tokenizer(models.BPE(vocab={n: i for i, n in enumerate(names)}, merges=merges))
    backend.pre_tokenizer = digits_and_words()
    backend.decoder = decoders.ByteLevel()
    types = value("tokenizer.ggml.token_type")
    backend.add_special_tokens(
        [
            AddedToken(n, normalized=False)
            for n, t in zip(names, types, strict=True)
            if t == _CONTROL
        ]
    )
    backend.add_tokens(
        [
            AddedToken(n, normalized=False)
            for n, t in zip(names, types, strict=True)
            if t == _USER_DEFINED
        ]
    )
    ids = {role: value(f"tokenizer.ggml.{key}") for role, key in _SPECIAL.items()}
    build: Any = PreTrainedTokenizerFast  # untyped
    return build(
        tokenizer_object=backend,
        chat_template=value("tokenizer.chat_template"),
        model_max_length=value(f"{value('general.architecture')}.context_length"),
        clean_up_tokenization_spaces=False,
        **{role: names[index] for role, index in ids.items() if index is not None},
    )


def digits_and_words() -> Any:
    """How SmolLM2 cuts text before BPE: each digit alone, then GPT-2's words of bytes.

    As in llama.cpp's src/llama-vocab.cpp, LLAMA_VOCAB_PRE_TYPE_SMOLLM.
    """
    from tokenizers import pre_tokenizers

    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
