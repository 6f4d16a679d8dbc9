"""From texts to token ids, and from these to a model's inputs, in the way that sentence-transformers itself has for the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Tokens = NDArray[np.int32]
# Tokenised at a time: lists of Python integers are large.
_TEXTS = 256


@dataclass(frozen=True)
class InputForm:
    """How a model wants token ids: special ones before and after, padding and its side, and inputs that are all zeros."""

    before: Tokens
    after: Tokens
    pad: int
    left: bool
    zeros: tuple[str, ...]

    @property
    def specials(self) -> int:
        """Special tokens of a text."""
        return int(self.before.size + self.after.size)

    def inputs(self, ids: Sequence[Tokens]) -> dict[str, NDArray[np.int64]]:
        """Lays token ids of several texts out as the model's inputs, each of shape (n, longest)."""
        width = max(one.size for one in ids) + self.specials
        tokens = np.full((len(ids), width), self.pad, dtype=np.int64)
        mask = np.zeros((len(ids), width), dtype=np.int64)
        for row, one in enumerate(ids):
            whole = np.concatenate([self.before, one, self.after])
            at = slice(width - whole.size, None) if self.left else slice(whole.size)
            tokens[row, at], mask[row, at] = whole, 1
        zeros = {name: np.zeros_like(tokens) for name in self.zeros}
        return {"input_ids": tokens, "attention_mask": mask, **zeros}


def token_ids(tokenizer: Any, texts: Sequence[str]) -> list[Tokens]:
    """Returns the token ids of each text, whole and without special tokens."""
    parts = [texts[i : i + _TEXTS] for i in range(0, len(texts), _TEXTS)]
    return [np.asarray(ids, dtype=np.int32) for part in parts for ids in _ids(tokenizer, part)]


def _ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    if hasattr(tokenizer, "encode_batch"):  # static models carry a bare `tokenizers.Tokenizer`
        return [one.ids for one in tokenizer.encode_batch(list(texts), add_special_tokens=False)]
    options = {"add_special_tokens": False, "truncation": False, "padding": False, "verbose": False}
    ids: list[list[int]] = tokenizer(list(texts), return_attention_mask=False, **options)["input_ids"]
    return ids


def unknown_id(tokenizer: Any) -> int | None:
    """Returns the id of the token that stands for what the model does not know; None where it knows everything."""
    if hasattr(tokenizer, "encode_batch"):
        static: int | None = tokenizer.token_to_id(getattr(tokenizer.model, "unk_token", None) or "[UNK]")
        return static
    unknown: int | None = tokenizer.unk_token_id
    return unknown


def input_form(loaded: SentenceTransformer, window: float) -> InputForm | None:
    """Finds out how a model wants token ids, and tries it: None for one that has to be given texts."""
    tokenizer = loaded.tokenizer
    tokens = not hasattr(tokenizer, "encode_batch") and getattr(tokenizer, "pad_token_id", None) is not None
    if not tokens or loaded.default_prompt_name or loaded.truncate_dim or not hasattr(loaded[0], "auto_model"):
        return None
    # One that fits, one that is cut where there is a window, one that is padded.
    texts = ["light and water", "light " * (int(min(window, 40_000)) + 9), "water"]
    wanted = _inputs(loaded, texts)
    ids = token_ids(tokenizer, texts)
    form = _form_of(tokenizer, _inputs(loaded, texts[:1]), ids[0])
    if form is None:
        return None
    cut = [one[: int(window)] if math.isfinite(window) else one for one in ids]
    made = form.inputs(cut)
    same = made.keys() == wanted.keys() and all(np.array_equal(made[name], wanted[name]) for name in wanted)
    return form if same else None


def _form_of(tokenizer: Any, inputs: dict[str, NDArray[np.int64]], ids: Tokens) -> InputForm | None:
    whole = inputs.get("input_ids", np.zeros((0, 0), dtype=np.int64)).ravel().astype(np.int32)
    starts = [at for at in range(whole.size - ids.size + 1) if np.array_equal(whole[at : at + ids.size], ids)]
    if not starts:
        return None
    zeros = tuple(name for name in inputs if name not in ("input_ids", "attention_mask"))
    before, after = whole[: starts[0]], whole[starts[0] + ids.size :]
    return InputForm(before, after, int(tokenizer.pad_token_id), tokenizer.padding_side == "left", zeros)


def _inputs(loaded: SentenceTransformer, texts: list[str]) -> dict[str, NDArray[np.int64]]:
    """What sentence-transformers itself would feed the model with."""
    import torch

    # sentence-transformers before 6 has the older name only, which later versions warn about.
    prepare = getattr(loaded, "preprocess", None) or loaded.tokenize
    made = prepare(texts)
    return {name: value.numpy() for name, value in made.items() if isinstance(value, torch.Tensor)}
