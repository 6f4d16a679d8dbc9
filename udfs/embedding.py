"""Texts to unit vectors by a sentence-transformers model, and vectors to bytes and back.

Beside each vector stand the two figures that say whether it may be trusted: the share of tokens the model does not
know, and whether the text was cut at the model's window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from udfs.embedding_model import EmbeddingModel, Piece


@dataclass(frozen=True, slots=True)
class Embedded:
    """What became of n texts, in their order.

    `vectors` (n, dim) float16 has unit rows, all zeros where `unread` or `error` is set; `unknown_share` (n,) float64 is unknown
    tokens / tokens, without special tokens; `cut` (n,) says that the vector stands for the beginning of the text alone; `n_tokens`
    (n,) int32 counts the whole text without special tokens; `unread` (n,) says that too many of its tokens are unknown; `error` says in words why a text has no vector, else None.
    """

    vectors: NDArray[np.float16]
    unknown_share: NDArray[np.float64]
    cut: NDArray[np.bool_]
    n_tokens: NDArray[np.int32]
    unread: NDArray[np.bool_]
    error: list[str | None]


def embed_texts(
    model: EmbeddingModel,
    texts: Sequence[str | None],
    max_unknown_share: float = 1.0,
    tick: Callable[[int], None] = lambda n: None,
) -> Embedded:
    """Embeds texts in batches of similar length, so that little is spent on padding.

    A text of which more than `max_unknown_share` is unknown to the model gets no vector: nothing may hang on it, and the
    model is the costly part. A missing or blank text, and one whose vector is not finite or is zero, gets an error in
    place of a vector; nothing is dropped. Texts of the same tokens are embedded once, and have the same vector. `tick`
    is told of every few texts that are done.
    """
    numbered = [(i, text) for i, text in enumerate(texts) if text and text.strip()]
    filled = np.array([i for i, _ in numbered], dtype=np.int64)
    ids = model.tokens([text for _, text in numbered])
    n_tokens = np.zeros(len(texts), dtype=np.int32)
    n_tokens[filled] = [one.size for one in ids]
    unknown = np.zeros(len(texts), dtype=np.int32)
    unknown[filled] = [model.unknown(one) for one in ids]
    unknown_share = unknown / np.maximum(n_tokens, 1)
    unread = unknown_share > max_unknown_share
    wanted = [(i, Piece(text, one)) for (i, text), one in zip(numbered, ids, strict=True) if one.size and not unread[i]]
    tick(len(texts) - len(wanted))
    raw = np.zeros((len(texts), model.dim), dtype=np.float32)
    raw[[i for i, _ in wanted]] = _mean_vectors(model, [piece for _, piece in wanted], tick)
    vectors, sound = _unit_halves(raw)
    return Embedded(
        vectors=vectors,
        unknown_share=unknown_share,
        cut=np.asarray((n_tokens > model.window) & (not model.averages)),
        n_tokens=n_tokens,
        unread=unread,
        error=_errors(filled, n_tokens, sound | unread, model.precision),
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


def _mean_vectors(model: EmbeddingModel, texts: list[Piece], tick: Callable[[int], None]) -> NDArray[np.float32]:
    """Embeds each text by its pieces, and averages their directions by their tokens. Shape (n, dim)."""
    numbers: dict[bytes, int] = {}
    pieces: list[Piece] = []
    parts: list[tuple[int, int, int]] = []
    for row, (text, ids) in enumerate(texts):
        for begin, end in model.spans(ids.size):
            number = numbers.setdefault(ids[begin:end].tobytes(), len(pieces))
            if number == len(pieces):
                pieces.append(Piece(text, ids[begin:end]))
            parts.append((row, number, end - begin))
    owner, number_of, weight = np.array(parts, dtype=np.int64).reshape(-1, 3).T
    first = np.searchsorted(owner, np.arange(len(texts)))
    made = _piece_vectors(model, pieces, np.bincount(number_of[first], minlength=len(pieces)), tick)
    total = np.zeros((len(texts), model.dim), dtype=np.float32)
    np.add.at(total, owner, made[number_of] * weight[:, None])
    return total


def _piece_vectors(
    model: EmbeddingModel, pieces: list[Piece], texts_of: NDArray[np.int64], tick: Callable[[int], None]
) -> NDArray[np.float32]:
    """Embeds pieces to unit vectors; zeros and what is not finite stay. `texts_of` are the texts that each stands for."""
    lengths = np.array([piece.ids.size for piece in pieces], dtype=np.int64)
    made = np.zeros((len(pieces), model.dim), dtype=np.float32)
    # Longest first: a batch too big for the device's memory fails at once, not after an hour.
    order = np.argsort(-lengths, kind="stable")
    for batch in model.batches(lengths[order]):
        chosen = order[batch]
        made[chosen] = model.vectors([pieces[i] for i in chosen])
        tick(int(texts_of[chosen].sum()))
    norms = _lengths(made)
    with np.errstate(invalid="ignore"):
        return np.asarray(made / np.where(norms > 0, norms, 1.0)[:, None], dtype=np.float32)


def _lengths(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(rows.astype(np.float64), axis=1))


def _unit_halves(raw: NDArray[np.float32]) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    lengths = _lengths(raw)
    sound = np.isfinite(lengths) & (lengths > 0)
    vectors = np.zeros(raw.shape, dtype=np.float16)
    vectors[sound] = (raw[sound] / lengths[sound, None]).astype(np.float16)
    return vectors, sound


def _errors(
    filled: NDArray[np.int64], n_tokens: NDArray[np.int32], sound: NDArray[np.bool_], precision: str
) -> list[str | None]:
    error: list[str | None] = ["the text is empty"] * n_tokens.size
    for i in filled.tolist():
        error[i] = None if sound[i] else f"the model's vector is zero or not finite, in {precision}"
        if n_tokens[i] == 0:
            error[i] = "the model reads nothing of the text"
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
