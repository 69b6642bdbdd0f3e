"""A random two-layer model with a byte-level tokenizer, made in the process.

    from llmkit.model_tiny import tiny_model, tiny_tokenizer

It knows nothing and writes noise. It has the parts of a real chat model (ChatML, special tokens,
grouped-query attention, tied embeddings), so that every stage can be tested in seconds, offline.
Every text survives encoding and decoding, since all 256 bytes are tokens.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from llmkit.model_gguf import digits_and_words

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

END_OF_TEXT, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_MERGES = 384
# What the tokenizer's merges are learnt from; words of the shipped domain come often in tests.
_TEXT = """
You are an assistant that helps a person install Linux. Answer with one shell command, or with text.
system user assistant content command arguments name run_shell_command tool_call
Current System State Boot mode: UEFI Legacy BIOS Network: Connected Hostname: archiso Timezone: not set
Available Disks Current Mounts Existing Users remaining mounted at partition drive disk table
$ lsblk -f $ sgdisk -Z /dev/nvme0n1 && sgdisk -n 1:0:+512M -t 1:ef00 /dev/sda $ mkfs.ext4 /dev/sda2
$ mount /dev/sda2 /mnt $ mkdir -p /mnt/boot/efi $ mkfs.fat -F 32 /dev/vda1 $ umount -R /mnt $ reboot
$ arch-chroot /mnt useradd -m -G wheel vince $ arch-chroot /mnt passwd $ genfstab -U /mnt >> /mnt/etc/fstab
list the disks, use the bigger one, yes, go ahead, no wait, what is a partition, which drive do you mean?
The quick brown fox jumps over the lazy dog. I can see two drives. Shall I use the larger one?
"""


@cache
def _tokenizer_json() -> str:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = digits_and_words()
    tokenizer.decoder = decoders.ByteLevel()
    special = [
        AddedToken(text, special=True, normalized=False) for text in (END_OF_TEXT, START, END)
    ]
    trainer = trainers.BpeTrainer(
        vocab_size=256 + len(special) + _MERGES,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXT.splitlines(), trainer)
    return str(tokenizer.to_str())


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A new tokenizer: about 600 tokens, ids 0 to 2 are the special ones."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    build: Any = PreTrainedTokenizerFast  # untyped
    return build(
        tokenizer_object=Tokenizer.from_str(_tokenizer_json()),
        bos_token=START,
        eos_token=END,
        unk_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        chat_template=CHATML,
        model_max_length=8192,
        clean_up_tokenization_spaces=False,
    )


def tiny_model(seed: int, dtype: torch.dtype, attention: str) -> LlamaForCausalLM:
    """A Llama of two layers, hidden size 64; its weights depend on `seed` alone.

    The caller's random state is left as it was.
    """
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    tokenizer = tiny_tokenizer()
    build: Any = LlamaConfig  # its stub lacks attn_implementation
    config = build(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation=attention,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = LlamaForCausalLM(
            config
        )  # float32, so that every dtype rounds the same weights
    model.generation_config = GenerationConfig.from_model_config(config)
    for weight in model.parameters():  # not model.to: it rounds the rotary frequencies, too
        weight.data = weight.data.to(dtype)
    model.config.dtype = dtype
    ready: LlamaForCausalLM = model.eval()
    return ready
