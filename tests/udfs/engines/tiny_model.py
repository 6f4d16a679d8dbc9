"""A chat model of a few kilobytes with random weights: what it says is noise."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

NO_VLLM = "vllm is not installed: make test-vllm"
needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason=NO_VLLM)
# vLLM's settings for it: no compiling, exact sums and a small cache.
TINY_VLLM = {"enforce_eager": True, "dtype": "float32", "kv_cache_memory_bytes": 2**27}
WINDOW = 128
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant: "


def make_tiny_model(folder: Path) -> str:
    """Writes a GPT-2 of two small layers over single bytes; returns its folder. Its heads have 32 dimensions, the fewest that vLLM knows."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, set_seed

    set_seed(7)
    vocabulary = {token: n for n, token in enumerate(["<end>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(False), decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>")
    fast.chat_template = TEMPLATE
    sizes = {"vocab_size": len(vocabulary), "n_positions": WINDOW, "n_embd": 64, "n_layer": 2, "n_head": 2}
    # Large weights: with the usual ones it says the same letter again and again.
    config = GPT2Config(**sizes, bos_token_id=0, eos_token_id=0, initializer_range=0.5)
    GPT2LMHeadModel(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return str(folder)
